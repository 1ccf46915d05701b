"""The example's result as lines for a terminal or a pipe: verdict, table, texts, what to type next.

Blue is preferred and orange is not, as everywhere; each coloured figure also says so in words.
Nothing here prints.
"""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from palate.demo.figures import Judged, gap
from palate.demo.prose import prompt
from palate.demo.sheets import Fact
from palate.stats import Interval

BLUE, ORANGE = "#2f7fd6", "#d9822b"
WIDTH, LABEL, CELL = 100, 22, 24
MODELS = ("base", "SFT", "DPO")
Figures = Mapping[str, Mapping[str, Interval]]
Block = tuple[Figures, Interval | None]


def verdict(found: Mapping[str, Any]) -> Text:
    """The one sentence that holds the result, of the record of `palate evaluate`."""
    colour = {"better": BLUE, "worse": ORANGE}.get(found["verdict"], "")
    return Text(found["headline"], style=f"bold {colour}".strip())


def table(blocks: Mapping[str, Block]) -> Iterator[Text]:
    """`blocks`: how the texts were drawn -> (model -> figure -> interval, win rate of DPO)."""
    yield _row("mean per text [95%]", MODELS, style="bold")
    for name, (found, win) in blocks.items():
        yield Text("")
        yield Text(name, style="italic")
        for figure in found["SFT"]:
            cells = [_cell(figure, found[model][figure]) for model in MODELS]
            yield _row(f"  {figure}", cells)
        if win is not None:
            yield _row("  wins against SFT", ("", "", win.percent()))


def side_by_side(texts: Mapping[str, Judged]) -> Iterator[Text]:
    """One sheet's prompt, then each model's text with what the taste counted in it."""
    yield from _wrapped(prompt(texts["SFT"].sheet), indent=2)
    for model, judged in texts.items():
        yield Text(f"  {model:5}").append_text(_counts(judged))
        yield from _wrapped(judged.text, indent=7)


def worst(ours: Judged, theirs: Judged) -> Iterator[Text]:
    """The sheet on which DPO lost most, or that there is none."""
    lost = -gap(ours, theirs)
    if lost <= 0:
        yield Text("DPO lost on no sheet.")
        return
    yield Text(f"DPO's worst loss against SFT, by {_number(lost)} points", style="bold")
    yield from side_by_side({"SFT": theirs, "DPO": ours})


def _counts(judged: Judged) -> Text:
    found = judged.verdict
    line = Text(f"{_number(found.score)} points: ")
    line.append(f"{len(found.stated)} of {found.facts} facts", style=BLUE)
    bad = [f"wrong: {_claim(fact)}" for fact in found.wrong]
    bad += [f"{len(seen)} {name}" for name, seen in _phrases(judged) if seen]
    bad += [f"{found.repeats} repeated"] if found.repeats else []
    return line.append("".join(f", {each}" for each in bad), style=ORANGE)


def _phrases(judged: Judged) -> Sequence[tuple[str, Sequence[str]]]:
    return ("vague", judged.verdict.vague), ("hype", judged.verdict.hype)


def _claim(fact: Fact) -> str:
    """`fee 410`; a feature that has no value by its name alone."""
    return fact.topic if fact.topic == fact.value else f"{fact.topic} {fact.value}"


def _row(label: str, cells: Sequence[str], *, style: str = "") -> Text:
    return Text((label.ljust(LABEL) + "".join(cell.rjust(CELL) for cell in cells)).rstrip(), style)


def _cell(figure: str, found: Interval) -> str:
    if figure == "facts stated":
        return found.percent()
    return f"{_number(found.value)} [{_number(found.low)}, {_number(found.high)}]"


def _number(value: float) -> str:
    """Two decimals below ten, one above; a real minus sign."""
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _wrapped(text: str, *, indent: int) -> Iterator[Text]:
    pad = " " * indent
    for line in textwrap.wrap(text, WIDTH, initial_indent=pad, subsequent_indent=pad) or [pad]:
        yield Text(line)
