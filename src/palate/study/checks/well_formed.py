"""Rows without a preference, or with their packaging: the same answer twice, role tokens."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from palate.stats import share
from palate.study.checks.base import Case, Check, ExampleText, Finding, PairText

NAME: Final = "well formed"
_MARKER = re.compile(
    r"<\|[a-z][a-z0-9_ ]{1,30}\|>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>|</s>\s*\Z"
    r"|(?:\A|\n[ \t]*\n)\s*(?:Human|Assistant):|^#{2,3} (?:Instruction|Response|Input):",
    re.MULTILINE,
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


def folded(text: str) -> str:
    """NFC with single white space; case stays, as it may be the taste."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def marker(text: str) -> str | None:
    """The first chat-template marker or role token outside code, as it stands there."""
    found = _MARKER.search(_CODE.sub(" ", text))
    return found.group().strip() if found else None


def run(case: Case) -> Iterable[Finding]:
    """One error per kind of damage, or one ok."""
    if not case.pairs and not case.examples:
        return
    found = [*_pairs(case.pairs), *_marked(case)]
    yield from found or [_fine(len(case.pairs) or len(case.examples))]


def _pairs(pairs: Sequence[PairText]) -> Iterable[Finding]:
    empty = _where(pairs, lambda each: not (each.chosen.strip() and each.rejected.strip()))
    same = _where(
        pairs, lambda each: each.line not in empty and folded(each.chosen) == folded(each.rejected)
    )
    bare = _where(pairs, lambda each: not each.prompt.strip())
    if empty:
        text = f"{_lines(empty)} an empty answer: there is nothing to prefer, or nothing to reject."
        yield _error("empty", text, empty, len(pairs), "Write the answer or take the pair out.")
    if same:
        text = (
            f"{_lines(same)} the same answer twice, but for white space: it carries no preference "
            "and no gradient."
        )
        yield _error("same", text, same, len(pairs), "Take these pairs out, or judge them again.")
    if bare:
        text = f"{_lines(bare)} no prompt: both answers are learnt as answers to nothing."
        yield _error("prompt", text, bare, len(pairs), "Put what was asked into the prompt.")


def _marked(case: Case) -> Iterable[Finding]:
    rows: Sequence[PairText | ExampleText] = case.pairs or case.examples
    seen: dict[int, str] = {}
    for row in rows:
        answers = (row.chosen, row.rejected) if isinstance(row, PairText) else (row.completion,)
        found = next((sign for sign in map(marker, answers) if sign), None)
        if found:
            seen[row.line] = found
    if seen:
        lines = tuple(seen)
        text = (
            f"{_lines(lines)} a role token inside an answer (“{seen[lines[0]]}”): the model will "
            "learn to write both sides of the conversation."
        )
        todo = "Cut the answer before the token; palate adds the template by itself."
        yield _error("role", text, lines, len(rows), todo)


def _where(pairs: Sequence[PairText], bad: Callable[[PairText], bool]) -> tuple[int, ...]:
    return tuple(each.line for each in pairs if bad(each))


def _lines(lines: Sequence[int]) -> str:
    if len(lines) == 1:
        return f"Line {lines[0]} holds"
    return f"{len(lines)} rows (the first is line {lines[0]}) hold"


def _error(key: str, text: str, rows: tuple[int, ...], count: int, todo: str) -> Finding:
    rate = share(len(rows), count)
    return Finding(
        NAME,
        "error",
        text,
        rate.value,
        rate,
        "error from one row on",
        rows=rows,
        todo=todo,
        key=key,
    )


def _fine(count: int) -> Finding:
    return Finding(
        NAME,
        "ok",
        f"All {count} rows have their texts, none the same answer twice, none a role token.",
        0.0,
        share(0, count),
        "error from one row on",
    )


CHECK = Check(
    NAME,
    0,
    "Does every row hold a prompt and answers that differ, and nothing else?",
    "damage that looks like text: an answer to another prompt, words lost in the middle",
    run,
)
