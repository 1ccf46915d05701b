"""What a small user should see first: the untuned model with a few examples, and the best of n.

Both need no training.  The best of n takes the texts of the baseline that were drawn anyway.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from palate.data.rows import Example, Text
from palate.errors import DataError, PalateError, UsageError
from palate.evaluation.contestants import Contestant
from palate.evaluation.matches import Entry
from palate.evaluation.texts import Pen
from palate.study.drawn import Drawn
from palate.train.events import Listener, Note, silent

if TYPE_CHECKING:
    from palate.data.render import Renderer


def prompted(
    untuned: Contestant, prompts: Sequence[Text], examples: Sequence[Example], pen: Pen
) -> Iterator[tuple[Contestant, Drawn]]:
    """The untuned model with 1, 3 and 5 of the user's own examples before each prompt.

    It is named after how many its context had room for.  What cannot be laid out for the model, or
    would be the same once more, is left out with a note.
    """
    from palate.study.prompted import COUNTS, lay_out

    seen: set[tuple[int, ...]] = set()
    try:
        renderer = _renderer(untuned, pen)
        for count in COUNTS:
            laid = lay_out(
                prompts,
                examples,
                count,
                renderer=renderer,
                seed=pen.options.seed,
                longest=pen.options.max_new_tokens,
            )
            if laid.note:
                pen.listen(Note(f"{untuned.name}: {laid.note}", warning=True))
            if max(laid.shown) > 0 and laid.shown not in seen:
                seen.add(laid.shown)
                who = replace(untuned, name=f"{untuned.name}, {laid.counted}", role="prompted")
                drawn = pen.draw(who, prompts, shown=laid.prompts)
                yield who, _cut(drawn, laid.cut)
    except (UsageError, DataError) as error:
        what = f"{untuned.name} with more examples is left out: {error}"
        pen.listen(Note(what, warning=True))


def _renderer(untuned: Contestant, pen: Pen) -> "Renderer":
    """How the model's prompts are laid out, as when it is drawn from."""
    from palate.study.source import open_source

    return open_source(untuned.path, pen.settings(untuned), silent).renderer


def _cut(drawn: Drawn, cut: Callable[[str], tuple[str, bool]]) -> Drawn:
    """The answers alone: such a model goes on with examples of its own making."""
    texts, ended = [], []
    for same, ends in zip(drawn.texts, drawn.ended, strict=True):
        parts = [cut(text) for text in same]
        texts.append(tuple(text for text, _ in parts))
        ended.append(tuple(done or end for (_, done), end in zip(parts, ends, strict=True)))
    return replace(drawn, texts=tuple(texts), ended=tuple(ended))


def best_of(entry: Entry) -> Entry | None:
    """Of the n texts of each prompt the one with the most points; None where n is 1.

    Chosen as `palate best-of-n` does: an empty text, or one that was cut off, only if all are.  The
    reward that chooses is the one that measures it, so by that reward it is an upper baseline.
    """
    from palate.rlhf.best_of_n import standing

    drawn, n = entry.drawn, min(map(len, entry.drawn.texts))
    if n < 2 or entry.points is None:
        return None
    best = []
    for same, ends, given in zip(drawn.texts, drawn.ended, entry.points, strict=True):
        whole = [end and bool(text.strip()) for text, end in zip(same[:n], ends)]
        places = standing(given[:n], whole)
        best.append(places.index(max(places)))
    who = replace(entry.contestant, name=f"{entry.name}, best of {n}", role="best-of-n")
    texts = tuple((each[place],) for each, place in zip(drawn.texts, best, strict=True))
    ended = tuple((each[place],) for each, place in zip(drawn.ended, best, strict=True))
    points = tuple((each[place],) for each, place in zip(entry.points, best, strict=True))
    return Entry(who, Drawn(who.name, drawn.prompts, texts, ended), points)


def examples_for(
    baseline: Contestant, path: str | None, listen: Listener
) -> tuple[tuple[Example, ...], tuple[Example, ...], str] | None:
    """(learnt, held out, where they are from): of the SFT run that a model goes back to.

    `path` is learnt instead where it is named.  None where there are none, with a note if they
    should be there.
    """
    from palate.evaluation.contestants import ancestor
    from palate.evaluation.heldout import examples_of, own_rows

    named = None if path is None else (examples_of(path), (), path)
    sft = ancestor(baseline, "sft")
    if sft is None or sft.record is None:
        return named
    data = str(sft.record["config"]["data"])
    try:
        own = own_rows(sft)
        every = {row.origin: row for row in _examples(data, sft.record["config"])}
    except PalateError as error:
        listen(Note(f"what {sft.name} imitated cannot be read: {error}", warning=True))
        return named
    held = tuple(own.reporting or own.choosing)
    gone = {row.origin for row in (*own.reporting, *own.choosing)}
    if named is not None:
        return named[0], held, named[2]
    return tuple(row for origin, row in every.items() if origin not in gone), held, data


def _examples(data: str, config: dict[str, object]) -> Sequence[Example]:
    from palate.data.sources import parse_map, read

    mapping = config["map"]
    assert isinstance(mapping, list)
    form = str(config.get("format", "auto"))
    return read(data, kind="sft", mapping=parse_map(tuple(mapping)), format=form).rows
