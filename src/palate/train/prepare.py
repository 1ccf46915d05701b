"""From a config to items: data read, split, rendered; the model loaded and told what trains.

Data is read before the model is loaded, so that a bad row costs a second and not a minute.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from palate.config import DpoConfig, RowOptions, TrainConfig
from palate.data.forms import Kind
from palate.data.render import Renderer, render
from palate.data.rows import Item, Origin, Pair
from palate.data.sources import Dataset, parse_map, read
from palate.data.split import halves, prompt_key, split
from palate.data.templates import apply_template
from palate.engine.adapters import (
    Lora,
    add_stop,
    add_tokens,
    continue_adapter,
    start_full,
    start_lora,
)
from palate.engine.model import Loaded, load
from palate.errors import DataError, UsageError
from palate.train.defaults import HELDOUT_SHARE, LORA_RANK
from palate.train.events import Listener, Note

MIN_HELDOUT_PROMPTS = 10


@dataclass(frozen=True, slots=True)
class Rows:
    """The two splits, as rows, with the digest of all that was read.

    `choosing`: held-out rows by whose loss weights are chosen; the others only report.
    """

    train: tuple[Any, ...]
    heldout: tuple[Any, ...]
    digest: str
    choosing: frozenset[Origin] = frozenset()


def read_rows(config: TrainConfig, kind: Kind, listen: Listener) -> Rows:
    """Read, split, and say which held-out rows choose.  Raises DataError as `divided` does."""
    rows = divided(config, kind, listen)
    choosing, _ = halves(rows.heldout, seed=config.seed)
    rows = replace(rows, choosing=frozenset(row.origin for row in choosing))
    return _by_coin(rows, config, listen)


def divided(config: TrainConfig, kind: Kind, listen: Listener) -> Rows:
    """The two splits as the files say them.  Raises DataError with every problem of every file."""
    found = _read(config.data, kind, config, listen)
    if config.heldout is not None:
        heldout = _read(config.heldout, kind, config, listen)
        return Rows(found.rows, heldout.rows, f"{found.digest}+{heldout.digest}")
    prompts = len({_prompt(row) for row in found.rows})
    if prompts < MIN_HELDOUT_PROMPTS:
        listen(Note(f"{prompts} prompts are too few to hold any out: the last step is kept"))
        return Rows(found.rows, (), found.digest)
    train, heldout_rows = split(found.rows, share=HELDOUT_SHARE, seed=config.seed)
    listen(Note(f"{len(train)} rows to train on, {len(heldout_rows)} held out, split by prompt"))
    return Rows(tuple(train), tuple(heldout_rows), found.digest)


def _by_coin(rows: Rows, config: TrainConfig, listen: Listener) -> Rows:
    """The negative control where it is asked for: each pair swapped or not, whatever it says."""
    if not (isinstance(config, DpoConfig) and config.random_labels):
        return rows
    if not all(isinstance(row, Pair) for row in (*rows.train, *rows.heldout)):
        raise UsageError(
            f"--random-labels needs pairs; {config.objective} learns from other rows.",
            hint="Leave it out, or use an objective over pairs.",
        )
    listen(Note("random labels: a coin says which answer counts as chosen", warning=True))

    def tossed(row: Any) -> Any:
        text = repr((config.seed, prompt_key(row), *sorted(map(repr, (row.chosen, row.rejected)))))
        return row.swapped() if hashlib.sha256(text.encode()).digest()[0] & 1 else row

    train, heldout = (tuple(map(tossed, part)) for part in (rows.train, rows.heldout))
    return replace(rows, train=train, heldout=heldout)


def render_rows(
    rows: tuple[Any, ...],
    renderer: Renderer,
    options: RowOptions,
    listen: Listener,
    *,
    aloud: bool = True,
) -> list[Item]:
    """Token ids with exact boundaries.  Raises DataError naming each row that cannot be rendered.

    Without `aloud`, only rows that are left out are told, not how rows were joined.
    """
    if not rows:
        return []
    rendered = render(rows, renderer, options)
    for note in rendered.notes if aloud else ():
        listen(Note(note))
    for origin in rendered.dropped:
        listen(Note(f"{origin} left out: too long", warning=True))
    if not rendered.items:
        raise DataError(f"no usable row is left of {len(rows)}.", hint="See the notes above.")
    return list(rendered.items)


def load_for_training(config: TrainConfig, listen: Listener) -> Loaded:
    """The model with its trainable part chosen: everything, an adapter continued, or a new one."""
    loaded = load(config.model, dtype=config.dtype)
    for note in (*loaded.notes, f"dtype {_name(loaded.dtype)}: {loaded.dtype_reason}"):
        listen(Note(note))
    if config.chat_template:
        missing = apply_template(loaded.tokenizer, config.chat_template)
        if missing:
            loaded = add_tokens(loaded, missing, full=config.full)
    if config.full:
        _refuse_lora_flags(config, "with --full there is no adapter")
        return start_full(loaded)
    if loaded.adapter is not None:
        _refuse_lora_flags(config, f"the adapter of {config.model} goes on training as it is")
        listen(Note("training goes on in the adapter that came with the model"))
        return continue_adapter(loaded)
    rank = config.rank or LORA_RANK
    lora = Lora(rank, config.alpha or 2.0 * rank, config.targets, config.lora_dropout)
    return start_lora(loaded, lora, seed=config.seed)


def renderer_for(loaded: Loaded, config: RowOptions) -> Renderer:
    """The renderer of this model's tokenizer; the model learns the template's end of turn."""
    renderer = Renderer(loaded.tokenizer, config, context=loaded.context)
    for token in sorted(renderer.stop_ids):
        add_stop(loaded, token)
    return renderer


def use_threads(threads: int | None) -> int:
    """Fix the thread count: it is part of what makes bits repeat."""
    if threads is not None:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


def _read(source: str, kind: Kind, config: TrainConfig, listen: Listener) -> Dataset[Any]:
    found = read(source, kind=kind, mapping=parse_map(config.map), format=config.format)
    for note in found.notes:
        listen(Note(note))
    return found


def _refuse_lora_flags(config: TrainConfig, why: str) -> None:
    """An option that would have no effect is an error."""
    for flag in _lora_flags(config):
        raise UsageError(f"--{flag} has no effect here: {why}.", hint=f"Leave --{flag} out.")


def _lora_flags(config: TrainConfig) -> Iterator[str]:
    for name in ("rank", "alpha", "targets", "lora_dropout"):
        if getattr(config, name):
            yield name.replace("_", "-")


def _prompt(row: Any) -> Any:
    return row.completion if getattr(row, "prompt", None) is None else row.prompt


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
