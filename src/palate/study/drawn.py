"""Texts of several models on the same prompts and seeds: what every figure of an evaluation is on.

They are kept as they were drawn, near-identical and empty ones too.  With a file they are drawn
once: a text is a function of (weights, prompt, seed, settings), and the file knows all of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from palate.config import SampleConfig
from palate.data.rows import Example, Origin, Text
from palate.study.sampling import sample_rows
from palate.train.events import Listener


@dataclass(frozen=True, slots=True)
class Drawn:
    """The texts of one model, by prompt; `ended` says of each whether the model ended it.

    A model that saw more than the prompt (examples in its context) stands here with the prompt.
    """

    model: str
    prompts: tuple[Text, ...]
    texts: tuple[tuple[str, ...], ...]
    ended: tuple[tuple[bool, ...], ...] = ()

    @property
    def firsts(self) -> tuple[str, ...]:
        """One text of each prompt, the first."""
        return tuple(texts[0] for texts in self.texts)


def draw(
    model: str,
    prompts: Sequence[Text],
    settings: SampleConfig,
    out: Path | None,
    listen: Listener,
) -> Drawn:
    """`settings.n` texts of `model` (a folder or hub id) for each prompt, which are all different.

    With `out` the same call goes on where it was stopped, and draws nothing twice.  Raises
    PalateError; CheckpointError if `out` holds texts that were drawn in another way.
    """
    assert len(set(prompts)) == len(prompts), "each prompt once: the sampler tells them by text"
    rows = [Example(prompt, "", Origin("prompts", n)) for n, prompt in enumerate(prompts, start=1)]
    found = sample_rows(model, rows, settings, listen, out=out, as_drawn=True)
    blocks = [list(same) for _, same in groupby(found, lambda record: int(record["line"]))]
    return Drawn(
        model,
        tuple(prompts),
        tuple(tuple(str(each["completion"]) for each in block) for block in blocks),
        tuple(tuple(bool(each["ended"]) for each in block) for block in blocks),
    )
