"""The microscope's page: what each row of a file teaches, token by token, in one HTML file.

Every weight, loss and margin on it was computed by the library and is carried as data; the page's
scripts scale and draw.  Figures of tokens are carried as shown, to three digits.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from palate.report.page import compact, embedded, indices, packed, render
from palate.study.seen import Frame, Replay, Row, Seen, Side, Switched, Token

# The margin at which DPO pushes at a tenth of its full strength; at minus that, at nine tenths.
# Beyond it a pair counts as learnt or as wrong: our default.
DECIDED = math.log(9)
SNIPPET = 300  # characters of a prompt whose tokens are not carried
_MAX_NARROW = 0x10000

Json = dict[str, Any]


def page(seen: Seen, *, words: Mapping[str, str]) -> str:
    """The whole page.  `words` explains terms: term -> sentence."""
    return render(
        "explain.html",
        styles=["explain.css"],
        scripts=["marks.js", "pair.js", "replay.js", "explain.js"],
        source=_name(seen.source),
        facts=_facts(seen),
        verdict=verdict(seen),
        data=embedded(_told(seen) | {"words": dict(words)}),
    )


# ---- in words


def standing(row: Row) -> str | None:
    """`learnt`, `undecided` or `wrong`; None where there is no margin to go by."""
    if row.margin is None or math.isnan(row.margin):
        return None
    if abs(row.margin) <= DECIDED:
        return "undecided"
    return "learnt" if row.margin > 0 else "wrong"


def shares(seen: Seen) -> list[Json]:
    """Rows and gradient per standing, wrong first; `gradient` is a share, None if there is none."""
    measure = _measure(seen)
    gradient = [_gradient(row, measure) for row in seen.rows]
    whole = math.fsum(gradient)
    found: list[Json] = []
    for name in ("wrong", "undecided", "learnt"):
        own = [part for part, row in zip(gradient, seen.rows) if standing(row) == name]
        part = math.fsum(own) / whole if whole else None
        found.append({"name": name, "rows": len(own), "gradient": part})
    return found


def verdict(seen: Seen) -> tuple[str, ...]:
    """The page's first sentence in pieces; every second piece is a figure to stress."""
    rows = seen.rows
    if not rows:
        return ("There is nothing to see: ", "no row", " of this file was scored.")
    if len(rows) == 1:
        return (rows[0].words,)
    if len(rows[0].sides) == 1:
        return _of_examples(rows)
    if any(standing(row) is None for row in rows):
        return ("This objective weighs ", f"{len(rows):,} pairs", " without comparing their sides.")
    return _of_pairs(seen)


def _of_examples(rows: Sequence[Row]) -> tuple[str, ...]:
    sides = [row.sides[0] for row in rows]
    down = sum(side.weight < 0 for side in sides)
    if down:
        return ("Of ", f"{len(rows):,} answers", f", {len(rows) - down:,} are pushed up and "
                f"{down:,} down.")  # fmt: skip
    tokens = sum(side.count for side in sides)
    mean = math.fsum(side.logp for side in sides) / max(tokens, 1)
    return (
        "Every token of ", f"{len(rows):,} examples", " is pushed up, whatever the model already "
        "knows; it gives such a token ", f"{math.exp(min(mean, 0)):.0%}", " (geometric mean), and "
        "what it would rather have said is pushed down.",
    )  # fmt: skip


def _of_pairs(seen: Seen) -> tuple[str, ...]:
    found = shares(seen)
    counts = {part["name"]: part["rows"] for part in found}
    whole = len(seen.rows)
    if whole in counts.values():
        return _all_alike(next(name for name in counts if counts[name] == whole), whole)
    told = (
        f"Of {whole:,} pairs, the model has learnt ", f"{counts['learnt']:,}",
        f", is undecided on {counts['undecided']:,} and gets ", f"{counts['wrong']:,} wrong",
    )  # fmt: skip
    if found[0]["gradient"] is None:
        return (*told, ". None of them pushes.")
    left = counts["wrong"] + counts["undecided"]
    share = found[0]["gradient"] + found[1]["gradient"]
    return (
        *told, f": the {left:,} not yet learnt carr{'y' if left > 1 else 'ies'} ",
        f"{share:.0%} of the {_measure(seen)}", ".",
    )  # fmt: skip


def _all_alike(name: str, count: int) -> tuple[str, ...]:
    says = {
        "wrong": " are wrong: the model leans towards the rejected answer in every one.",
        "undecided": " are undecided: in none does the model lean clearly to one side.",
        "learnt": " are learnt: little is left to push.",
    }
    return ("All ", f"{count:,} pairs", says[name])


def _measure(seen: Seen) -> str:
    known = all(side.mass is not None for row in seen.rows for side in row.sides)
    return "gradient mass" if known else "weight"


def _gradient(row: Row, measure: str) -> float:
    """What the row adds to the gradient: its mass, or its weight where masses are missing."""
    if measure == "weight":
        return math.fsum(abs(side.weight) for side in row.sides)
    return row.mass


def _facts(seen: Seen) -> str:
    used = {name: value for name, value in seen.options.items() if value}
    told = [seen.objective, *(f"{name} {_plain(value)}" for name, value in used.items())]
    told.append(
        _name(seen.model) if seen.step is None else f"{_name(seen.model)}, step {seen.step}"
    )
    return " · ".join(told + ([f"reference {_name(seen.reference)}"] if seen.reference else []))


def _name(path: str) -> str:
    return PurePath(path).name or path


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- as data


class _Texts:
    """Token texts by number; each is carried once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def add(self, texts: Iterable[str]) -> list[int]:
        return [self.numbers.setdefault(text, len(self.numbers)) for text in texts]


def _told(seen: Seen) -> Json:
    texts = _Texts()
    usable = seen.switched if _most_sides(seen) == 2 else ()  # they hold two weights per row
    details = {
        index: [_numbered(side.detail, texts) for side in row.sides if side.detail is not None]
        for index, row in enumerate(seen.rows)
        if all(side.detail is not None for side in row.sides)
    }
    replay = _replay(seen.replay, texts) if seen.replay and seen.replay.rows else None
    wide = len(texts.numbers) > _MAX_NARROW
    sides = [*(side for detail in details.values() for side in detail)]
    sides += [side for story in replay or () for side in story["sides"]]
    for side in sides:
        side["texts"] = indices(side["texts"], wide=wide)
        side["instead"] = indices(side["instead"], wide=wide)
    return {
        "objective": seen.objective,
        "options": {name: _plain(value) for name, value in seen.options.items()},
        "reward": _beta(seen) is not None,
        "measure": _measure(seen),
        "decided": compact(DECIDED),
        "shares": shares(seen) if any(standing(row) for row in seen.rows) else None,
        "rows": _columns(seen),
        "sides": [_side_columns(seen, place) for place in range(_most_sides(seen))],
        "own": _own(seen, usable),
        "switched": [_switch(switched) for switched in usable],
        "wide": wide,
        "texts": list(texts.numbers),
        "details": details,
        "replay": replay,
    }


def _columns(seen: Seen) -> Json:
    rows = seen.rows
    return {
        "number": [row.number for row in rows],
        "line": [row.line for row in rows],
        "tag": [row.tag for row in rows],
        "prompt": [_snippet(row) for row in rows],
        "words": [row.words for row in rows],
        "margin": [compact(row.margin) for row in rows],
        "loss": [compact(row.loss) for row in rows],
        "shared": [row.shared for row in rows],
        "standing": [standing(row) for row in rows],
    }


def _side_columns(seen: Seen, place: int) -> Json:
    sides = [row.sides[place] for row in seen.rows]
    beta = _beta(seen)
    ratios = [_minus(side.logp, side.ref_logp) for side in sides]
    return {
        "name": sides[0].name,
        "logp": [compact(side.logp) for side in sides],
        "ref": [compact(side.ref_logp) for side in sides],
        "ratio": [compact(ratio) for ratio in ratios],
        "reward": [None if x is None or beta is None else compact(beta * x) for x in ratios],
        "count": [side.count for side in sides],
        "weight": [compact(side.weight) for side in sides],
        "mass": [compact(side.mass) for side in sides],
        "most": [_most_push(side) for side in sides],
    }


def _numbered(tokens: Sequence[Token], texts: _Texts) -> Json:
    """The tokens of a side; `texts` and `instead` are packed once all texts are numbered."""
    instead = [other for token in tokens for other in token.alternatives]
    nets = [token.net_logit_grad_norm for token in tokens if token.net_logit_grad_norm is not None]
    return {
        "texts": texts.add(token.text for token in tokens),
        "kinds": "".join(token.kind[0] for token in tokens),
        "logp": packed([token.logp for token in tokens]),
        "ref": packed([token.ref_logp for token in tokens]),
        "ratio": packed([_minus(token.logp, token.ref_logp) for token in tokens]),
        "push": packed([token.logit_grad_norm for token in tokens]),
        "net": compact(nets[0]) if nets else None,
        "counts": [len(token.alternatives) for token in tokens],
        "instead": texts.add(other.text for other in instead),
        "p": packed([other.p for other in instead]),
        "pushed": packed([other.push for other in instead]),
    }


def _switch(switched: Switched) -> Json:
    chosen = [pair[0] for pair in switched.weights]
    rejected = [pair[1] for pair in switched.weights]
    opposite = all(one == -other for one, other in switched.weights)
    name, value = _setting(switched.options)
    return {
        "objective": switched.objective,
        "setting": name,
        "value": _plain(value),
        "weights": [packed(chosen)] if opposite else [packed(chosen), packed(rejected)],
        "loss": packed(switched.losses),
        "margin": packed(switched.margins),
        "x": [compact(margin) for margin in switched.curve_margins],
        "y": [compact(weight) for weight in switched.curve_weights],
    }


def _replay(replay: Replay, texts: _Texts) -> list[Json]:
    return [
        {
            "number": row.number,
            "prompt": row.prompt,
            "tag": row.tag,
            "sides": [_numbered(side.detail or (), texts) for side in row.sides],
            "names": [side.name for side in row.sides],
            "frames": [_frame(frame) for frame in frames],
            "imitated": [_frame(frame) for frame in imitated],
        }
        for row, frames, imitated in zip(replay.rows, replay.frames, replay.imitated, strict=True)
    ]


def _frame(frame: Frame) -> Json:
    return {
        "step": frame.step,
        "margin": compact(frame.margin),
        "weights": [compact(weight) for weight in frame.weights],
        "pushes": [packed(pushes) for pushes in frame.pushes],
        "logps": [packed(logps) for logps in frame.logps],
    }


# ---- small parts


def _snippet(row: Row) -> str:
    detailed = all(side.detail is not None for side in row.sides)
    short = detailed or len(row.prompt) <= SNIPPET
    return row.prompt if short else row.prompt[:SNIPPET].rstrip() + " …"


def _most_sides(seen: Seen) -> int:
    return min((len(row.sides) for row in seen.rows), default=0)


def _most_push(side: Side) -> float | None:
    return compact(max((token.logit_grad_norm for token in side.detail or ()), default=0.0))


def _minus(one: float, other: float | None) -> float | None:
    return None if other is None else one - other


def _beta(seen: Seen) -> float | None:
    beta = seen.options.get("beta")
    return float(beta) if seen.reference and isinstance(beta, int | float) else None


def _setting(options: Mapping[str, Any]) -> tuple[str, object]:
    """The option that the switch turns: beta where there is one, else the first."""
    name = "beta" if "beta" in options else next(iter(options), "")
    return name, options.get(name, "")


def _own(seen: Seen, usable: Sequence[Switched]) -> int | None:
    """Which of the switched is the objective the rows were looked at with."""
    for index, switched in enumerate(usable):
        both = switched.options.keys() & seen.options.keys()
        same = all(switched.options[name] == seen.options[name] for name in both)
        if switched.objective == seen.objective and same:
            return index
    return None
