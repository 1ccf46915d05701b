"""The plot of reward against KL: a cross per policy, its name where it hides least."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from palate.report.drawing import Scale, around, dot, picture, rule, short, tick, width_of, words
from palate.stats import Interval

Box = tuple[float, float, float, float]
Spot = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Point:
    """A policy on the plane; `end`: of several steps the last, which is named."""

    name: str
    x: Interval
    y: Interval
    tone: str = "none"
    end: bool = True


def frontier(points: Sequence[Point], *, unit: str, wide: bool) -> Markup:
    """Reward against KL; a cross is both intervals, steps of one policy are joined."""
    size = (760.0, 400.0) if wide else (360.0, 320.0)
    x, y = _scales(points, size)
    right, bottom = x.stop, size[1] - 26
    parts = list(_axes(x, y, bottom))
    parts.append(words((0, 11), short(f"↑ {unit}", int(size[0] / 7)), "title"))
    says = "KL from the reference, nats per text →" if wide else "KL, nats per text →"
    parts.append(words((right, size[1] - 6), says, "title", anchor="end"))
    for one, other in pairwise(points):
        if one.name == other.name:
            ends = [(x(each.x.value), y(each.y.value)) for each in (one, other)]
            parts.append(rule(ends[0], ends[1], f"trail {one.tone}"))
    spots = [(x(point.x.value), y(point.y.value)) for point in points]
    for point, spot in zip(points, spots, strict=True):
        parts += _cross(point, spot, x, y)
    taken = [(cx - 8, cy - 8, cx + 8, cy + 8) for cx, cy in spots]
    for point, spot in zip(points, spots, strict=True):
        if point.end:
            parts.append(_label(point, spot, taken, (right, y.start)))
    told = "; ".join(f"{each.name}: {each.y} at KL {each.x}" for each in points if each.end)
    return picture(size, parts, label=f"{unit} against KL. {told}", kind="frontier")


def _scales(points: Sequence[Point], size: Spot) -> tuple[Scale, Scale]:
    width, height = size
    ys = [value for point in points for value in (point.y.low, point.y.high)]
    xs = [value for point in points for value in (0.0, point.x.low, point.x.high)]
    y = Scale(*around(ys, room=0.1), height - 46, 28)
    left = max(width_of(tick(value)) for value in y.ticks()) + 12
    return Scale(*around(xs, room=0.04), left, width - 12), y


def _axes(x: Scale, y: Scale, bottom: float) -> Iterator[Markup]:
    for value in y.ticks():
        yield rule((x.start, y(value)), (x.stop, y(value)), "grid")
        yield words((x.start - 6, y(value) + 4), tick(value), anchor="end")
    for value in x.ticks():
        yield words((x(value), bottom), tick(value), anchor="middle")


def _cross(point: Point, spot: Spot, x: Scale, y: Scale) -> list[Markup]:
    cx, cy = spot
    kind = f"arm {point.tone}" if point.end else f"arm {point.tone} passed"
    return [
        rule((x(point.x.low), cy), (x(point.x.high), cy), kind),
        rule((cx, y(point.y.low)), (cx, y(point.y.high)), kind),
        dot(spot, 5 if point.end else 3.6, point.tone),
    ]


def _label(point: Point, spot: Spot, taken: list[Box], corner: Spot) -> Markup:
    """The name in the quarter beside its point where it hides least; its place is then taken."""
    said, (x, y) = short(point.name), spot
    wide = width_of(said)
    places = [(at, y + up) for up in (-8, 16, -22, 30) for at in (x + 10, x - 10 - wide)]
    boxes = [(at, up - 10, at + wide, up + 3) for at, up in places]
    costs = [
        sum(_overlap(box, other) for other in taken) + _outside(box, corner) + order * 0.5
        for order, box in enumerate(boxes)
    ]
    best = costs.index(min(costs))
    taken.append(boxes[best])
    return words(places[best], said, f"name {point.tone}")


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Box, corner: Spot) -> float:
    """How far it hangs over; `corner`: right and bottom."""
    over = max(0.0, -box[0]) + max(0.0, box[2] - corner[0])
    return 100 * (over + max(0.0, 16 - box[1]) + max(0.0, box[3] - corner[1]))
