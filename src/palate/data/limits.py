"""Sequences longer than the limit: an error by default, a cut from the prompt's left, or left out.

A completion is never cut, and a prompt is never cut away: what does not fit then is named.
"""

from dataclasses import dataclass, replace

from palate.data.rows import Item, Sequence

_TODO = "Use --truncate prompt-left or --drop-long, or raise --max-length."


@dataclass(frozen=True, slots=True)
class TooLong:
    """An item that does not fit: its tokens, those of its prompt, and whether a cut would do."""

    item: Item
    tokens: int
    prompt: int
    curable: bool

    def describe(self, limit: int) -> tuple[str, str]:
        """(what, todo) for one row."""
        rest = self.tokens - self.prompt
        parts = f"prompt {self.prompt} + completion {rest}"
        what = f"needs {self.tokens} tokens, the limit is {limit} ({parts})"
        if self.prompt >= limit:
            what += "; the prompt alone fills it"
        return what, _TODO if self.curable else "Shorten the completion, or use --drop-long."


def fit(item: Item, limit: int, *, bos: int | None, cut: bool) -> Item | TooLong:
    """The item within `limit` tokens.  `cut`: take tokens from the left of the prompt, BOS kept.

    Every sequence of the item loses the same tokens, so that they still share their prompt.
    """
    longest = max(item.sequences, key=lambda s: len(s.ids))
    excess = len(longest.ids) - limit
    if excess <= 0:
        return item
    kept = int(bos is not None and longest.ids[0] == bos)
    curable = longest.prompt - kept - excess >= 1
    if not (cut and curable):
        return TooLong(item, len(longest.ids), longest.prompt, curable)
    shorter = tuple(_cut(sequence, kept, excess) for sequence in item.sequences)
    return replace(item, sequences=shorter)


def _cut(sequence: Sequence, kept: int, excess: int) -> Sequence:
    ids = sequence.ids[:kept] + sequence.ids[kept + excess :]
    spans = tuple((start - excess, stop - excess) for start, stop in sequence.spans)
    return Sequence(ids, spans, sequence.prompt - excess)
