"""docs/judging.md from the results: the study's part; what stands above it, and what was written
by hand between the marks, is left as it is."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from palate.stats import Interval
from study import judging_plot
from study.judging_expected import EXPECTED
from study.judging_results import Results
from study.store import Store

START = "## How many judgements do I need?"
HAND = ("<!-- by hand -->", "<!-- end of by hand -->")
TOP = "# Judging\n\n"

ASKED = """
### What was asked, and how

A person judges pairs of a model's own answers; then DPO. How much of the taste has
the model learnt after 25, 50, 100, 200 and 400 judgements, and does it help to let the model choose
which pairs (`palate pick --how active`) instead of drawing them (`--how random`)?

The example of `palate demo`: the SFT model writes four texts for each of 500 fact sheets, anew
for each seed. The demo's taste, a program, judges the pairs that are asked for: one pair of a
prompt; equal points are a tie, which costs a judgement and gives no pair. *Random* judges nested
prefixes of a shuffled order. *Active* is a chain: the first 25 by the entropy of the SFT model
alone, and each next batch as the policy would have it that was trained on all judgements so far.
DPO starts from the same SFT model every time, with the demo's learning rate (8e-4), four epochs and
the batch size that palate derives from so many judgements; the last weights count. Then one text
for each of 200 sheets that nobody judged, at temperature 1, with the same noise for both arms.
Every judgement here trains: the fifth of the places that `palate pick` keeps for held-out pairs
comes on top.
"""
NOTES = """
Points are the demo's: one for a fact stated, two off for a wrong one. Intervals are 95% t intervals
over seeds; *active − random* is paired by seed. A seed draws new prompts, answers, sheets and
order; the SFT model is the same one in all of them. What is compared at 400 is two choices of 400
out of the same 500 prompts, so that the arms must come together there.
"""
COMMAND = """
`make study-judging` (`python scripts/study_judging.py`) runs it again and writes this part; about
nine minutes a seed on one core. A stopped run goes on where it was; `--write-only` only writes."""


def write(store: Store, docs: Path, name: str = "judging") -> None:
    """The page and its picture; the expectations alone before the first seed is complete."""
    path = docs / f"{name}.md"
    old = path.read_text(encoding="utf-8") if path.exists() else TOP
    results = Results(store)
    parts = [START]
    if results.seeds:
        judging_plot.draw(results, docs / f"{name}.svg", _title(results))
        picture = f"![{_title(results)}]({name}.svg)"
        parts += [_answer(results), picture, _hand(old), "\n".join(_table(results)), NOTES.strip()]
    else:
        parts.append("**Not measured yet.**")
    parts += [ASKED.strip(), _expected(results, _declared(store)), COMMAND.strip()]
    text = "\n\n".join([old.partition(START)[0].rstrip(), *parts])
    path.write_text(text + "\n", encoding="utf-8")


def _declared(store: Store) -> str:
    path = store.path.with_name("expected.json")
    if not path.exists():
        return ""
    return f" ({json.loads(path.read_text(encoding='utf-8'))['declared']})"


def _title(results: Results) -> str:
    """What is seen, from the figures."""
    last, half = results.sizes[-1], results.reaches(0.5)
    return (
        f"Half of what {last} judgements give is there after {half};"
        f" active picks {_verdict(results)}"
    )


def _verdict(results: Results) -> str:
    """One comparison over all budgets, so that no lucky one is pointed at."""
    overall = results.gap_overall()
    if overall.low > 0:
        return "are better than random ones"
    if overall.high < 0:
        return "are worse than random ones"
    return "cannot be told from random ones"


def _answer(results: Results) -> str:
    """The answer in words, every figure of it measured."""
    *_, before, last = results.sizes
    part = results.gain("random", before).value / results.gain("random", last).value
    more, overall = results.growth("random", before, last), results.gap_overall()
    says = f"**Half of what {last} judgements give is there after {results.reaches(0.5)},"
    says += f" {part:.0%} of it after {before}.** From {before} to {last} random judgements the"
    says += f" gain grows by {_figure(more)} points."
    if clear := [size for size in results.sizes if results.gain("random", size).low > 0]:
        gain = _figure(results.gain("random", clear[0]))
        says += f" The fewest whose gain is clear of chance over seeds are {clear[0]}: {gain}."
    says += f" **Active picks {_verdict(results)}**: active − random is {_figure(overall)} points,"
    says += f" averaged over {results.sizes[0]} to {before} judgements."
    return textwrap.fill(says, 100, break_on_hyphens=False)


def _hand(old: str) -> str:
    """The answer in words, kept from the page that is there."""
    start, stop = HAND
    inner = old.partition(start)[2].partition(stop)[0].strip() or "**Not written yet.**"
    return f"{start}\n{inner}\n{stop}"


def _expected(results: Results, declared: str) -> str:
    lines = ["### What was expected", "", f"Written down before the first run{declared}.", ""]
    if not results.seeds:
        return "\n".join([*lines, *(f"- {each.says}" for each in EXPECTED)])
    found = results.figures()
    lines += ["| expected | held | measured |", "|---|---|---|"]
    for each in EXPECTED:
        measured = "; ".join(_said(name, found) for name in each.about)
        lines.append(f"| {each.says} | {'yes' if each.holds(found) else '**no**'} | {measured} |")
    return "\n".join(lines)


def _said(name: str, found: Mapping[str, Interval]) -> str:
    """A figure with its name, as a reader knows it."""
    word, _, size = name.partition(" ")
    if word == "tied":
        return f"{size} {found[name].value:.0%} tied"
    title = "active − random" if word == "gap" else word
    return f"{title} at {size}: {_figure(found[name])}"


def _table(results: Results) -> Iterator[str]:
    yield f"Points over SFT a text, and the share of texts better than SFT's; {_seeds(results)}:"
    yield ""
    yield "| judgements | random | active | active − random | wins, random | wins, active | ties |"
    yield "|---|---|---|---|---|---|---|"
    for size in results.sizes:
        gains = [_figure(results.gain(arm, size)) for arm in ("random", "active")]
        wins = [_percent(results.wins(arm, size)) for arm in ("random", "active")]
        tied = " / ".join(f"{results.tied(arm, size).value:.0%}" for arm in ("random", "active"))
        cells = [str(size), *gains, _figure(results.gap(size)), *wins, tied]
        yield f"| {' | '.join(cells)} |"


def _seeds(results: Results) -> str:
    start = sum(results.start(s)["figures"]["points"] for s in results.seeds) / len(results.seeds)
    return f"SFT itself has {start:.2f} points, {len(results.seeds)} seeds, 95% intervals"


def _figure(found: Interval) -> str:
    if found.count < 2:
        return f"{found.value:+.2f}".replace("-", "−")
    return f"{found.value:+.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")


def _percent(found: Interval) -> str:
    return f"{found.value:.0%}" if found.count < 2 else found.percent()
