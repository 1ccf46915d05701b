"""Files into the store: samples and examples as answers, pairs and ranked lists as verdicts.

A pair of a file is a verdict of the judge "import" (or of the one that the row names, marked as a
file): never a person's by pretence.  All of a file or nothing; the same file twice adds nothing.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from palate.data.judged import AskedPrompt, MadeBy, Said, Showing, Side
from palate.data.mapping import parse_map
from palate.data.rows import Example, Pair, Ranking, Row, Text
from palate.data.sources import gathered, read_prompts, records, scan
from palate.errors import DataError, Problem
from palate.judge.store import Store
from palate.judge.values import digest, number

IMPORT: Final = "import"
_ANSWERS: Final = {"completion", "completions", "chosen", "rejected", "messages", "text"}
_Step = tuple[Row, Mapping[str, Any]]
_MADE = ("seed", "index", "model", "temperature", "top_p", "logp", "tokens", "draw", "endpoint")


@dataclass(slots=True)
class Added:
    """What a file brought: new prompts, answers and judgements, and what was there already."""

    path: str
    prompts: int = 0
    answers: int = 0
    judgements: int = 0
    repeated: int = 0
    notes: list[str] = field(default_factory=list)


def add_file(store: Store, path: str, *, mapping: str = "", format: str = "auto") -> Added:
    """Take in a file of samples, examples, pairs, ranked lists or bare prompts.

    Raises DataError with every problem, and then nothing was added; StoreError.
    """
    renamed = parse_map(tuple(mapping.split(",")) if mapping else ())
    steps: list[_Step] = []
    problems: list[Problem] = []
    count = 0
    scanned = scan(path, mapping=renamed, format=format)
    for step in scanned.steps():
        problems += step.problems
        steps += [(row, {} if step.record is None else step.record.fields) for row in step.rows]
        count = scanned.records
    added = Added(path, notes=list(scanned.notes))
    if problems and not steps and (bare := _bare_prompts(path, renamed, format)):
        steps, problems = bare, []
    if problems:
        raise DataError(gathered(problems, count))
    _check_form(store, steps)
    with store.transaction():
        prompts, answers = store.size("prompt"), store.size("answer")
        samples = _take_in(store, steps, added)
        added.prompts = store.size("prompt") - prompts
        added.answers = store.size("answer") - answers
        added.repeated += max(0, samples - added.answers)
    return added


def made_by(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a sample's record says of how it was made, as it is kept with the answer."""
    return {name: fields[name] for name in _MADE if fields.get(name) is not None}


def _bare_prompts(path: str, mapping: Mapping[str, str], format: str) -> list[_Step]:
    """Rows with a prompt and no answer at all, which write mode may use."""
    first = next(records(path), None)
    if first is None or not _ANSWERS.isdisjoint(first.fields):
        return []
    try:
        found = read_prompts(path, mapping=mapping, format=format)
    except DataError:
        return []
    return [(row, {}) for row in found.rows]


def _check_form(store: Store, steps: Sequence[_Step]) -> None:
    """Plain prompts and conversations are trained on in different ways: one form per store."""
    kinds = {False: "plain prompts", True: "conversations"}
    there = store.prompts()[:1]
    new = [row for row, _ in steps if row.prompt is not None]
    if not there or not new:
        return
    before, now = there[0].turns is not None, isinstance(new[0].prompt, tuple)
    if before != now:
        what = f"holds {kinds[now]}, and {store.path} holds {kinds[before]}"
        todo = "Use a store of its own."
        raise DataError([Problem(new[0].origin.path, 0, "prompt", what, todo)])


def _take_in(store: Store, steps: Sequence[_Step], added: Added) -> int:
    """Add every row; the number of samples among them."""
    files = _Files(store, added)
    for row, fields in steps:
        if isinstance(row, Example):
            files.example(row, fields)
        else:
            for pair in _couples(row):
                files.pair(pair, fields)
    if files.labelled:
        added.notes.append(
            f"{files.labelled} single verdicts (label) are not kept: a store holds comparisons"
        )
    if files.samples:  # what made a text is kept with it, although the reader has no use for it
        added.notes = [note for note in added.notes if "without use" not in note]
    return files.samples


@dataclass(slots=True)
class _Files:
    """What has come of the file so far."""

    store: Store
    added: Added
    labelled: int = 0
    samples: int = 0
    copies: dict[tuple[str, ...], int] = field(default_factory=dict)
    judges: dict[str, str] = field(default_factory=dict)
    prompts: dict[Text, AskedPrompt] = field(default_factory=dict)

    def example(self, row: Example, fields: Mapping[str, Any]) -> None:
        """A prompt, and its completion if the row has one."""
        if row.prompt is None:
            what = "has no prompt of its own: nothing to compare answers to"
            todo = "Give prompt and completion, or --map them."
            raise DataError([Problem(row.origin.path, row.origin.line, "prompt", what, todo)])
        prompt = self._prompt(row.prompt)
        self.labelled += "label" in fields
        text = _answer(row.completion, row)
        if not text.strip():
            return
        made = made_by(fields)
        self.samples += "seed" in made
        self._answer(prompt, text, "sample" if "seed" in made else "import", made)

    def pair(self, row: Pair, fields: Mapping[str, Any]) -> None:
        """Two answers, and the verdict on them unless it is there."""
        prompt = self._prompt(row.prompt)
        sides = [_answer(side, row) for side in (row.chosen, row.rejected)]
        better, worse = (self._answer(prompt, text, "import", {}) for text in sides)
        judge = self._judge(fields.get("judge"))
        key = (judge, better, worse)
        self.copies[key] = self.copies.get(key, 0) + 1
        id = _text(fields.get("id")) or digest(*key, str(self.copies[key]))
        if self.store.knows(id):
            self.added.repeated += 1
            return
        shown = _shown(fields, id)
        left, right = (better, worse) if shown == "left" else (worse, better)
        showing = Showing(judge, "import", "given", self._again(fields.get("again")))
        presentation = self.store.present(left, right, showing, id=digest("import", id))
        self.store.judge(id, presentation.id, _said(fields, row.tag, shown))
        self.added.judgements += 1

    def _prompt(self, text: Text) -> AskedPrompt:
        if text not in self.prompts:
            self.prompts[text] = self.store.add_prompt(text)
        return self.prompts[text]

    def _answer(
        self, prompt: AskedPrompt, text: str, origin: MadeBy, made: Mapping[str, Any]
    ) -> str:
        return self.store.add_answer(prompt.id, text, origin, made=made).id

    def _judge(self, named: object) -> str:
        """The row's judge, as one that only a file vouches for."""
        name = _text(named) or IMPORT
        if name not in self.judges:
            taken = self.store.judges().get(name, "file") != "file"
            self.judges[name] = f"{name} (file)" if taken else name
            self.store.add_judge(self.judges[name], "file")
        return self.judges[name]

    def _again(self, earlier: object) -> str | None:
        """The presentation of the judgement that this one repeats, if the store holds it."""
        id = _text(earlier)
        return self.store.judgement(id).of.id if id and self.store.knows(id) else None


def _couples(row: Pair | Ranking) -> list[Pair]:
    """A pair as it is; of a ranked list every two."""
    if isinstance(row, Pair):
        return [row]
    two = itertools.combinations(row.completions, 2)
    return [Pair(row.prompt, better, worse, row.origin) for better, worse in two]


def _answer(text: Text, row: Row) -> str:
    """A completion as the one text that a person reads.  Raises DataError for several turns."""
    if isinstance(text, str):
        return text
    if len(text) == 1:
        return text[0].content
    what = "is several turns; a page compares one answer with another"
    todo = "Put the earlier turns into the prompt."
    raise DataError([Problem(row.origin.path, row.origin.line, "completion", what, todo)])


def _shown(fields: Mapping[str, Any], id: str) -> Side:
    """Where chosen stood; a file that does not say gets a side by chance, not always the same."""
    given = fields.get("shown")
    if given in ("left", "right"):
        return "left" if given == "left" else "right"
    return "left" if number(id) % 2 else "right"


def _said(fields: Mapping[str, Any], tag: str | None, verdict: Side) -> Said:
    listed = fields.get("tags")
    tags = [str(one) for one in listed] if isinstance(listed, list) else []
    if tag and tag not in tags:
        tags.insert(0, tag)
    seconds = fields.get("seconds")
    timed = isinstance(seconds, int | float) and isfinite(seconds) and seconds > 0
    strength = 2 if fields.get("strength") == 2 else 1
    ms = round(1000 * float(seconds)) if timed else 0  # type: ignore[arg-type]
    return Said(verdict, strength, _text(fields.get("reason")), tuple(tags), ms)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
