"""A rubric at work: which of a user's checks an answer passes, and how often a model's answers do.

The kinds are those of `study/rubric`.  A judge's checks need a judge; without one they are left out
and that is said.  A rubric that a model was trained on measures nothing any more: `trained_on` is
the warning.
"""

import hashlib
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from palate.data.rewards import Answered
from palate.data.rows import Text
from palate.errors import DataError, PalateError, UsageError
from palate.stats import rate, verdict
from palate.study.bounded import LIMIT, TooSlowError, found
from palate.study.checklist_file import compiled, read
from palate.study.checks.facts import facts, ground
from palate.study.checks.words import listed, plural, words
from palate.study.drawn import Drawn
from palate.study.evaluated import Passed
from palate.study.matched import change
from palate.study.rubric import Check
from palate.study.sampling_endpoint import side_by_side
from palate.train.events import Listener, Note, Working, silent

Judge = Callable[[str, Text, str], bool | None]  # question, prompt, answer -> yes, no, unreadable
AT_ONCE: Final = 8  # questions to a judge under way
_VERSION: Final = "rubric 1"  # of what the kinds mean


@dataclass(frozen=True, slots=True)
class Checklist:
    """The checks of a file.  `name` is the file's own, `source` its path."""

    name: str
    source: str
    checks: tuple[Check, ...]
    _patterns: Mapping[str, re.Pattern[str]] = field(repr=False, compare=False)

    @property
    def identity(self) -> str:
        """sha256 of what is checked: names, reasons, order and comments do not count."""
        told = json.dumps([_VERSION, *sorted(map(list, _rules(self)), key=str)])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def judged(self) -> tuple[Check, ...]:
        """Those that only a judge can decide."""
        return tuple(each for each in self.checks if each.kind == "judge")

    @property
    def programs(self) -> tuple[Check, ...]:
        """Those that need no judge."""
        return tuple(each for each in self.checks if each.kind != "judge")

    def passed(self, prompt: Text, answer: str, judge: Judge | None = None) -> dict[str, bool]:
        """Name -> passed.  Without a judge, or where its answer was no yes or no, none for it.

        Raises DataError for a pattern that does not come to an end.
        """
        told = {each.name: self._holds(each, prompt, answer) for each in self.programs}
        for check in self.judged if judge else ():
            assert judge is not None
            said = judge(str(check.value), prompt, answer)
            if said is not None:
                told[check.name] = said
        return {each.name: told[each.name] for each in self.checks if each.name in told}

    def _holds(self, check: Check, prompt: Text, answer: str) -> bool:
        match check.kind:
            case "contains":
                return _flat(str(check.value)) in f" {_flat(answer).strip()} "
            case "not_contains":
                return _flat(str(check.value)) not in f" {_flat(answer).strip()} "
            case "at_most_words":
                return len(words(answer)) <= int(check.value)
            case "numbers_in_prompt":
                known = ground(as_string(prompt))
                return all(known.holds_number(*each) for each in facts(answer).numbers)
            case "regex":
                return self._finds(check, answer)
        raise AssertionError(check.kind)

    def _finds(self, check: Check, answer: str) -> bool:
        try:
            return found(self._patterns[check.name], answer)
        except TooSlowError:
            start = " ".join(answer.split())[:60]
            raise DataError(
                f"{self.source}: the pattern of check '{check.name}' takes more than {LIMIT:g} s "
                f"of computing on one answer ({start!r} ...).",
                hint="A repeat inside a repeat, as in (a+)+, tries every way to divide a text; "
                "write it without.",
            ) from None


def load(path: Path) -> Checklist:
    """Read and check a rubric.  Raises DataError with every problem found."""
    checks = read(path)
    patterns = {each.name: compiled(str(each.value)) for each in checks if each.kind == "regex"}
    return Checklist(path.name, str(path), checks, patterns)


def as_string(prompt: Text) -> str:
    """A prompt as one text: of a conversation all its turns."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(message.content for message in prompt)


def _flat(text: str) -> str:
    """As texts are compared: NFC, case folded, white space single but kept at the ends."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).casefold())


# ---------------------------------------------------------------------- of models


def measure(
    checklist: Checklist,
    drawn: Sequence[Drawn],
    *,
    baseline: str | None = None,
    judge: Judge | None = None,
    listen: Listener = silent,
) -> tuple[Passed, ...]:
    """Rate of every check for every model, in file order; the change is against `baseline`.

    Raises DataError, and what the judge raises.
    """
    if checklist.judged and judge is None:
        which = ", ".join(f"'{each.name}'" for each in checklist.judged)
        count = plural(len(checklist.judged), "check")
        listen(Note(f"{checklist.name}: {count} left out for want of a judge: {which}"))
    told = {each.model: _verdicts(checklist, each, judge, listen) for each in drawn}
    against = told.get(baseline or "", {})
    return tuple(
        _passed(check, model, verdicts[check.name], against.get(check.name, {}), model == baseline)
        for check in checklist.checks
        for model, verdicts in told.items()
        if check.name in verdicts
    )


Verdicts = Mapping[str, Mapping[Text, Sequence[bool]]]  # check -> prompt -> of each text


def _passed(
    check: Check,
    model: str,
    ours: Mapping[Text, Sequence[bool]],
    theirs: Mapping[Text, Sequence[bool]],
    is_baseline: bool,
) -> Passed:
    flat = [(float(each), prompt) for prompt, texts in ours.items() for each in texts]
    moved = None if is_baseline else change(ours, theirs)
    return Passed(
        check=check.name,
        why=check.why,
        model=model,
        rate=rate([value for value, _ in flat], [prompt for _, prompt in flat]),
        change=moved,
        verdict=None if moved is None else verdict(moved, null=0.0),
    )


def _verdicts(
    checklist: Checklist, drawn: Drawn, judge: Judge | None, listen: Listener
) -> Verdicts:
    """Programs read every text; a judge the first of each prompt."""
    found: defaultdict[str, dict[Text, list[bool]]] = defaultdict(dict)
    for prompt, texts in zip(drawn.prompts, drawn.texts, strict=True):
        for text in texts:
            for name, value in checklist.passed(prompt, text).items():
                found[name].setdefault(prompt, []).append(value)
    for check in checklist.judged if judge is not None else ():
        assert judge is not None
        said = _asked(check, drawn, judge, listen)
        told = {p: [yes] for p, yes in zip(drawn.prompts, said, strict=True) if yes is not None}
        if told:
            found[check.name] = told
    return found


def _asked(check: Check, drawn: Drawn, judge: Judge, listen: Listener) -> list[bool | None]:
    """One check's question on the first text of each prompt, several under way at a time."""
    count = _Counted(listen, f"asking '{check.name}' of {drawn.model}", len(drawn.prompts))

    def ask(each: tuple[Text, str]) -> bool | None:
        said = judge(str(check.value), *each)
        count()
        return said

    return side_by_side(ask, list(zip(drawn.prompts, drawn.firsts, strict=True)), AT_ONCE)


@dataclass(slots=True)
class _Counted:
    """Tells how many are done."""

    listen: Listener
    what: str
    total: int
    done: int = 0

    def __call__(self) -> None:
        self.done += 1
        self.listen(Working(self.what, self.done, self.total))


# ---------------------------------------------------------------------- as a reward


@dataclass(frozen=True, slots=True)
class RubricReward:
    """The share of a rubric's checks that an answer passes, 0 to 1.

    A judge's checks are no part of it: a model's yes need not be the same twice.  Raises UsageError
    if none is left.
    """

    checklist: Checklist
    kind: Literal["program", "model"] = "program"
    models: int = 0

    def __post_init__(self) -> None:
        if not self.checklist.programs:
            raise UsageError(
                f"{self.checklist.source} holds only checks for a judge, and a rubric that pays "
                "is a program.",
                hint=f"Add one of another kind, such as at_most_words to {self.checklist.name}.",
            )

    @property
    def name(self) -> str:
        return self.checklist.name

    @property
    def identity(self) -> str:
        return self.checklist.identity

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the checks that do not count, to be told."""
        return tuple(each.name for each in self.checklist.judged)

    def score(self, answered: Sequence[Answered]) -> list[float]:
        """One share per answer.  Raises DataError for a pattern without an end."""
        told = (self.checklist.passed(each.prompt, each.answer) for each in answered)
        return [sum(each.values()) / len(each) for each in told]


def trained_on(checklist: Checklist, record: Mapping[str, Any]) -> str | None:
    """A warning if the run of that record was paid by the rubric that it is evaluated with.

    Of another rubric whose file is still what it was, the checks that both hold are named.
    Goodhart's law: a measure that becomes a target is no good measure.
    """
    paid_by = (record.get("reward") or {}).get("identity")
    why = "A model that was paid for passing learns to pass: keep a rubric that only evaluates."
    if paid_by is None:
        return None
    if checklist.identity == paid_by:
        return f"{checklist.name} is what this run was trained on, so it proves nothing here. {why}"
    source = Path(str(record.get("config", {}).get("reward", "")))
    try:
        paid = load(source) if source.suffix.lower() == ".toml" else None
    except PalateError:  # gone, or no rubric any more: nothing is known
        return None
    if paid is None or paid.identity != paid_by:
        return None
    rules = _rules(paid)
    same = [f"'{each.name}'" for each in checklist.checks if _rule(each) in rules]
    if not same:
        return None
    told = f"this run was trained on its {listed(same)}, so they prove nothing here"
    return f"{checklist.name}: {told}. {why}"


def _rules(checklist: Checklist) -> set[tuple[str, str]]:
    return {_rule(each) for each in checklist.checks}


def _rule(check: Check) -> tuple[str, str]:
    return check.kind, json.dumps(check.value)
