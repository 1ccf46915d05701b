"""Shared by the reward model's tests: a tiny world, and the class of transformers as the oracle."""

import itertools
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import tiny
from palate.config import RewardConfig
from palate.data.rows import Item
from palate.engine.policy import Plan, Policy
from palate.engine.value import RewardModel, new_head
from palate.rlhf.reward_stage import RewardRun, train_reward
from palate.train.events import Event

PAD = 2
WORDS = ("river", "station", "lift", "bath", "garden")
CHATML = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def classifier(model: Any, head: Tensor) -> Any:
    """The class of transformers with the same weights, in eval mode."""
    config = type(model.config)(**(model.config.to_dict() | {"num_labels": 1, "pad_token_id": PAD}))
    factory: Any = AutoModelForSequenceClassification
    made = factory.from_config(config).to(model.dtype).eval()
    if config.model_type == "mixtral":
        made.set_experts_implementation("eager")  # the grouped product has no float64
    made.base_model.load_state_dict(model.base_model.state_dict())
    with torch.no_grad():
        made.score.weight.copy_(head)
    return made


def padded(items: list[Item]) -> tuple[Tensor, Tensor]:
    """ids and mask of every sequence, padded on the right to the longest."""
    found = [sequence.ids for item in items for sequence in item.sequences]
    longest = max(map(len, found))
    ids = torch.tensor([(*one, *[PAD] * (longest - len(one))) for one in found])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in found])
    return ids, mask


def naive(made: Any, items: list[Item]) -> Tensor:
    """Rewards (I,2) by the class itself, in one padded batch."""
    ids, mask = padded(items)
    rewards: Tensor = made(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return rewards.view(len(items), 2)


def reward_model(model: Any, plan: Plan | None = None, *, seed: int = 0) -> RewardModel:
    policy = Policy(model, plan or Plan()).eval()
    return RewardModel(policy, new_head(policy, model.config.hidden_size, seed=seed))


def pairs() -> list[dict[str, str]]:
    """A taste that a tiny model learns: baths are good, loveliness is not."""
    return [
        {
            "prompt": f"place {number // 2}: the flat near the {WORDS[number // 2 % 5]}",
            "chosen": f"It has {number} baths and a {word}.",
            "rejected": f"Lovely, the {word}.",
        }
        for number, word in zip(range(24), itertools.cycle(WORDS))
    ]


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def world(root: Path, **model: Any) -> Path:
    """A model and pairs."""
    tiny.folder(root / "model", **({"num_hidden_layers": 1} | model))
    lines(root / "pairs.jsonl", pairs())
    return root


def config(root: Path, name: str, **changes: Any) -> RewardConfig:
    paths = {"model": root / "model", "data": root / "pairs.jsonl", "out": root / name}
    sizes = {"batch_size": 4, "max_steps": 8, "token_budget": 64, "eval_every": 2, "lr": 3e-3}
    return RewardConfig(**({k: str(v) for k, v in paths.items()} | sizes | changes))


def train(root: Path, name: str, heard: list[Event] | None = None, **changes: Any) -> RewardRun:
    events: list[Event] = [] if heard is None else heard
    return train_reward(config(root, name, **changes), events.append)


def loaded(folder: Path) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder, as anybody loads them."""
    factory: Any = AutoModelForSequenceClassification
    tokens: Any = AutoTokenizer
    return factory.from_pretrained(folder).eval(), tokens.from_pretrained(folder)


@torch.no_grad()
def said(folder: Path, texts: list[str]) -> list[float]:
    """What the class says of texts, in one batch that its own tokenizer pads."""
    model, tokens = loaded(folder)
    batch = tokens(texts, return_tensors="pt", padding=True)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    found: list[float] = logits[:, 0].tolist()
    return found
