"""The store's verdicts as palate's pairs: what stands, whose it is, and nothing invented.

Every call on the same store gives the same bytes.  A person's word on two answers beats a file's on
the same two, and a second look (resolve, recheck) beats the first.  Ties, both-bad and skipped stay
in the store; re-asks measure a judge and are no pairs.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from palate.data.judged import Answer, Judgement, Split
from palate.data.rows import Text
from palate.errors import UsageError
from palate.judge.store import Store
from palate.runs.atomic import write_file
from palate.study.tally import settled

Extra = Literal["reasks", "inferred", "ties"]
OURS: Final = ("person", "file")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written where, and which judges were left out with how many pairs."""

    path: Path
    pairs: int
    beside: tuple[tuple[Path, int], ...]
    left_out: Mapping[str, int]


def pairs(
    store: Store,
    *,
    judges: Sequence[str] = (),
    split: Split | None = "train",
    include: Iterable[Extra] = (),
) -> list[Row]:
    """One row per pair that stands, in the order in which they were shown.

    `judges` () is persons and files; programs and models must be named.  `include` "reasks" adds
    re-asks, marked by `again`; "inferred" what follows from winner-stays, marked `inferred`.
    Raises UsageError for a judge that the store does not know.
    """
    wanted, asked = _wanted(store, judges), set(include)
    found = [each for each in store.standing() if each.of.judge in wanted]
    counted = _settled(found, store.judges())
    audits = _audits(found)
    rows = [_row(each) | audits.get(each.chosen.id, {}) for each in counted if each.chosen]
    if "reasks" in asked:
        rows += _reasks(found)
    if "inferred" in asked:
        rows += _inferred(counted)
    return [row for row in rows if split in (None, row["split"])]


def undecided(
    store: Store, *, judges: Sequence[str] = (), split: Split | None = "train"
) -> list[Row]:
    """Ties and both-bad: two completions, and that no pair came of them."""
    wanted = _wanted(store, judges)
    found = [each for each in store.standing() if each.of.judge in wanted]
    counted = _settled(found, store.judges())
    rows = [_tie(each) for each in counted if each.verdict in ("tie", "both_bad")]
    return [row for row in rows if split in (None, row["split"])]


def as_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """JSON lines."""
    return "".join(f"{json.dumps(row, ensure_ascii=False, allow_nan=False)}\n" for row in rows)


def write_export(
    store: Store,
    out: Path,
    *,
    judges: Sequence[str] = (),
    split: Split | Literal["all"] | None = None,
    include: Iterable[Extra] = (),
) -> Exported:
    """Write the pairs, whole or not at all.

    Without a split the training pairs go to `out` and the held-out ones, if there are any, to
    `NAME.heldout.jsonl` beside it.  "ties" in `include` writes `NAME.ties.jsonl`.
    """
    include = set(include)
    parts: list[tuple[Path, Split | None]] = [(out, None if split == "all" else split or "train")]
    if split is None:
        parts.append((out.with_suffix(f".heldout{out.suffix}"), "heldout"))
    written = []
    every = pairs(store, judges=judges, split=None, include=include)
    for place, (path, part) in enumerate(parts):
        rows = [row for row in every if part in (None, row["split"])]
        if rows or place == 0 or path.exists():  # what an earlier export left there is not true now
            write_file(path, as_lines(rows).encode())
            written.append((path, len(rows)))
    if "ties" in include:
        path = out.with_suffix(f".ties{out.suffix}")
        rows = undecided(store, judges=judges, split=parts[0][1])
        write_file(path, as_lines(rows).encode())
        written.append((path, len(rows)))
    return Exported(out, written[0][1], tuple(written[1:]), _left_out(store, judges))


def _wanted(store: Store, judges: Sequence[str]) -> set[str]:
    known = store.judges()
    for name in judges:
        if name not in known:
            there = ", ".join(known) or "none yet"
            raise UsageError(f"{store.path} has no judge '{name}'.", hint=f"It has: {there}.")
    return set(judges) or {name for name, kind in known.items() if kind in OURS}


def _left_out(store: Store, judges: Sequence[str]) -> dict[str, int]:
    """Judges that were not asked for -> pairs of theirs."""
    others = store.judges().keys() - _wanted(store, judges)
    counts = {name: len(pairs(store, judges=[name], split=None)) for name in sorted(others)}
    return {name: count for name, count in counts.items() if count}


def _settled(found: Sequence[Judgement], kinds: Mapping[str, str]) -> list[Judgement]:
    """The verdicts that count: each judge's own, and a file's unless a person judged these two."""
    kept = settled(found)
    by_person = {each.of.couple for each in kept if kinds[each.of.judge] == "person"}
    return [
        each for each in kept if kinds[each.of.judge] != "file" or each.of.couple not in by_person
    ]


def _row(each: Judgement) -> Row:
    chosen, rejected = each.chosen, each.rejected
    assert chosen and rejected
    return _sides(each, chosen, rejected) | {
        "id": each.id,
        **({"tag": each.tags[0], "tags": list(each.tags)} if each.tags else {}),
        **({"reason": each.reason} if each.reason else {}),
        "shown": each.verdict,
        **({"seconds": each.ms / 1000} if each.ms else {}),
        "strength": each.strength,
        "judge": each.of.judge,
        "split": each.of.prompt.split,
        "selector": each.of.selector,
        "created": _time(each.created),
        **({"edited": True} if chosen.origin == "edit" else {}),
        **({"fast": True} if each.fast else {}),
    }


def _sides(each: Judgement, chosen: Answer, rejected: Answer) -> Row:
    return {
        "prompt": _prompt(each.of.prompt.turns or each.of.prompt.text),
        "chosen": chosen.text,
        "rejected": rejected.text,
    }


def _tie(each: Judgement) -> Row:
    row = {
        "prompt": _prompt(each.of.prompt.turns or each.of.prompt.text),
        "completions": [each.of.left.text, each.of.right.text],
        "verdict": each.verdict,
        "id": each.id,
        "judge": each.of.judge,
        "split": each.of.prompt.split,
        "created": _time(each.created),
    }
    return row | ({"reason": each.reason} if each.reason else {})


def _prompt(text: Text) -> str | list[dict[str, str]]:
    if isinstance(text, str):
        return text
    return [{"role": turn.role, "content": turn.content} for turn in text]


def _time(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds")


def _reasks(found: Sequence[Judgement]) -> list[Row]:
    """Re-asks with a winner, each beside the id of the judgement that it repeats."""
    first = {each.of.id: each.id for each in found}
    again = [each for each in found if each.of.is_reask and each.of.again in first]
    return [_row(each) | {"again": first[each.of.again or ""]} for each in again if each.chosen]


def _audits(found: Sequence[Judgement]) -> dict[str, Row]:
    """Chosen answer -> which of it and a fresh sample was preferred.

    The sample is the side that the model wrote afresh: it stands in no other pair.
    """
    audits = [each for each in found if each.of.mode == "audit" and each.verdict != "skip"]
    others = [each for each in found if each.of.mode != "audit"]
    in_pairs = {each.chosen.id for each in others if each.chosen}
    told: dict[str, Row] = {}
    for each in audits:
        for answer in (each.of.left, each.of.right):
            if answer.id in in_pairs:
                won = each.chosen is not None and each.chosen.id == answer.id
                told[answer.id] = {
                    "audit": "tie" if each.chosen is None else "chosen" if won else "sample"
                }
    return told


def _inferred(counted: Sequence[Judgement]) -> list[Row]:
    """What follows from winner-stays: a over b and b over c is a over c, if nobody said so.

    A prompt whose verdicts run in a circle gives none.
    """
    wins: dict[tuple[str, str], list[Judgement]] = {}
    for each in counted:
        if each.of.mode == "rank" and each.chosen:
            wins.setdefault((each.of.judge, each.of.prompt.id), []).append(each)
    rows: list[Row] = []
    for (judge, _), judged in wins.items():
        direct = {(each.chosen.id, each.rejected.id) for each in judged if each.rejected}  # type: ignore[union-attr]
        follows = _closure(direct)
        if any((worse, better) in follows for better, worse in follows):
            continue
        texts = {side.id: side for each in judged for side in (each.of.left, each.of.right)}
        for better, worse in sorted(follows - direct):
            rows.append(
                _sides(judged[0], texts[better], texts[worse])
                | {"judge": judge, "split": judged[0].of.prompt.split, "inferred": True}
            )
    return rows


def _closure(direct: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Everything that follows by transitivity."""
    found = set(direct)
    while True:
        new = {(a, d) for (a, b), (c, d) in itertools.product(found, found) if b == c} - found
        if not new:
            return found
        found |= new
