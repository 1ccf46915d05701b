"""What rendering needs of a tokenizer, which is handed in, and text with ids and character offsets.

No tokenizer class is imported.  A tokenizer without character offsets is refused: the boundary
between prompt and completion could only be guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from palate.errors import ModelError


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    chat_template: Any
    is_fast: bool
    bos_token_id: int | None
    eos_token_id: int | None
    pad_token_id: int | None
    unk_token_id: int | None
    added_tokens_decoder: Mapping[int, Any]

    def __call__(self, text: str, **options: Any) -> Mapping[str, Any]: ...

    def convert_ids_to_tokens(self, ids: Any) -> Any: ...


class RowFault(Exception):
    """One thing that keeps a row from being rendered: field, what, what to do."""

    def __init__(self, field: str, what: str, todo: str) -> None:
        super().__init__(f"{field} {what}. {todo}")
        self.field, self.what, self.todo = field, what, todo


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text, its token ids, and the half-open character range of each token."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


def encode(tokenizer: Tokenizer, text: str, *, special: bool) -> Encoded:
    """`special`: with what the tokenizer adds by itself (BOS)."""
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True, verbose=False)
    offsets = tuple((start, stop) for start, stop in found["offset_mapping"])
    return Encoded(text, tuple(found["input_ids"]), offsets)


def check(tokenizer: Tokenizer) -> None:
    """Raises ModelError for a tokenizer that rendering cannot use."""
    if not tokenizer.is_fast:
        what = "The tokenizer gives no character offsets (it is a slow one)."
        hint = "Save it as tokenizer.json with transformers and use that folder."
        raise ModelError(what, hint=hint)
    if tokenizer.eos_token_id is None:
        what = "The tokenizer has no EOS token: answers would never end."
        raise ModelError(what, hint="Set eos_token in the model's tokenizer_config.json.")


def control_tokens(tokenizer: Tokenizer) -> dict[str, int]:
    """Special tokens that mark turns, beginnings and ends (not unknown, not padding)."""
    found = {str(t): n for n, t in tokenizer.added_tokens_decoder.items() if t.special}
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id)
    found |= {str(tokenizer.convert_ids_to_tokens(n)): n for n in ids if n is not None}
    spare = {tokenizer.pad_token_id, tokenizer.unk_token_id} - set(ids)
    return {text: n for text, n in found.items() if n not in spare}


def shared_length(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """Length of the longest common prefix."""
    if left[: len(right)] == right[: len(left)]:
        return min(len(left), len(right))
    return next(n for n, (a, b) in enumerate(zip(left, right)) if a != b)


def check_bos(encoded: Encoded, tokenizer: Tokenizer, field: str) -> None:
    """At most one BOS, and none after the first token."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    doubled = encoded.ids[:2] == (bos, bos)
    inside = bos != tokenizer.eos_token_id and bos in encoded.ids[1:]
    if doubled or inside:
        name = tokenizer.convert_ids_to_tokens(bos)
        what = f"gives more than one BOS token ('{name}')"
        raise RowFault(field, what, f"Remove '{name}' from the text, or from the template.")
