"""docs/dpo-or-rlhf.md from the results; what was written by hand is left as it is."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from palate.stats import Interval
from study import frontier_plot
from study.frontier import REWARD, Scale
from study.frontier_expected import EXPECTED
from study.frontier_results import DPO, Results, bound, mean, rates_of
from study.frontier_text import (
    ASKED,
    COMMAND,
    COST_NOTE,
    GRID_NOTE,
    NOTES,
    PAPER,
    TITLE,
)
from study.store import Store

HAND = ("<!-- by hand -->", "<!-- end of by hand -->")
NAMES = {
    "base": "the base model",
    "sft": "**SFT**, where the others start",
    "sft x2": "SFT on 2 times the examples",
    "sft x4": "SFT on 4 times the examples",
    "prompted 1": "the base, 1 example in the context",
    "prompted 3": "the base, 3 examples in the context",
    "prompted 5": "the base, 5 examples in the context",
    "preferred-ft": "SFT on chosen (Preferred-FT)",
    "unlikelihood": "unlikelihood",
    **{name: name.replace("dpo", "DPO, beta") for name in DPO},
    "base to dpo": "base → DPO, beta 0.1, without SFT",
    "jointly": "base → DPO + SFT on chosen, jointly",
    "longer": "DPO, beta 0.1, judge likes length",
    "random labels": "DPO, beta 0.1, random labels",
    "ppo": "PPO, true reward",
    "ppo learnt": "PPO, learnt reward model",
    "rloo": "RLOO, true reward",
}
PAID = {
    "ppo": "PPO paid by the true reward",
    "ppo learnt": "PPO paid by a reward model learnt from the same pairs",
    "rloo": "RLOO paid by the true reward",
}
COSTED = ("sft", "preferred-ft", "dpo 0.1", REWARD, "ppo learnt", "ppo", "rloo")


def write(store: Store, docs: Path, name: str = "dpo-or-rlhf") -> None:
    """The page and its picture; the expectations alone before anything is measured."""
    path = docs / f"{name}.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    results = Results(store)
    parts = [TITLE]
    if results.seeds:
        title = _title(results)
        frontier_plot.draw(results, docs / "frontier.svg", title)
        parts += [f"![{title}](frontier.svg)", _answer(results), _hand(old), *_tables(results)]
    else:
        parts.append("**Not measured yet.**")
    parts += [_expected(results), PAPER, ASKED, _sizes(store), COMMAND]
    path.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def _tables(results: Results) -> Iterator[str]:
    yield "## What each came to"
    yield "\n".join(_main(results))
    yield _reward_model(results) + NOTES.strip()
    yield "## What to try before any of this"
    yield _first(results)
    yield "## How finicky is it?"
    yield "\n".join(_grids(results))
    yield GRID_NOTE
    yield "## What it takes"
    yield "\n".join(_costs(results))
    yield COST_NOTE


def _title(results: Results) -> str:
    """What is seen, from the figures."""
    best = results.best_dpo()
    if best is None:
        return "Reward against KL, as far as it is measured"
    says = f"DPO gains {_short(results.gain(best))} points over SFT"
    for arm, name in (("ppo", "PPO with the true reward"), ("ppo learnt", "with a learnt one")):
        if gain := results.gain(arm):
            says += f", {name} {_short(gain)}"
    if gain := results.best_of(16):
        says += f", best of 16 {_short(gain)}"
    return says


def _short(found: Interval | None) -> str:
    assert found is not None
    return f"{found.value:+.1f}".replace("-", "−")


def _answer(results: Results) -> str:
    """The answer in words, every figure of it measured."""
    best = results.best_dpo()
    if best is None:
        return "**Not every arm is measured yet.**"
    says = f"**DPO at its best beta ({best[4:]}) gains {_figure(results.gain(best))} points over"
    says += f" SFT**, best of 16 draws of the SFT model {_figure(results.best_of(16))}."
    for arm, name in PAID.items():
        gain, gap = results.gain(arm), results.gap(arm, best)
        if gain is not None and gap is not None:
            says += f" {name} gains {_figure(gain)}: {_against(gap)}."
    beaten, of = results.beaten("ppo learnt", DPO)
    if of:
        says += f" Of the {of} points of PPO with the learnt reward a point of DPO beats {beaten}"
        says += " on both axes"
        beaten, of = results.beaten("ppo", DPO)
        says += f", of the {of} with the true reward {beaten}." if of else "."
    return textwrap.fill(says, 100, break_on_hyphens=False)


def _against(gap: Interval) -> str:
    """A gap to DPO in words."""
    if gap.count > 1 and gap.low > 0:
        return f"more than DPO, by {_figure(gap)}"
    if gap.count > 1 and gap.high < 0:
        return f"less than DPO, by {_figure(gap)}"
    return f"indistinguishable from DPO at this size, {_figure(gap)}"


def _hand(old: str) -> str:
    """What was written by hand, kept from the page that is there."""
    start, stop = HAND
    inner = old.partition(start)[2].partition(stop)[0].strip() or "**Not written yet.**"
    return f"{start}\n{inner}\n{stop}"


# ---------------------------------------------------------------------- tables


def _main(results: Results) -> Iterator[str]:
    start = mean([mean(results.points("sft", s)[-1]["rewards"]) for s in results.seeds])
    examples = [record["points"] for record in results.store.where(arm="examples")]
    yield (
        f"Over SFT, which has {start:.2f} points a text; the analysts' own examples have"
        f" {mean(examples):.2f}. {len(results.seeds)} seeds, 95% intervals over them."
    )
    yield ""
    yield "| | points over SFT | KL from SFT, nats | words | distinct-2 | held-out accuracy |"
    yield "|---|---|---|---|---|---|"
    for arm, name in NAMES.items():
        if results.gain(arm) is None:
            yield f"| {name} | not measured | | | | |"
            continue
        gain = "0" if arm == "sft" else _figure(results.gain(arm)) + _missing(results, arm)
        cells = [gain, *(_plain(results.last(arm, n), d) for n, d in _COLUMNS)]
        yield f"| {name} | {' | '.join(cells)} |"
    for n in (2, 4, 8, 16):
        if gain_of := results.best_of(n):
            yield f"| best of {n} of the SFT model | {_figure(gain_of)} | ≤ {bound(n):.2f} | | | |"


def _reward_model(results: Results) -> str:
    """How well the learnt reward ranks what PPO is paid for, in a sentence."""
    shares = [r["held"] for r in results.store.where(arm=REWARD) if "held" in r]
    if not shares:
        return ""
    each = ", ".join(f"{share:.0%}" for share in shares)
    return f"The reward model ranks {mean(shares):.0%} of the held-out pairs right ({each}).\n\n"


def _missing(results: Results, arm: str) -> str:
    """Said where an arm has not all seeds yet."""
    count, every = len(results.of(arm)), len(results.seeds)
    return "" if count == every else f" ({count} of {every} seeds)"


_COLUMNS = (("kl", 2), ("words", 1), ("distinct_2", 2), ("accuracy", 2))


def _plain(found: Interval | None, digits: int) -> str:
    return "" if found is None else f"{found.value:.{digits}f}"


def _first(results: Results) -> str:
    """Prompted, best of n and copied: what costs no training, and what training may hide."""
    says = []
    if results.gain("prompted 3") is not None:
        found = [f"{n}: {_figure(results.gain(f'prompted {n}'))}" for n in (1, 3, 5)]
        base = _figure(results.gain("base"))
        says.append(
            f"- **Examples in the context** of the untuned model, points over SFT: with none"
            f" {base}; with {'; '.join(found)}."
        )
    if results.best_of(4) is not None:
        found = [f"{n}: {_figure(results.best_of(n))}" for n in (2, 4, 8, 16)]
        says.append(
            "- **Best of n** draws of the SFT model, by the taste itself: no training, n times"
            f" the drawing, and something must score every text. Of {'; of '.join(found)}."
        )
    if results.copied("people") is not None:
        who = (("people", "analysts' new texts"), ("sft", "SFT's"), ("dpo 0.1", "DPO's"))
        runs = [f"{name} {_plain(results.copied(key), 1)}" for key, name in who]
        says.append(
            "- **Copied?** Words in a row that a text shares with a training text, the longest run"
            f" of each (words of its own prompt left out): {', '.join(runs)}."
        )
    filled = [
        textwrap.fill(each, 100, subsequent_indent="  ", break_on_hyphens=False) for each in says
    ]
    return "\n".join(filled) or "**Not measured yet.**"


def _grids(results: Results) -> Iterator[str]:
    for method, name in (("dpo", "DPO, beta 0.1"), ("ppo", "PPO, true reward")):
        rates, cells = rates_of(method), results.grid(method)
        yield f"| {name}: learning rate | {' | '.join(f'{rate:g}' for rate, _ in rates)} |"
        yield "|---|" + "---|" * len(rates)
        for seed in results.seeds:
            found = {cell.rate: cell.gain for cell in cells if cell.seed == seed}
            row = [_sign(found[rate]) if rate in found else "–" for rate, _ in rates]
            yield f"| seed {seed} | {' | '.join(row)} |"
        near = results.near_best(method)
        yield ""
        yield f"Within 90% of its best: {_said_share(near)}."
        yield ""


def _said_share(near: Interval | None) -> str:
    if near is None:
        return "not every run of the grid is there yet"
    return f"{round(near.value * near.count)} of {near.count} runs, {near.percent()}"


def _costs(results: Results) -> Iterator[str]:
    yield "| | seconds | memory, MB | models held | lines of palate.toml | settings of its own |"
    yield "|---|---|---|---|---|---|"
    for arm in COSTED:
        name = "the reward model" if arm == REWARD else NAMES[arm].replace("**", "").split(",")[0]
        name = {"ppo": "PPO, true reward", "ppo learnt": "PPO, learnt reward model"}.get(arm, name)
        if results.cost(arm, "cpu") is None:
            yield f"| {name} | not measured | | | | |"
            continue
        found = [results.cost(arm, n) for n in ("cpu", "memory", "models", "lines", "own")]
        cells = ["" if value is None else f"{value:.0f}" for value in found]
        yield f"| {name} | {' | '.join(cells)} |"


# ---------------------------------------------------------------------- what was expected


def _expected(results: Results) -> str:
    declared = _declared(results.store)
    lines = ["## What was expected", "", f"Written down before the first run{declared}.", ""]
    figures = results.figures() if results.seeds else {}
    lines += ["| expected | held | measured |", "|---|---|---|"]
    for each in EXPECTED:
        held = each.judged(figures)
        word = {None: "not measured", True: "yes", False: "**no**"}[held]
        measured = "" if held is None else "; ".join(_said(n, figures[n]) for n in each.about)
        lines.append(f"| {each.says} | {word} | {measured} |")
    return "\n".join(lines)


def _declared(store: Store) -> str:
    path = store.path.with_name("expected.json")
    if not path.exists():
        return ""
    return f" ({json.loads(path.read_text(encoding='utf-8'))['declared']})"


def _said(name: str, found: Interval | None) -> str:
    """A figure with its name, as a reader knows it."""
    assert found is not None
    kind, _, arm = name.partition(" ")
    who = arm.replace("dpo", "DPO").replace("ppo", "PPO").replace("rloo", "RLOO")
    if kind == "order":
        return f"Spearman {_sign(found.value)}, the mean of the seeds"
    if kind == "share":
        return f"{who}: {found.percent()}"
    if kind in ("kl", "cpu", "copied"):
        unit = {"kl": "nats", "cpu": "s", "copied": "words"}[kind]
        return f"{who}: {found.value:.3g} {unit}"
    return f"{who} {_figure(found)}" if kind == "gain" else f"{name}: {_figure(found)}"


def _figure(found: Interval | None) -> str:
    if found is None:
        return "not measured"
    if found.count < 2:
        return _sign(found.value)
    return f"{_sign(found.value)} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")


def _sign(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _sizes(store: Store) -> str:
    """How much was run, as it was declared."""
    path, scale = store.path.with_name("expected.json"), Scale()
    if path.exists():
        scale = Scale(**json.loads(path.read_text(encoding="utf-8"))["scale"])
    pairs = "as many epochs and pairs a step as palate derives"
    if scale.epochs is not None:
        pairs = f"{scale.epochs:g} epochs of pairs, {scale.batch} a step"
    says = (
        f"Sizes, for each seed: {scale.examples} examples and {scale.imitated:g} epochs of SFT;"
        f" {scale.prompts} prompts with {scale.answers} texts each, and a pair of each that has"
        f" one; {pairs}; {scale.online_steps} steps of {scale.online_batch} texts for PPO and RLOO,"
        f" as many texts as were drawn for the pairs; {scale.unseen} sheets that nothing has"
        f" seen, one text each, at every point; {scale.held} prompts of held-out pairs; 16 texts"
        " a sheet for best of n."
    )
    if store.records:
        spent = sum(record["seconds"] for record in store.records.values()) / 60
        says += (
            f" All that is measured took {spent:.0f} minutes of one worker; two ran side by side."
        )
    return textwrap.fill(says, 100, break_on_hyphens=False)
