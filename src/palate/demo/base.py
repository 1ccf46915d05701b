"""The recipe of the packaged base model: `python -m palate.demo.base`.

A Llama of 3.6 million parameters with its own byte-pair tokenizer, trained from nothing on
`corpus.documents`.  Plain PyTorch, one document per row, so that a text stands where it will stand
when the model is asked.  Same seed, threads and machine: same weights.  Not part of `palate sft`.
"""

import argparse
import itertools
import json
import logging
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.demo.corpus import Document, documents

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

log = logging.getLogger("palate.demo.base")
VOCAB, CONTEXT = 1264, 512
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
PROMPTS_SCORED = 0.1  # a sheet is random and cannot be learnt; its form can, from a few
POOL = 32  # batches drawn together and sorted by length, so that rows need little padding


@dataclass(frozen=True, slots=True)
class Recipe:
    """The knobs of one training, with the values of the packaged model."""

    documents: int = 70_000
    batch: int = 32
    lr: float = 2e-3
    warmup: int = 100
    seed: int = 0
    threads: int = 1

    @property
    def steps(self) -> int:
        return self.documents // self.batch


def tokenizer(seed: int, texts: int = 12_000) -> "PreTrainedTokenizerFast":
    """Byte-level BPE over the corpus; every digit is its own token, which makes copying easy."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    seen = itertools.islice(documents(seed + 1), texts)
    raw.train_from_iterator((f"{d.given}\n{d.said}" for d in seen), trainer)
    raw.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def model(seed: int) -> "PreTrainedModel":
    """The untrained Llama."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    net = LlamaForCausalLM(LlamaConfig(**SHAPE))
    net.set_attn_implementation("eager")  # on short rows the fused one has a slow backward on CPUs
    return net


def rows(words: "PreTrainedTokenizerFast", seed: int) -> Iterator[tuple[list[int], int]]:
    """Ids of one document and the first position that is scored, without end."""
    source, rng = documents(seed), random.Random(f"rows {seed}")
    while True:
        chunk = list(itertools.islice(source, 1024))
        given = words([_given(d) for d in chunk]).input_ids
        said = words([d.said for d in chunk], add_special_tokens=False).input_ids
        for before, after in zip(given, said):
            first = 1 if rng.random() < PROMPTS_SCORED else len(before)
            yield [*before, *after, SHAPE["eos_token_id"]], first


def _given(document: Document) -> str:
    return f"{document.given}\n" if document.given else ""


def batches(
    words: "PreTrainedTokenizerFast", recipe: Recipe
) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
    """(ids, scored), both (batch, length), padded at the end, in a seeded order."""
    source, rng = rows(words, recipe.seed), random.Random(f"order {recipe.seed}")
    while True:
        pool = sorted(itertools.islice(source, recipe.batch * POOL), key=lambda row: len(row[0]))
        starts = list(range(0, len(pool), recipe.batch))
        rng.shuffle(starts)
        for start in starts:
            yield _padded(pool[start : start + recipe.batch])


def _padded(part: list[tuple[list[int], int]]) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    ids = torch.full((len(part), max(len(row) for row, _ in part)), SHAPE["pad_token_id"])
    scored = torch.zeros_like(ids, dtype=torch.bool)
    for place, (row, first) in enumerate(part):
        ids[place, : len(row)] = torch.tensor(row)
        scored[place, first : len(row)] = True
    return ids, scored


def train(net: "PreTrainedModel", words: "PreTrainedTokenizerFast", recipe: Recipe) -> None:
    """AdamW with warm-up and cosine; bf16 arithmetic, fp32 weights.  Trains `net` in place."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.nn.Module.to(net, device).train()
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98), fused=True)
    start, mean = time.monotonic(), 0.0
    for step, (ids, scored) in zip(range(recipe.steps), batches(words, recipe)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * _shape(step, recipe)
        value = _loss(net, ids.to(device), scored.to(device))
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        mean = value.item() if step == 0 else 0.98 * mean + 0.02 * value.item()
        if step % 50 == 0:
            log.info(
                "step %d of %d, loss %.3f, %.0f s",
                step,
                recipe.steps,
                mean,
                time.monotonic() - start,
            )


def _shape(step: int, recipe: Recipe) -> float:
    """Share of the peak learning rate at `step`."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def _loss(net: "PreTrainedModel", ids: "torch.Tensor", scored: "torch.Tensor") -> "torch.Tensor":
    """Mean loss of the scored tokens; the head sees no other position."""
    import torch

    picked = scored[:, 1:]
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        hidden = net.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = net.get_output_embeddings()(hidden[:, :-1][picked])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][picked])


def save(
    net: "PreTrainedModel", words: "PreTrainedTokenizerFast", out: Path, recipe: Recipe
) -> None:
    """The folder that the package ships: bf16 weights, tokenizer, and `recipe.json`."""
    import torch

    net.cpu().eval().to(torch.bfloat16).save_pretrained(out)
    words.save_pretrained(out)
    record = {name: getattr(recipe, name) for name in Recipe.__dataclass_fields__}
    (out / "recipe.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description="Train the base model of `palate demo`.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("base"))
    for name, default in {f: getattr(Recipe(), f) for f in Recipe.__dataclass_fields__}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    given = vars(parser.parse_args())
    out = given.pop("out")
    recipe = Recipe(**given)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import torch

    torch.set_num_threads(recipe.threads)
    words, net = tokenizer(recipe.seed), model(recipe.seed)
    log.info("%d parameters, %d tokens in the vocabulary", net.num_parameters(), len(words))
    train(net, words, recipe)
    save(net, words, out, recipe)


if __name__ == "__main__":
    main()
