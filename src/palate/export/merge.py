"""A run as one merged Hugging Face folder, which must say what the run says.

The folder is loaded again before it gets its name, and compared on prompts: the same token ids, and
log-probs within the tolerance of the dtype.  Where they differ nothing is written.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor

from palate.config import Dtype
from palate.data.rows import Item, Origin
from palate.data.rows import Sequence as Tokens
from palate.engine.adapters import merged, save_final
from palate.engine.model import Loaded, load
from palate.engine.pack import pack
from palate.engine.policy import Plan, Policy
from palate.errors import ModelError, NumericsError
from palate.runs.atomic import commit_folder, refuse_taken

BUILT_IN = (
    "The station is three blocks away, and the rent includes water.",
    "Q: What is 17 + 25?\nA: 42, because 17 + 20 is 37 and 5 more is 42.",
    "def area(width, height):\n    return width * height\n",
    "Ein kurzer Satz über Käse, mit Umlauten; et une phrase en français.",
)
SAME = 1e-3  # nats per token: fp32 rounding through a deep model
_WIDEST = {torch.bfloat16: 0.5}  # nats per token: bf16 rounds a merged weight to three digits
_LONGEST = 256  # tokens of a prompt that are compared

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parity:
    """How the exported model compares.  `effect`: the largest change that the adapter makes."""

    max_logp_diff: float
    ids_equal: bool
    prompts: int
    effect: float


def export(
    source: str, out: Path, *, dtype: Dtype | None = None, prompts: Sequence[str] = BUILT_IN
) -> Parity:
    """Write `source` to `out` as one model, with its tokenizer, and return how well it agrees.

    Raises UsageError if `out` is taken, NumericsError or ModelError if the result is not the same.
    """
    refuse_taken(out)
    loaded = load(source, dtype=dtype)
    texts = _ids(loaded, prompts)
    before = _logps(loaded, texts)
    effect = _furthest(before, _logps(loaded, texts, adapter=False))
    whole = replace(loaded, model=merged(loaded.model), adapter=None)
    found: list[Parity] = []

    def write(folder: Path) -> None:
        save_final(whole, folder)
        again = load(str(folder), dtype=cast(Dtype, str(loaded.dtype).removeprefix("torch.")))
        if _ids(again, prompts) != texts:
            raise ModelError(
                f"The tokenizer of {source} reads text otherwise once it is saved.",
                hint="Nothing was written; save the tokenizer anew with its own tool.",
            )
        diff = _furthest(before, _logps(again, texts))
        _refuse(source, diff, effect, loaded)
        found.append(Parity(diff, True, len(texts), effect))

    commit_folder(out, write)
    return found[0]


def _ids(loaded: Loaded, prompts: Sequence[str]) -> tuple[Ids, ...]:
    """The prompts that have something to score, cut to what is compared."""
    longest = min(_LONGEST, loaded.context)
    ids = [tuple(cast(Any, loaded.tokenizer)(text).input_ids[:longest]) for text in prompts]
    return tuple(one for one in ids if len(one) > 1)


@torch.no_grad()
def _logps(loaded: Loaded, texts: Sequence[Ids], *, adapter: bool = True) -> list[Tensor]:
    """The log-prob of every token after the first, per text, by the model's own logits."""
    policy = Policy(loaded.model, Plan(shared=False, chunked=False))
    off: AbstractContextManager[Any] = nullcontext()
    if not adapter and isinstance(loaded.model, PeftModel):
        off = loaded.model.disable_adapter()
    with off:
        return [policy(row).logps_K.double().cpu() for ids in texts for row in _rows(ids)]


def _rows(ids: Ids) -> list[Any]:
    whole = Tokens(ids, spans=((1, len(ids)),), prompt=1)
    return pack([Item((whole,), group=0, origin=Origin("prompt", 1))], len(ids))


def _furthest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    diffs = [float((a - b).abs().max()) for a, b in zip(one, other, strict=True)]
    return max(diffs, default=0.0)


def _refuse(source: str, diff: float, effect: float, loaded: Loaded) -> None:
    """A narrow dtype may round, but must not lose half of what the adapter taught."""
    limit = SAME
    if loaded.adapter is not None:
        limit = max(SAME, min(_WIDEST.get(loaded.dtype, SAME), effect / 2))
    if not diff <= limit:
        raise NumericsError(
            f"The merged model is not {source}: log-probs differ by up to {diff:.2g} nats per"
            f" token (at most {limit:.2g} is rounding). Nothing was written.",
            hint="Try --dtype float32." if loaded.dtype == torch.bfloat16 else "Check the adapter.",
        )
