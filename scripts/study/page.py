"""docs/doctor.md from the results: everything but what stands between the hand-written marks.

What was not measured is said to be missing; no figure stands here that is not in the results.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from palate.stats import Interval
from study import tables
from study.arms import DOSES, DROPPED, HARMFUL, KINDS, SEEDS
from study.predictions import PREDICTIONS, signed
from study.results import Results
from study.store import Store

HAND = ("<!-- by hand -->", "<!-- end of by hand -->")
CORPORA = ("demo", "human ratings", "llamafactory")
MISSING = "**Not measured yet.** "

INTRO = """# What the doctor sees, and whether it matters

`make study-doctor` plants defects into pairs, looks at what the checks name, trains on the damaged
pairs and writes this page. The planters (`scripts/planters.py`) were written without a look at the
checks, and the checks without a look at the planters; what a family does in detail (which marker,
which language, how long) is drawn from the seed. What is planted, what is named and every text is
in the results file; nothing here is typed in by hand but the section that says so.

"""
SEEN = """
*A file warns*: a home check raised a warning or an error that it did not raise on the same file
before planting. The rate is the smallest from which on at least 80% of the files warn, with at most
5% false alarms of the same checks on clean parts. *Rows are named*: the smallest rate from which on
at least 80% of the planted defects have a row named by those warnings, and at most 5% of the sound
rows do (those named before planting aside). *Lift* is precision over the planted share. *Listed*
counts what stands as information too. (t): tautological, the check looks for exactly what is
planted, so a perfect figure says little. Intervals are 95%, seeds resampled.
"""


def page(text: Store, model: Store, runs: Store, out: Path, old: str) -> str:
    """The whole page; `old` is the one that stands there, for its hand-written part."""
    results = Results(runs)
    parts = [
        INTRO.rstrip(),
        *_by_hand(old),
        *_checks(),
        *_text(text),
        *_model(model),
        *_dose(results),
        *_filter(results),
        *_claim(results),
        *_predicted(results, out),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _by_hand(old: str) -> Iterator[str]:
    start, stop = HAND
    kept = re.search(f"(?s){start}.*?{stop}", old)
    yield ""
    yield kept.group() if kept else f"{start}\n## What follows\n\nNot written yet.\n{stop}"


def _checks() -> Iterator[str]:
    """The table of checks, as the code has it."""
    from palate.study.checks.table import CHECKS

    reads = ("the text", "the model's pass", "verdicts, or a run's history")
    yield "\n## The checks\n"
    yield "| check | reads | asks | cannot see |"
    yield "|---|---|---|---|"
    for check in CHECKS:
        yield f"| {check.name} | {reads[check.tier]} | {check.asks} | {check.blind} |"


def _text(store: Store) -> Iterator[str]:
    yield "\n## Defects that text alone may show"
    records = list(store.where(tier="text"))
    if not records:
        yield f"\n{MISSING}`--part text`"
        return
    seeds = len({each["seed"] for each in records})
    versions = {each["version"] for each in records}
    mixed = "; the checks changed in between, so delete text.jsonl and run it again"
    yield SEEN + f"\n{seeds} seeds{mixed if len(versions) > 1 else ''}."
    for corpus in CORPORA:
        if not any(store.where(tier="text", corpus=corpus)):
            yield f"\n{MISSING}{corpus}: not run yet, or not in ../shared/data."
            continue
        total = next(store.where(tier="text", corpus=corpus, family="flip"))["total"]
        yield f"\n### {corpus}: {total} pairs\n"
        yield from tables.seen_table(store, corpus)
    yield "\n### Recall by rate, in the demo's pairs (in brackets: share of the files that warn)\n"
    yield from tables.by_rate(store, "demo")
    yield "\n![recall by rate](doctor-seen.svg)"
    yield "\n### What was drawn: rare markers at 2%, the demo's pairs\n"
    yield from tables.by_drawn(store, "demo", "shortcut_rare", 0.02)
    yield "\n### False alarms: clean pairs\n"
    yield "Every text check on four fifths of the rows, drawn without replacement: a bootstrap"
    yield "would hold copies, which are a defect. What is said of real pairs may well be true.\n"
    yield from tables.false_alarms(store)
    yield "\n### Misses, at 5% in the demo's pairs\n"
    yield from tables.missed(store, "demo")


def _model(store: Store) -> Iterator[str]:
    yield "\n## Defects that need the model"
    if not any(store.where(tier="model")):
        yield f"\n{MISSING}`--part model`"
        return
    seeds = len({each["seed"] for each in store.where(tier="model")})
    yield f"\nThe demo's pairs under the demo's SFT model, {seeds} seeds.\n"
    yield from tables.seen_table(store, "demo", "model")
    yield "\nRecall by rate (in brackets: share of the files that warn):\n"
    yield from tables.by_rate(store, "demo", "model")
    loud = next(iter(store.where(tier="model clean")), {"loud": []})["loud"]
    said = "; ".join(f"{each['check']}: {each['message']}" for each in loud)
    yield f"\nOn the clean pairs, every check, the model's too: {said or 'no warning'}"
    yield "\nMisses at 5%:\n"
    yield from tables.missed(store, "demo", "model")


# ------------------------------------------------------------------ the training runs

RUNS = """
Every run is DPO from the demo's SFT model on {pairs} pairs, {steps} steps at the demo's learning
rate, judged by the demo's taste on 100 unseen sheets, two texts drawn for each and one greedy. The
last weights are judged, not the best on held-out pairs, so that nothing mends the damage. Arms of a
seed share pairs, order, sheets and noise; differences are paired by seed, with 95% t intervals over
seeds. Five seeds see a large effect and no small one.
"""


CLAIM = """
The same prompts, the same chosen answers, another kind of rejected answer. A near miss is the
demo's own: a worse text of the same model. Vague is a text with two vague phrases that leaves out
most facts; a cartoon is spam, capitals, nonsense; unrelated is another prompt's chosen answer. What
this cannot tell apart: near misses are also the model's own texts, the others are not, and one
learning rate is the same for all.
"""


def _dose(results: Results) -> Iterator[str]:
    yield "\n## What a defect does: the dose and the taste after DPO"
    clean = results.of("clean")
    if not clean:
        yield f"\n{MISSING}`--part dose`"
        return
    one = next(iter(clean.values()))
    yield RUNS.format(pairs=one["pairs"], steps=one["steps"])
    level, gain = results.level("clean"), results.gap("clean", "sft")
    if level and gain:
        greedy = results.gap("clean", "sft", how="greedy")
        yield (
            f"Clean pairs: {level.value:.2f} points a drawn text, {signed(gain)} over SFT; greedy "
            f"{signed(greedy) if greedy else ''}.\n"
        )
    head = ("defect", "rate", "seeds", "points drawn, against clean", "wins against clean")
    head = (*head, "greedy", "facts stated", "wrong", "vague and hype", "words", "marked texts")
    arms = [(f"dose/{f}/{r:g}", f, f"{r:.0%}") for f in HARMFUL for r in sorted(DOSES)]
    arms.append(("dose/mixed/0.05", "five of them", "5% each"))
    there = [each for each in arms if results.gap(each[0], "clean")]
    if there:
        yield f"| {' | '.join(head)} |"
        yield "|---" * len(head) + "|"
    for arm in there:
        yield _arm_line(results, *arm)
    missing = ", ".join(f"{name} {rate}" for _, name, rate in arms if (_, name, rate) not in there)
    if missing:
        yield f"\n{MISSING}{missing}.".replace("_", " ")
    if there:
        yield "\n![points against the rate](doctor-dose.svg)"


def _arm_line(results: Results, arm: str, name: str, rate: str) -> str:
    count = len(results.of(arm))
    gap, wins = results.gap(arm, "clean"), results.wins(arm, "clean")
    assert gap is not None and wins is not None
    greedy = results.gap(arm, "clean", how="greedy")
    phrases = [results.gap(arm, "clean", each) for each in ("vague phrases", "hype phrases")]
    cells = [name.replace("_", " "), rate, f"{count}", signed(gap), wins.percent()]
    cells += [_signed(greedy), _signed(results.gap(arm, "clean", "facts stated"))]
    cells += [_signed(results.gap(arm, "clean", "wrong or invented"))]
    cells += [_plus(sum(each.value for each in phrases if each is not None))]
    cells += [_signed(results.gap(arm, "clean", "words"))]
    marked = results.marked(arm)
    cells += [f"{marked.value:.1%}" if marked else ""]
    short = f"{rate}" if count >= SEEDS else f"{rate} (unfinished)"
    cells[1] = short
    return f"| {' | '.join(cells)} |"


def _signed(found: Interval | None) -> str:
    return "" if found is None else signed(found)


def _plus(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")


def _filter(results: Results) -> Iterator[str]:
    yield "\n## Does it help to drop what the doctor names?"
    arms = [f"{family}/0.2" for family in DROPPED]
    arms = [each for each in ["mixed/0.05", *arms] if results.of(f"filtered/{each}")]
    if not arms:
        yield f"\n{MISSING}`--part drop`"
        return
    yield (
        "\nRows named in warnings and errors, by text and model, are dropped; a finding that\n"
        "names more than a quarter of the file is about the file, and drops nothing. Against it:\n"
        "as many rows dropped at random. The number of steps is the same.\n"
    )
    yield "| pairs | seeds | dropped | filtered − all | filtered − random | greedy | verdict |"
    yield "|---|---|---|---|---|---|---|"
    for each in arms:
        filtered, other = f"filtered/{each}", f"random/{each}"
        gap = results.gap(filtered, other)
        names = [each, f"{len(results.of(filtered))}"]
        before = max(r["pairs"] for r in results.of(f"dose/{each}").values())
        names += [", ".join(str(before - r["pairs"]) for r in results.of(filtered).values())]
        if gap is None:
            yield f"| {' | '.join(names)} |" + " not run |" * 4
            continue
        cells = [_signed(results.gap(filtered, f"dose/{each}")), signed(gap)]
        cells += [_signed(results.gap(filtered, other, how="greedy"))]
        better = "better" if gap.low > 0 else "worse" if gap.high < 0 else "no difference shown"
        yield f"| {' | '.join([*names, *cells, better])} |"
    yield "\nA line that is missing had no row named, so there was nothing to drop."


def _claim(results: Results) -> Iterator[str]:
    yield "\n## The claim: between fine and better, not between great and garbage"
    if not any(results.of(f"claim/{kind}") for kind in KINDS):
        yield f"\n{MISSING}`--part claim`"
        return
    yield CLAIM
    head = ("rejected is", "seeds", "points drawn", "gain over SFT", "against near misses")
    head = (*head, "wins against near misses", "greedy, over SFT", "vague", "words")
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for name, arm in (("a near miss", "clean"), *((kind, f"claim/{kind}") for kind in KINDS)):
        name = name if len(results.of(arm)) >= SEEDS else f"{name} (unfinished)"
        level, gain = results.level(arm), results.gap(arm, "sft")
        if level is None or gain is None:
            yield f"| {name} | {len(results.of(arm))} |" + " not run |" * 7
            continue
        wins = results.wins(arm, "clean") if arm != "clean" else None
        cells = [name, f"{level.count}", f"{level.value:.2f}", signed(gain)]
        cells += [
            _signed(results.gap(arm, "clean")) if wins else "",
            wins.percent() if wins else "",
        ]
        cells += [_signed(results.gap(arm, "sft", how="greedy"))]
        vague, words = results.level(arm, "vague phrases"), results.level(arm, "words")
        cells += [f"{each.value:.2f}" if each else "" for each in (vague, words)]
        yield f"| {' | '.join(cells)} |"
    yield "\n![gain by the kind of rejected answer](doctor-claim.svg)"


def _predicted(results: Results, out: Path) -> Iterator[str]:
    yield "\n## What was expected"
    said = out / "predictions.json"
    when = json.loads(said.read_text(encoding="utf-8")) if said.exists() else {"says": []}
    yield (
        f"\nWritten down before the first run ({when.get('declared', 'not yet')}); only the first\n"
        "sentence had been seen to hold, on one seed, while the size of a run was chosen.\n"
    )
    yield "| expected | measured | |"
    yield "|---|---|---|"
    whole = Results(results.store, least=SEEDS)
    for each in PREDICTIONS:
        told = each.holds(whole)
        late = "" if each.says in when["says"] else " (written later)"
        if told is None:
            yield f"| {each.says}{late} | | not finished |"
        else:
            yield f"| {each.says}{late} | {told[1]} | {'held' if told[0] else '**did not hold**'} |"
