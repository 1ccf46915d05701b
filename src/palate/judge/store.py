"""The store: prompts, answers, how they were shown, and every verdict ever given, in one file.

A judgement that `judge` returned is on the disk.  Nothing is updated but drafts, the plan and small
named values; to undo is to append.  Ids are made from content or by the caller, so whatever is sent
twice is there once.
"""

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from palate.data.judged import (
    Answer,
    AskedPrompt,
    JudgeKind,
    Judgement,
    MadeBy,
    Mode,
    Presentation,
    Said,
    Showing,
    Split,
    Verdict,
)
from palate.data.rows import Text
from palate.errors import StoreError
from palate.judge import values
from palate.judge.database import Database

_PARTS: Final = """
  s.*, p.prompt_id, p.left_id, p.right_id, p.judge, p.mode, p.selector, p.again, p.shown
  FROM standing s JOIN presentation p ON p.id = s.presentation_id"""

# Prompts of which a judge compared some pairs, not all; a skipped pair counts as not compared, and
# an edited answer, made to be better than its parent, is not a rival to be drawn.
_STARTED: Final = """
  SELECT q.* FROM prompt q JOIN (
    SELECT p.prompt_id AS id, count(*) AS shown,
      count(DISTINCT CASE WHEN s.verdict <> 'skip' AND p.mode <> 'edit'
        THEN min(p.left_id, p.right_id) || max(p.left_id, p.right_id) END) AS compared
    FROM presentation p LEFT JOIN standing s ON s.presentation_id = p.id
    WHERE p.judge = ? GROUP BY p.prompt_id) d ON d.id = q.id
  JOIN (SELECT prompt_id, count(*) AS n FROM answer WHERE origin <> 'edit' GROUP BY prompt_id) k
    ON k.prompt_id = q.id
  WHERE d.compared < k.n * (k.n - 1) / 2 AND ? IN ('', q.split)
  ORDER BY d.shown, q.shuffle LIMIT ?"""
_NEW: Final = """
  SELECT * FROM prompt q WHERE ? IN ('', split)
  AND EXISTS(SELECT 1 FROM answer a WHERE a.prompt_id = q.id AND a.origin <> 'edit'
    LIMIT 1 OFFSET 1)
  AND NOT EXISTS(SELECT 1 FROM presentation p WHERE p.prompt_id = q.id AND p.judge = ?)
  ORDER BY shuffle LIMIT ?"""


class Conflict(StoreError):
    """A verdict on this presentation stands already; the new one was not taken."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Two answers of one prompt that should be judged, and why these."""

    one: str
    other: str
    selector: Literal["random", "active"]
    score: float | None = None


class Store:
    """One file.  `with Store.open(path) as store`; every method may be called from any thread."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.path = database.path
        self._database = database
        self._clock = clock

    @classmethod
    def open(cls, path: Path, *, clock: Callable[[], float] = time.time, wait: float = 5.0) -> Self:
        """Create or open a store.  Raises StoreError: newer, foreign, damaged, locked."""
        return cls(Database.open(path, wait=wait), clock)

    def close(self) -> None:
        """Fold the log into the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def transaction(self) -> AbstractContextManager[None]:
        """Several writes, all of them or none."""
        return self._database.transaction()

    # ---- small named values and judges

    def meta(self, name: str, default: str = "") -> str:
        """A named value, such as the tags in use."""
        found = self._database.row("SELECT value FROM meta WHERE name = ?", (name,))
        return default if found is None else str(found["value"])

    def set_meta(self, name: str, value: str) -> None:
        self._database.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def add_judge(self, name: str, kind: JudgeKind) -> None:
        """Make a judge known.  Raises StoreError if the name belongs to another kind."""
        found = self.judges().get(name)
        if found is not None and found != kind:
            raise StoreError(
                f"{self.path}: the judge '{name}' is a {found}, not a {kind}.",
                hint="Give this judge a name of its own.",
            )
        if found is None:
            self._database.write("INSERT OR IGNORE INTO judge VALUES (?, ?)", (name, kind))

    def judges(self) -> dict[str, JudgeKind]:
        """Name -> kind."""
        rows = self._database.rows("SELECT name, kind FROM judge ORDER BY rowid")
        return {row["name"]: row["kind"] for row in rows}

    # ---- prompts and answers

    def add_prompt(self, text: Text, *, tags: Sequence[str] = ()) -> AskedPrompt:
        """A prompt, once.  Its split is drawn here, by what it says, and never again."""
        found = values.prompt_of(text, tuple(tags))
        turns = None if isinstance(text, str) else values.as_json(text)
        given = (found.id, found.text, turns, json.dumps(list(tags)), found.split)
        self._database.write(
            "INSERT OR IGNORE INTO prompt VALUES (?, ?, ?, ?, ?, ?)",
            (*given, values.number(found.id)),
        )
        return self.prompt(found.id)

    def add_answer(
        self,
        prompt: str,
        text: str,
        origin: MadeBy,
        *,
        parent: str | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> Answer:
        """An answer, once per prompt: the same text keeps the origin that it came with first."""
        answer = values.digest(prompt, text)
        made_by = json.dumps(dict(made or {}), sort_keys=True, ensure_ascii=False)
        given = (answer, prompt, text, origin, parent, made_by, self._clock())
        self._database.write("INSERT OR IGNORE INTO answer VALUES (?, ?, ?, ?, ?, ?, ?)", given)
        return self.answer(answer)

    def prompt(self, id: str) -> AskedPrompt:
        """Raises KeyError for an unknown id."""
        found = self._database.row("SELECT * FROM prompt WHERE id = ?", (id,))
        return values.prompt(values.there(found, id))

    def answer(self, id: str) -> Answer:
        """Raises KeyError for an unknown id."""
        found = self._database.row("SELECT * FROM answer WHERE id = ?", (id,))
        return values.answer(values.there(found, id))

    def prompts(self, split: Split | None = None) -> list[AskedPrompt]:
        """All prompts, or those of one split, as they came."""
        query = "SELECT * FROM prompt WHERE ? IN ('', split) ORDER BY rowid"
        return [values.prompt(row) for row in self._database.rows(query, (split or "",))]

    def answers(self, prompt: str) -> list[Answer]:
        """The answers of one prompt, as they came."""
        query = "SELECT * FROM answer WHERE prompt_id = ? ORDER BY rowid"
        return [values.answer(row) for row in self._database.rows(query, (prompt,))]

    def size(self, table: Literal["prompt", "answer", "presentation", "judgement"]) -> int:
        """How many rows a table has."""
        found = self._database.row(f"SELECT count(*) AS n FROM {table}")
        return 0 if found is None else int(found["n"])

    # ---- presentations

    def present(
        self, left: str, right: str, showing: Showing, *, id: str | None = None
    ) -> Presentation:
        """Note down that two answers are shown.  The same `id` twice is one presentation.

        Raises KeyError for an unknown answer, ValueError for answers of two prompts.
        """
        one, other = self.answer(left), self.answer(right)
        if one.prompt_id != other.prompt_id or left == right:
            raise ValueError("a presentation holds two different answers of one prompt")
        id = id or uuid.uuid4().hex
        how = (showing.judge, showing.mode, showing.selector, showing.again)
        self._database.write(
            "INSERT OR IGNORE INTO presentation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (id, one.prompt_id, left, right, *how, self._clock()),
        )
        return self.presentation(id)

    def presentation(self, id: str) -> Presentation:
        """Raises KeyError for an unknown id."""
        found = self._database.row("SELECT * FROM presentation WHERE id = ?", (id,))
        return self._presentation(values.there(found, id), id)

    def pending(self, judge: str, mode: Mode) -> list[Presentation]:
        """Shown, and without a verdict that stands; the oldest first."""
        query = """SELECT * FROM presentation p WHERE judge = ? AND mode = ?
            AND NOT EXISTS(SELECT 1 FROM standing s WHERE s.presentation_id = p.id)
            ORDER BY rowid"""
        rows = self._database.rows(query, (judge, mode))
        return [self._presentation(row, row["id"]) for row in rows]

    def seen(self, judge: str, prompt: str) -> dict[frozenset[str], Verdict | None]:
        """Which two answers of a prompt a judge was shown -> the latest verdict that stands."""
        query = """SELECT p.left_id, p.right_id, s.verdict FROM presentation p
            LEFT JOIN standing s ON s.presentation_id = p.id
            WHERE p.judge = ? AND p.prompt_id = ? ORDER BY p.rowid"""
        rows = self._database.rows(query, (judge, prompt))
        return {frozenset((row["left_id"], row["right_id"])): row["verdict"] for row in rows}

    def outline(self, judge: str) -> list[sqlite3.Row]:
        """What a judge was shown and what stands of it, in order and without texts."""
        query = """SELECT p.id, p.prompt_id, p.left_id, p.right_id, p.mode, p.again,
            s.id AS judgement, s.verdict, s.tags, s.created
            FROM presentation p LEFT JOIN standing s ON s.presentation_id = p.id
            WHERE p.judge = ? ORDER BY p.rowid"""
        return self._database.rows(query, (judge,))

    # ---- judgements

    def judge(
        self, id: str, presentation: str, said: Said, *, supersedes: str | None = None
    ) -> Judgement:
        """Append a verdict; it is on the disk when this returns.

        The same `id` again changes nothing.  Raises KeyError for an unknown presentation, Conflict
        if a verdict stands that `supersedes` does not name.
        """
        with self.transaction():
            if not self.knows(id):
                self.presentation(presentation)
                last = self._last(presentation)
                if last is not None and not last["revoked"] and last["id"] != supersedes:
                    raise Conflict(
                        "this pair has a verdict already, from another tab or another time.",
                        hint="Look at it in the history, or undo it.",
                    )
                tags = json.dumps(list(said.tags), ensure_ascii=False)
                told = (said.verdict, said.strength, said.reason, tags, said.ms)
                follows = None if last is None else last["id"]
                self._append((id, presentation, *told, follows, 0))
            return self.judgement(id)

    def undo(self, id: str, target: str | None = None, *, judge: str) -> Presentation | None:
        """Append that a verdict no longer stands: `target`, or the judge's latest.

        Returns what is to be shown again; None if there is nothing to undo.  The same `id` again
        changes nothing.  Raises KeyError for an unknown target.
        """
        with self.transaction():
            done = self._database.row("SELECT * FROM judgement WHERE id = ?", (id,))
            if done is not None:
                return self.presentation(done["presentation_id"])
            found = self._to_undo(target, judge)
            if found is None:
                return None
            same = [found[name] for name in ("verdict", "strength", "reason", "tags", "ms")]
            self._append((id, found["presentation_id"], *same, found["id"], 1))
            return self.presentation(found["presentation_id"])

    def knows(self, id: str) -> bool:
        """Whether a judgement with this id was ever appended."""
        return self._database.row("SELECT 1 FROM judgement WHERE id = ?", (id,)) is not None

    def judgement(self, id: str) -> Judgement:
        """A verdict as it was given, standing or not.  Raises KeyError for an unknown id."""
        query = f"SELECT {_PARTS.replace('standing s', 'judgement s')} WHERE s.id = ?"
        return self._judgements([values.there(self._database.row(query, (id,)), id)])[0]

    def standing(self, judge: str | None = None) -> list[Judgement]:
        """The verdicts that stand, in the order in which they were shown."""
        query = f"SELECT {_PARTS} WHERE ? IN ('', p.judge) ORDER BY p.rowid"
        return self._judgements(self._database.rows(query, (judge or "",)))

    def latest(self, judge: str, before: str | None = None, limit: int = 50) -> list[Judgement]:
        """A judge's standing verdicts, the newest first; `before` is the id of the last one got."""
        query = f"""SELECT {_PARTS} WHERE p.judge = ? AND (? = '' OR
            s.place < (SELECT rowid FROM judgement WHERE id = ?)) ORDER BY s.place DESC LIMIT ?"""
        given = (judge, before or "", before or "", limit)
        return self._judgements(self._database.rows(query, given))

    def counts(self, judge: str) -> dict[Verdict, int]:
        """Verdict -> how many of this judge stand."""
        query = """SELECT s.verdict, count(*) AS n FROM standing s
            JOIN presentation p ON p.id = s.presentation_id WHERE p.judge = ? GROUP BY 1"""
        return {row["verdict"]: row["n"] for row in self._database.rows(query, (judge,))}

    def tally(self, judge: str) -> dict[str, int]:
        """Tag -> in how many of a judge's standing verdicts, the most frequent first."""
        query = """SELECT t.value AS tag, count(*) AS n FROM standing s
            JOIN presentation p ON p.id = s.presentation_id, json_each(s.tags) t
            WHERE p.judge = ? GROUP BY 1 ORDER BY n DESC, tag"""
        return {row["tag"]: row["n"] for row in self._database.rows(query, (judge,))}

    # ---- drafts

    def draft(self, name: str) -> str:
        """What was typed and not yet saved; a presentation's id, or `write`."""
        found = self._database.row("SELECT text FROM draft WHERE name = ?", (name,))
        return "" if found is None else str(found["text"])

    def save_draft(self, name: str, text: str) -> None:
        given = (name, text, self._clock())
        self._database.write("INSERT OR REPLACE INTO draft VALUES (?, ?, ?)", given)

    def drop_draft(self, name: str) -> None:
        self._database.write("DELETE FROM draft WHERE name = ?", (name,))

    # ---- what to judge next

    def set_plan(self, picks: Sequence[Pick]) -> None:
        """Replace the plan."""
        with self.transaction():
            self._database.write("DELETE FROM plan")
            for place, pick in enumerate(picks):
                given = (place, pick.one, pick.other, pick.selector, pick.score)
                self._database.write("INSERT INTO plan VALUES (?, ?, ?, ?, ?)", given)

    def plan(self, judge: str, limit: int = 10) -> list[Pick]:
        """The picks that a judge was not shown yet, in order."""
        query = """SELECT * FROM plan q WHERE NOT EXISTS(
              SELECT 1 FROM presentation p WHERE p.judge = ?
              AND p.prompt_id = (SELECT prompt_id FROM answer WHERE id = q.one_id)
              AND ((p.left_id = q.one_id AND p.right_id = q.other_id)
                OR (p.left_id = q.other_id AND p.right_id = q.one_id)))
            ORDER BY place LIMIT ?"""
        rows = self._database.rows(query, (judge, limit))
        return [Pick(row["one_id"], row["other_id"], row["selector"], row["score"]) for row in rows]

    def unjudged(
        self, judge: str, split: Split | None = None, limit: int = 10
    ) -> list[AskedPrompt]:
        """Prompts with two answers that a judge has not compared: new ones first, in random order.

        A prompt stays in the list until all its pairs were judged; a skipped pair was not.
        """
        rows = self._database.rows(_NEW, (split or "", judge, limit))
        if len(rows) < limit:
            rows += self._database.rows(_STARTED, (judge, split or "", limit - len(rows)))
        return [values.prompt(row) for row in rows]

    # ---- rows to values

    def _last(self, presentation: str) -> sqlite3.Row | None:
        """The newest row of a presentation's history, which is a chain."""
        query = "SELECT * FROM judgement WHERE presentation_id = ? ORDER BY rowid DESC LIMIT 1"
        return self._database.row(query, (presentation,))

    def _to_undo(self, target: str | None, judge: str) -> sqlite3.Row | None:
        query = """SELECT s.* FROM standing s JOIN presentation p ON p.id = s.presentation_id
            WHERE p.judge = ? AND ? IN ('', s.id) ORDER BY s.place DESC LIMIT 1"""
        found = self._database.row(query, (judge, target or ""))
        if found is None and target is not None:
            self.judgement(target)  # KeyError for one that never was
        return found

    def _append(self, row: Sequence[Any]) -> None:
        self._database.write(
            """INSERT INTO judgement(id, presentation_id, verdict, strength, reason, tags, ms,
            supersedes, revoked, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (*row, self._clock()),
        )

    def _presentation(self, row: sqlite3.Row, id: str) -> Presentation:
        return values.presentation(
            row,
            id,
            self.prompt(row["prompt_id"]),
            (self.answer(row["left_id"]), self.answer(row["right_id"])),
        )

    def _judgements(self, rows: Sequence[sqlite3.Row]) -> list[Judgement]:
        return [
            values.judgement(row, self._presentation(row, row["presentation_id"])) for row in rows
        ]
