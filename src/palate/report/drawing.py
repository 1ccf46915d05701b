"""What every plot is made of: scales with round ticks, escaped SVG elements, labels kept apart.

Pure functions; colours and fonts belong to the page's style, so that a plot turns dark with it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from palate.report.page import MINUS

LETTER: Final = 6.2  # mean width of a letter of the plots' 11.5 px sans
LINE: Final = 13.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Values `low` to `high` on the pixels `start` to `stop`; linear."""

    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """The pixel of a value, kept inside."""
        span = self.high - self.low
        part = (value - self.low) / span if span else 0.5
        return round(self.start + min(max(part, 0.0), 1.0) * (self.stop - self.start), 1)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside, `most` at most."""
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def around(
    values: Iterable[float], *, also: Sequence[float] = (), room: float = 0.06
) -> tuple[float, float]:
    """Limits of a scale that holds these, with a little room; never empty."""
    found = [value for value in (*values, *also) if math.isfinite(value)]
    if not found:
        return 0.0, 1.0
    low, high = min(found), max(found)
    spare = (high - low) * room or abs(high) * 0.1 or 1.0
    return low - (0 if low in also else spare), high + (0 if high in also else spare)


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, no smaller than `least`."""
    if not least > 0 or not math.isfinite(least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(part * power for part in (1, 2, 5, 10) if part * power >= least * (1 - 1e-9))


def tick(value: float) -> str:
    """A round value as an axis shows it: `0.25`, `−3`, `1,000`, `0`."""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        text = f"{size:.0e}".replace("e-0", f"e{MINUS}").replace("e+0", "e")
    else:
        text = f"{size:,.6f}".rstrip("0").rstrip(".")
    return MINUS + text if value < 0 else text


def element(name: str, text: object = None, /, **attributes: object) -> Markup:
    """One element.  `class_` is `class`, other `_` are `-`; floats are cut to a tenth."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if text is None:
        return Markup(f"<{name}{words}/>")
    return Markup(f"<{name}{words}>{escape(text)}</{name}>")


def _plain(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def picture(
    size: tuple[float, float], parts: Iterable[Markup], *, label: str, kind: str = ""
) -> Markup:
    """An SVG of this natural size, which shrinks with its column.  `label` is what it shows."""
    width, height = size
    said = {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    return element(
        "svg", Markup("").join(parts), class_=f"plot {kind}".strip(),
        viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height), **said,
    )  # fmt: skip


def rule(start: tuple[float, float], stop: tuple[float, float], kind: str) -> Markup:
    """A straight line."""
    (x1, y1), (x2, y2) = start, stop
    return element("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def words(at: tuple[float, float], said: str, kind: str = "", *, anchor: str = "start") -> Markup:
    """A label; `anchor`: start, middle or end of it stands there."""
    x, y = at
    turned = None if anchor == "start" else anchor
    return element("text", said, class_=kind or None, x=x, y=y, text_anchor=turned)


def dot(at: tuple[float, float], size: float, tone: str) -> Markup:
    """A value."""
    return element("circle", class_=f"dot {tone}", cx=at[0], cy=at[1], r=size)


def box(
    corner: tuple[float, float], size: tuple[float, float], kind: str, *, rx: float = 0
) -> Markup:
    """A rectangle from its upper left corner."""
    (x, y), (wide, high) = corner, size
    return element("rect", class_=kind, x=x, y=y, width=wide, height=high, rx=rx or None)


def path(points: Sequence[tuple[float, float]], **attributes: object) -> Markup:
    """A line through the points."""
    spots = [f"{x:g} {y:g}" for x, y in points]
    return element("path", d="M" + "L".join(spots), **attributes)


def band(
    xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], **attributes: object
) -> Markup:
    """The area between two lines."""
    there = [f"{x:g} {y:g}" for x, y in zip(xs, highs, strict=True)]
    back = [f"{x:g} {y:g}" for x, y in zip(reversed(xs), reversed(lows), strict=True)]
    return element("path", d="M" + "L".join(there + back) + "Z", **attributes)


def apart(wanted: Sequence[float], low: float, high: float, *, gap: float = LINE) -> list[float]:
    """Heights near the wanted ones, at least `gap` apart, in the same order, inside if they fit."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    found = list(wanted)
    floor = low
    for index in order:
        found[index] = max(found[index], floor)
        floor = found[index] + gap
    ceiling = high
    for index in reversed(order):
        found[index] = min(found[index], ceiling)
        ceiling = found[index] - gap
    return [round(each, 1) for each in found]


def width_of(text: str) -> float:
    """About how wide a label is, in pixels."""
    return LETTER * len(text)


def short(text: str, most: int = 28) -> str:
    """A label that fits."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
