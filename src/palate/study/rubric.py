"""A rubric drafted from verdicts: small checks in TOML, each with its evidence, to be edited.

Only what the verdicts show is a rule; what was only said is a question for a judge.  The kinds are
few and plain on purpose: whoever reads the file should see what each check does.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from palate.data.judged import Judgement
from palate.study.beside import Beside, in_words
from palate.study.checks.words import percent, plural, words
from palate.study.taste import Taste, own_words

Kind = Literal["contains", "not_contains", "regex", "numbers_in_prompt", "at_most_words", "judge"]
FEWEST: Final = 3  # times that a tag was given
WORDS: Final = 5  # words of the rejected side, at most
LEVEL: Final = 0.05
QUOTED: Final = 2

KINDS: Final[dict[Kind, str]] = {
    "contains": "the answer holds the text `value`, in any case",
    "not_contains": "the answer does not hold the text `value`, in any case",
    "regex": "the pattern `value` is found in the answer",
    "numbers_in_prompt": "every number of the answer stands in its prompt (`value` is true)",
    "at_most_words": "the answer has `value` words at most",
    "judge": "a judge answers the question `value` with yes",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One table of the file; `evidence` goes above it as a comment."""

    name: str
    kind: Kind
    value: str | int | bool
    why: str
    evidence: str


def rubric(found: Taste) -> list[Check]:
    """The checks that these verdicts suggest, those that a program can decide first."""
    by_name = {each.figure.name: each for each in found.beside}
    drafted = [
        *_length(found, by_name["length"]),
        *_numbers(found, by_name["inventions"]),
        *_exclamations(found, by_name["exclamation marks"]),
        *_words(found.pairs),
        *_questions(found),
    ]
    return _named_once(drafted)


def _length(found: Taste, length: Beside) -> Iterator[Check]:
    """If the shorter answer wins: as many words as nine of ten chosen answers have."""
    if length.outcome != "less":
        return
    counts = sorted(len(words(each.chosen.text)) for each in found.pairs if each.chosen)
    most = counts[min(len(counts) - 1, int(0.9 * len(counts)))]
    said = in_words(length, found.who)
    why = "The shorter answer was chosen; nine of ten chosen answers have no more words."
    yield Check("shorter", "at_most_words", most, why, said)


def _numbers(found: Taste, inventions: Beside) -> Iterator[Check]:
    if inventions.outcome == "less":
        why = "What the prompt does not hold was rejected."
        yield Check(
            "grounded-numbers", "numbers_in_prompt", True, why, in_words(inventions, found.who)
        )


def _exclamations(found: Taste, exclamations: Beside) -> Iterator[Check]:
    """If fewer win, and hardly a chosen answer has one."""
    chosen = [each.chosen.text for each in found.pairs if each.chosen]
    held = sum("!" in text for text in chosen)
    if exclamations.outcome == "less" and 20 * held <= len(chosen):
        why = "Answers with exclamation marks were rejected."
        said = in_words(exclamations, found.who)
        yield Check("no-exclamation", "not_contains", "!", why, said)


def _words(pairs: Sequence[Judgement]) -> Iterator[Check]:
    """Words that rejected answers alone hold, more often than any of all words tried by luck."""
    only: Counter[str] = Counter()
    other: Counter[str] = Counter()
    for each in pairs:
        assert each.chosen is not None and each.rejected is not None
        asked = set(words(each.of.prompt.text))
        better, worse = set(words(each.chosen.text)), set(words(each.rejected.text))
        only.update(worse - better - asked)
        other.update(better - worse - asked)
    tried = {word for word, count in (only + other).items() if count >= FEWEST}
    fired = [
        word
        for word in tried
        if len(word) > 2 and _luck(only[word], only[word] + other[word]) <= LEVEL / len(tried)
    ]
    fired.sort(key=lambda word: (other[word] - only[word], word))
    for word in fired[:WORDS]:
        total = only[word] + other[word]
        count = f"{only[word]} of {plural(total, 'pair')}"
        said = f"Of the two answers only the rejected one had “{word}” in {count} that tell."
        yield Check(f"no-{word}", "not_contains", word, "Answers with it were rejected.", said)


def _luck(hits: int, count: int) -> float:
    """Chance of as many hits or more by a fair coin."""
    from scipy.stats import binom

    return float(binom.sf(hits - 1, count, 0.5))


def _questions(found: Taste) -> Iterator[Check]:
    """Every tag that was given often enough, as a question."""
    pairs = found.pairs
    for reason in found.reasons:
        if reason.count < FEWEST:
            continue
        told = [own_words(each) for each in pairs if reason.tag in each.tags and own_words(each)]
        quoted = "; ".join(f"“{text}”" for text in dict.fromkeys(told[:QUOTED]))
        why = f"In the judge's words: {quoted}" if quoted else f"The reason given: {reason.tag}."
        share = percent(reason.count / max(1, found.tally.judgements))
        said = f"Given {reason.count} times ({share} of verdicts)."
        yield Check(reason.tag, "judge", _question(reason.tag), why, said)


def _question(tag: str) -> str:
    """The usual tags as what they mean; of any other it is not known which side it names."""
    usual = f"“{tag}” was the reason of a verdict: is the answer on the better side of it?"
    return QUESTIONS.get(tag.casefold(), usual)


QUESTIONS: Final = {
    "grounded": "Does the answer say only what the prompt holds, as surely as the prompt holds it?",
    "specific": "Does the answer give the particulars of the prompt instead of general words?",
    "calibrated": "Is the answer as sure as it can be from the prompt, and no surer?",
    "no-hype": "Is the answer free of boasts and sales talk?",
    "on-brief": "Does the answer do what the prompt asks, and nothing else?",
    "shorter": "Is every sentence of the answer needed?",
    "tone": "Is the tone of the answer right for its reader?",
    "correct": "Is everything that the answer states correct?",
}


def _named_once(drafted: Sequence[Check]) -> list[Check]:
    """Names of letters, digits and dashes, none twice."""
    taken: Counter[str] = Counter()
    named = []
    for each in drafted:
        name = re.sub(r"[^\w-]+", "-", each.name.casefold()).strip("-") or "check"
        taken[name] += 1
        name = name if taken[name] == 1 else f"{name}-{taken[name]}"
        named.append(Check(name, each.kind, each.value, each.why, each.evidence))
    return named


# -- the file


def as_toml(found: Taste) -> str:
    """The draft as a file: what the kinds mean, then the checks with their evidence."""
    checks = rubric(found)
    lines = [
        _comment(f"A rubric drafted from {plural(len(found.pairs), 'verdict')} of {found.judge}."),
        "# Read it, mend it, throw out what is not meant: it was counted, not understood.",
        "# An answer passes a check or fails it. The kinds:",
        *(f"#   {kind.ljust(18)} {means}" for kind, means in KINDS.items()),
    ]
    if not checks:
        lines.append(_comment("The verdicts so far suggest no check."))
    for check in checks:
        lines += ["", _comment(check.evidence), "[[check]]"]
        told = {"name": check.name, "kind": check.kind, "value": check.value, "why": check.why}
        lines += [f"{name} = {_value(value)}" for name, value in told.items()]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """On one line, without what TOML does not allow in a comment."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text)
    return f"# {' '.join(kept.split())}"


def _value(value: Any) -> str:
    """A TOML value; a basic string escapes as JSON does, and DEL besides."""
    if isinstance(value, str):
        clean = value.encode("utf-8", "replace").decode()
        return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
