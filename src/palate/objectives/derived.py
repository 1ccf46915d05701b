"""Sequences that an objective needs beside those of the file, made from token ids alone.

They are packed like any other: what they share with their item is computed once, and their
reference log-probs are cached.
"""

from collections.abc import Sequence as Many
from dataclasses import replace

from palate.data.rows import Item, Sequence


def heads(items: Many[Item]) -> list[Item]:
    """Each pair with both sides cut to the scored tokens of the shorter: four sequences."""
    found = []
    for item in items:
        shortest = min(sequence.scored for sequence in item.sequences)
        cut = tuple(_first(sequence, shortest) for sequence in item.sequences)
        found.append(replace(item, sequences=(*item.sequences, *cut)))
    return found


def mismatched(items: Many[Item]) -> list[Item]:
    """Each completion, and after it the completion of the next row with another prompt.

    The neighbour depends on the order of the file alone.  The joined ids are cut to the longest
    sequence of the file, so that they fit the model too.
    """
    longest = max((len(item.sequences[0].ids) for item in items), default=0)
    found = []
    for item, place in zip(items, _next_other(items)):
        joined = _joined(item.sequences[0], items[place].sequences[0], longest)
        found.append(replace(item, sequences=(*item.sequences, joined)))
    return found


def _next_other(items: Many[Item]) -> list[int]:
    """The next place with another prompt, round the end; its own where there is no other."""
    count = len(items)
    after = list(range(count))
    if len({item.group for item in items}) < 2:
        return after
    for place in reversed(range(2 * count)):  # twice round, for the prompts that span the end
        here, there = place % count, (place + 1) % count
        differs = items[here].group != items[there].group
        after[here] = there if differs else after[there]
    return after


def _joined(mine: Sequence, theirs: Sequence, longest: int) -> Sequence:
    """The prompt of `mine` and the completion of `theirs`, at least one token of it."""
    completion = theirs.ids[theirs.prompt :][: max(1, longest - mine.prompt)]
    ids = (*mine.ids[: mine.prompt], *completion)
    moved = mine.prompt - theirs.prompt
    spans = [(max(start + moved, 1), min(stop + moved, len(ids))) for start, stop in theirs.spans]
    kept = tuple((start, stop) for start, stop in spans if start < stop)
    return Sequence(ids, kept or ((max(mine.prompt, 1), len(ids)),), mine.prompt)


def _first(sequence: Sequence, count: int) -> Sequence:
    """The sequence up to its scored token number `count`."""
    spans: list[tuple[int, int]] = []
    for start, stop in sequence.spans:
        stop = min(stop, start + count)
        count -= stop - start
        spans.append((start, stop))
        if not count:
            break
    return Sequence(sequence.ids[: spans[-1][1]], tuple(spans), sequence.prompt)
