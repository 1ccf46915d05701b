"""Pairs or examples that are there twice, word for word or nearly, and prompts that own the file.

Comparisons of one prompt that are spread over the file are overfitted (Ouyang et al., arXiv
2203.02155, section 3.5), and a row that is there twice counts twice.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from palate.stats import share
from palate.study.checks import near, repeats
from palate.study.checks.base import OURS, Case, Check, Finding
from palate.study.checks.words import normalised, percent

NAME: Final = "duplicates"
FEWEST_PROMPTS: Final = 5
WARN_REPEATED, WARN_PROMPT = 0.02, 0.05
INSTRUCT: Final = "our default; the risk: arXiv 2203.02155, section 3.5"
REPEATED: Final = f"warning over {WARN_REPEATED:.0%}"
OWNED: Final = f"warning if one prompt surely has over {WARN_PROMPT:.0%}"


def run(case: Case) -> Iterable[Finding]:
    """What is there twice, then the prompts with most rows, else one ok."""
    rows = case.pairs or case.examples
    if not rows:
        return
    lines = [row.line for row in rows]
    found = [
        *_repeated(lines, repeated(case), "pairs" if case.pairs else "examples"),
        *_same_chosen(case),
        *_same_answer(case),
        *_owned(lines, [normalised(row.prompt) for row in rows], pairs=bool(case.pairs)),
    ]
    yield from found or [_fine(len(rows))]


def repeated(case: Case) -> list[list[int]]:
    """Groups of places that hold the same pair (or example), exactly or nearly."""
    if not case.pairs:
        return _examples(case)
    first: dict[tuple[str, str, str], int] = {}
    edges = []
    for place, pair in enumerate(case.pairs):
        key = (normalised(pair.prompt), normalised(pair.chosen), normalised(pair.rejected))
        edges.append((first.setdefault(key, place), place))
    for left, right in repeats.similar(case):
        one, two = case.pairs[left], case.pairs[right]
        record = (one.prompt, one.chosen, one.rejected)
        if repeats.same(record, (two.prompt, two.chosen, two.rejected)):
            edges.append((left, right))
    return near.groups(len(case.pairs), edges)


def _examples(case: Case) -> list[list[int]]:
    first: dict[tuple[str, str], int] = {}
    edges = []
    for place, row in enumerate(case.examples):
        key = (normalised(row.prompt), normalised(row.completion))
        edges.append((first.setdefault(key, place), place))
    kept = list(first.values())
    records = [(case.examples[place].prompt, case.examples[place].completion) for place in kept]
    for left, right in near.record_candidates(records):
        if repeats.same(records[left], records[right]):
            edges.append((kept[left], kept[right]))
    return near.groups(len(case.examples), edges)


def _repeated(
    lines: Sequence[int], groups: Sequence[Sequence[int]], what: str
) -> Iterable[Finding]:
    spare = sum(len(group) - 1 for group in groups)
    if not spare:
        return
    ordered = sorted(groups, key=lambda group: -len(group))
    rate = share(spare, len(lines))
    one, two = (lines[place] for place in ordered[0][:2])
    yield Finding(
        NAME,
        "warning" if rate.value > WARN_REPEATED else "info",
        f"{spare} of {len(lines)} {what} ({percent(rate.value)}) repeat another one word for word "
        f"or nearly, first lines {one} and {two}: they count twice.",
        rate.value,
        rate,
        REPEATED,
        INSTRUCT,
        tuple(lines[place] for group in ordered for place in group),
        "Keep one of each group.",
        "repeated",
    )


def _same_chosen(case: Case) -> Iterable[Finding]:
    """The same prompt and chosen answer against several rejected ones: shown, and no fault."""
    groups: dict[tuple[str, str], list[int]] = {}
    for pair in case.pairs:
        key = (normalised(pair.prompt), normalised(pair.chosen))
        groups.setdefault(key, []).append(pair.line)
    several = sorted((each for each in groups.values() if len(each) > 1), key=len, reverse=True)
    spare = sum(len(each) - 1 for each in several)
    rate = share(spare, max(len(case.pairs), 1))
    if rate.value > WARN_REPEATED:
        yield Finding(
            NAME,
            "info",
            f"{len(several)} chosen answers stand in more than one pair of their prompt "
            f"({percent(rate.value)} of pairs repeat one).",
            rate.value,
            rate,
            f"shown over {WARN_REPEATED:.0%}",
            OURS,
            tuple(line for each in several for line in each),
            "Keep them together, in train or held out (palate does), or take one per prompt.",
            "same chosen",
        )


def _same_answer(case: Case) -> Iterable[Finding]:
    """One answer, word for word, under many prompts: it cannot be about any of them."""
    for side in ("rejected", "chosen"):
        lines: dict[str, dict[str, int]] = {}
        for pair in case.pairs:
            under = lines.setdefault(normalised(getattr(pair, side)), {})
            under.setdefault(normalised(pair.prompt), pair.line)
        least = max(FEWEST_PROMPTS, WARN_REPEATED * len(case.pairs))
        many = sorted((each for each in lines.values() if len(each) >= least), key=len)[::-1]
        if not many:
            continue
        rows = tuple(line for each in many for line in each.values())
        rate = share(len(rows), len(case.pairs))
        answers = "answer stands" if len(many) == 1 else "answers stand"
        yield Finding(
            NAME,
            "warning",
            f"{len(many)} {side} {answers} word for word under many prompts, one of them under "
            f"{len(many[0])} (first line {rows[0]}): what is learnt there has no prompt in it.",
            rate.value,
            rate,
            f"warning if one stands under {WARN_REPEATED:.0%} of the pairs and at least "
            f"{FEWEST_PROMPTS} prompts",
            OURS,
            rows,
            "Write an answer to each prompt.",
            f"same {side} everywhere",
        )


def _owned(lines: Sequence[int], prompts: Sequence[str], *, pairs: bool) -> Iterable[Finding]:
    """The fewest prompts that hold half the rows, if one of them alone surely has over 5%."""
    counts = Counter(prompt for prompt in prompts if prompt).most_common()
    if (len(counts) < 2 and len(lines) < 2) or not counts:
        return
    top = share(counts[0][1], len(lines))
    if top.low <= WARN_PROMPT:
        return
    large = [(prompt, count) for prompt, count in counts if count > WARN_PROMPT * len(lines)]
    owners = {prompt: rank for rank, (prompt, _) in enumerate(large)}
    held = sorted(
        (owners[prompt], line)
        for prompt, line in zip(prompts, lines, strict=True)
        if prompt in owners
    )
    many = "prompt accounts" if len(large) == 1 else "prompts account"
    yield Finding(
        NAME,
        "warning" if pairs else "info",
        f"{len(large)} {many} for {percent(len(held) / len(lines))} of your rows, one alone for "
        f"{percent(top.value)}: that teaches these prompts, not a taste.",
        top.value,
        top,
        OWNED,
        INSTRUCT,
        tuple(line for _, line in held),
        "Judge other prompts before more answers to these.",
        "owners",
    )


def _fine(count: int) -> Finding:
    message = f"None of the {count} rows repeats another, and no prompt has more than its share."
    return Finding(NAME, "ok", message, 0.0, share(0, count), REPEATED, INSTRUCT)


CHECK = Check(
    NAME,
    0,
    "Are rows there twice, or a few prompts most of the file?",
    "the same thing said in other words: more than 15% of the words changed",
    run,
)
