"""The packaged base model: small, whole, loadable without a network, and able to copy facts."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from palate.demo.base import Recipe
from palate.demo.command import BASE
from palate.demo.prose import prompt
from palate.demo.sheets import sheets
from palate.demo.taste import judge

MB = 1_000_000
NEEDED = {
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "recipe.json",
}


def test_the_folder_is_small_whole_and_made_by_the_recipe_as_it_stands() -> None:
    files = {path.name: path.stat().st_size for path in BASE.iterdir()}
    assert set(files) == NEEDED
    assert sum(files.values()) < 9.5 * MB
    recipe = json.loads((BASE / "recipe.json").read_text())
    assert recipe == asdict(Recipe())


def test_the_model_has_the_size_and_tokens_that_it_says() -> None:
    model = AutoModelForCausalLM.from_pretrained(BASE)
    words = AutoTokenizer.from_pretrained(BASE)
    assert 3e6 < model.num_parameters() < 4.5e6 and model.dtype == torch.bfloat16
    assert len(words) == model.config.vocab_size
    ids = words("fees $310; Zürich ☕").input_ids
    assert ids[0] == words.bos_token_id and words.eos_token_id not in ids
    assert words.decode(ids, skip_special_tokens=True) == "fees $310; Zürich ☕"
    assert words.convert_ids_to_tokens(words("310").input_ids)[1:] == ["3", "1", "0"]


@pytest.mark.parametrize("seed", ["copy"])
def test_the_base_copies_the_facts_of_unseen_sheets(seed: str) -> None:
    about = sheets(20, seed)
    texts = likeliest(BASE, [prompt(sheet) for sheet in about])
    verdicts = [judge(text, sheet) for sheet, text in zip(about, texts)]
    assert mean(len(found.stated) / found.facts for found in verdicts) > 0.85
    assert mean(len(found.wrong) for found in verdicts) < 0.3


def likeliest(model_path: Path, prompts: list[str]) -> list[str]:
    """Greedy continuations by plain transformers, padded on the left."""
    words = AutoTokenizer.from_pretrained(model_path, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    batch = words([f"{text}\n" for text in prompts], return_tensors="pt", padding=True)
    given = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    with torch.inference_mode():
        ids = model.generate(**given, max_new_tokens=160, do_sample=False)
    return list(words.batch_decode(ids[:, batch.input_ids.shape[1] :], skip_special_tokens=True))
