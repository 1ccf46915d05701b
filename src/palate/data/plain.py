"""Plain text to token ids: prompt and completion tokenised as one text, split by character offset.

A token that straddles the boundary belongs to the completion, the same way on both sides of a pair.
EOS comes once, at the end.  Knows nothing of turns.
"""

from collections.abc import Sequence as Many
from typing import Final

from palate.data.rows import Sequence
from palate.data.tokens import (
    Encoded,
    RowFault,
    Tokenizer,
    check_bos,
    encode,
    shared_length,
)

_PROBE: Final = "a"


def seam(prompt: str, sides: Many[str], join: str | None) -> str:
    """What is put between: `join`, else a newline when no white space is there yet.

    Both sides of a pair get the same, so that they share it.
    """
    if not prompt:
        return ""
    if join is not None:
        return join
    spaced = prompt[-1].isspace() or all(side[:1].isspace() for side in sides)
    return "" if spaced else "\n"


def sequences(tokenizer: Tokenizer, opening: str, sides: dict[str, str]) -> tuple[Sequence, ...]:
    """One sequence per side (field name -> completion) after the same opening text."""
    whole = [_whole(tokenizer, opening + side, name) for name, side in sides.items()]
    starts = [_start(encoded, len(opening)) for encoded in whole]
    boundary = min(starts)
    for encoded in whole[1:]:
        boundary = min(boundary, shared_length(whole[0].ids, encoded.ids))
    for encoded, name in zip(whole, sides):
        _check_end(tokenizer, encoded.ids[boundary:-1], name)
    return tuple(_scored(encoded.ids, boundary) for encoded in whole)


def text_sequence(tokenizer: Tokenizer, text: str) -> Sequence:
    """A text without a prompt: scored from its second token on, BOS or not."""
    ids = _whole(tokenizer, text, "text").ids
    return _scored(ids, int(ids[0] == tokenizer.bos_token_id))


def opening_ids(tokenizer: Tokenizer, opening: str) -> tuple[int, ...]:
    """The ids that a completion goes on from, as in training.

    White space at the end may be part of the completion's first token, so it is tokenised with a
    letter behind it; the token that holds both is left to the completion.
    """
    probe = _PROBE if opening[-1:].isspace() else ""
    encoded = encode(tokenizer, opening + probe, special=True)
    stop = _start(encoded, len(opening)) if probe else len(encoded.ids)
    ids = encoded.ids[:stop]
    ends = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id and not probe
    return ids[:-1] if ends and encoded.offsets[len(ids) - 1][1] == 0 else ids


def _whole(tokenizer: Tokenizer, text: str, name: str) -> Encoded:
    """The whole text with one BOS at most and one EOS at the end."""
    encoded = encode(tokenizer, text, special=True)
    check_bos(encoded, tokenizer, name)
    eos = tokenizer.eos_token_id
    assert eos is not None
    if encoded.ids[-1:] == (eos,) and len(encoded.ids) > 1:
        return encoded
    end = (len(text), len(text))
    return Encoded(text, (*encoded.ids, eos), (*encoded.offsets, end))


def _start(encoded: Encoded, boundary: int) -> int:
    """First token that reaches past the boundary; the last one (EOS) if none does."""
    reach = (n for n, (_, stop) in enumerate(encoded.offsets) if stop > boundary)
    return next(reach, len(encoded.ids) - 1)


def _check_end(tokenizer: Tokenizer, ids: tuple[int, ...], name: str) -> None:
    if tokenizer.eos_token_id in ids:
        eos = tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id)
        what = f"holds the EOS token ('{eos}') before its end"
        raise RowFault(name, what, "Remove it: EOS is appended once.")


def _scored(ids: tuple[int, ...], boundary: int) -> Sequence:
    """Scored from the boundary on; the first token has nothing before it, so it never is."""
    return Sequence(ids, ((max(boundary, 1), len(ids)),), boundary)
