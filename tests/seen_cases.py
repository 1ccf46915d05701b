"""Hand-made `Seen`s for the tests of pages: weights of DPO, pushes that follow from softmaxes."""

import base64
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np

from palate.report.page import shown
from palate.study.seen import (
    Alternative,
    Frame,
    Kind,
    Replay,
    Row,
    Seen,
    Side,
    Switched,
    Token,
)

BETAS = (0.02, 0.05, 0.1, 0.2, 0.5)
WORDS = {
    "margin": "The chosen answer's reward less the rejected one's.",
    "weight": "How hard a side is pushed: minus the loss's slope in its log-prob.",
    "reference": "The model as it was before training.",
    "log-prob": "How likely the model finds a text, as a natural logarithm.",
    "log-ratio": "Log-prob less the reference's: how far the model has moved.",
    "reward": "Beta times the log-ratio.",
    "pair": "Two answers to one prompt, and which was preferred.",
    "prompt": "What the model is given.",
    "chosen": "The preferred answer of a pair.",
    "rejected": "The other answer of a pair.",
    "objective": "What training makes small.",
    "loss": "The number that training makes small.",
    "gradient mass": "The pushes of all tokens, summed.",
    "SFT": "Supervised fine-tuning: imitate the chosen answer.",
}
SHARED = "Two-bedroom, two-bath condo in"
CHOSEN = (
    " a brick building three blocks to the station: in-unit laundry, one covered space, "
    "fees of $310 a month. Dogs are welcome."
)
REJECTED = " a great spot, with everything you could need close by and plenty of charm."
PROMPT = (
    "Describe this 2bd condo near downtown. Facts: 2 bath; in-unit laundry; one covered space; "
    "three blocks to the station; fees $310."
)
INSTEAD = (" the", " great", " a", " with", " one", " close", " unit", " charming", ",", " of")


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


class Hand:
    """Draws a plausible `Seen`: DPO's weights, and pushes that follow from drawn softmaxes."""

    def __init__(self, seed: int = 0) -> None:
        self.draw = np.random.default_rng(seed)

    def token(self, text: str, kind: Kind, weight: float) -> Token:
        """A token whose model had six guesses: its own, and five others."""
        p = self.draw.dirichlet([1.2, 0.8, 0.5, 0.4, 0.3, 0.3])
        own = 1 if self.draw.random() < 0.4 else 0
        said = [*self.draw.choice(INSTEAD, 5, replace=False)]
        said.insert(own, text)
        push = 0.0 if kind == "shared" else weight
        others = tuple(
            Alternative(str(one), float(p[i]), float(push * ((i == own) - p[i])))
            for i, one in enumerate(said[:5])
        )
        norm = abs(push) * math.sqrt((1 - p[own]) ** 2 + p.sum() ** 2 - p[own] ** 2 - 0.2 * p[5])
        logp = float(np.log(p[own]))
        net = abs(weight) * math.sqrt(2) if kind == "first" else None
        return Token(text, logp, logp - self.draw.normal(0, 0.3), norm, kind, others, net)

    def side(self, name: str, texts: list[str], shared: int, weight: float) -> Side:
        tokens = tuple(
            self.token(text, kind_of(place, shared), weight) for place, text in enumerate(texts)
        )
        logp = math.fsum(token.logp for token in tokens)
        ref = math.fsum(token.ref_logp or 0.0 for token in tokens)
        mass = math.fsum(token.logit_grad_norm for token in tokens)
        return Side(name, logp, ref, len(tokens), weight, mass, tokens)

    def pair(self, number: int, *, margin: float, beta: float = 0.1, **changed: Any) -> Row:
        """A pair at about that margin, its texts cut at random places."""
        weight = float(beta * sigmoid(-margin))
        shared = split(SHARED)
        cut = int(self.draw.integers(6, 22))
        chosen = self.side("chosen", shared + split(CHOSEN)[: cut + 4], len(shared), weight)
        rejected = self.side("rejected", shared + split(REJECTED)[:cut], len(shared), -weight)
        gap = margin / beta
        chosen = replace(chosen, ref_logp=chosen.logp - 0.4 * gap)
        rejected = replace(rejected, ref_logp=rejected.logp + 0.6 * gap)
        row = Row(
            number, number + 3, PROMPT, (chosen, rejected), float(np.log1p(np.exp(-margin))),
            f"The model leans by a margin of {shown(margin, sign=True)}, so this pair pushes at "
            f"{weight / beta:.0%} of full strength.",
            margin, len(shared), ("grounded", "vague", "flattery")[number % 3],
        )  # fmt: skip
        return replace(row, **changed)

    def seen(self, count: int, *, detailed: int | None = None, step: int = 40) -> Seen:
        margins = self.draw.normal(0.8, 1.6, count)
        rows = [self.pair(i + 1, margin=float(m)) for i, m in enumerate(margins)]
        heavy = sorted(range(count), key=lambda i: margins[i])[:detailed]
        rows = [row if i in set(heavy) else bare(row) for i, row in enumerate(rows)]
        return seen_of(rows, step=step)

    def replayed(self) -> Replay:
        row = self.pair(12, margin=0.0)
        frames, imitated = [], []
        for i, step in enumerate((0, 5, 10, 20, 40, 60, 80, 120, 160, 240, 320, 400)):
            margin = 4.2 * (1 - math.exp(-i / 3.5))
            weight = 0.1 * float(sigmoid(-margin))
            logps = tuple(
                tuple(t.logp + s * margin * 0.8 / side.count for t in side.detail or ())
                for s, side in zip((4.0, -6.0), self.level(row).sides)
            )
            pushes = tuple(
                tuple(t.logit_grad_norm * weight / 0.05 for t in side.detail or ())
                for side in row.sides
            )
            frames.append(Frame(step, margin, (weight, -weight), pushes, logps))
            flat = tuple(
                0.012 * 1.2 * (1 - math.exp(t.logp) ** 1.1) for t in row.sides[0].detail or ()
            )
            imitated.append(Frame(step, None, (0.012,), (flat,), logps[:1]))
        return Replay((self.level(row),), (tuple(frames),), (tuple(imitated),))

    @staticmethod
    def level(row: Row) -> Row:
        return replace(row, sides=tuple(replace(s, ref_logp=s.logp) for s in row.sides))


def kind_of(place: int, shared: int) -> Kind:
    return "shared" if place < shared else "first" if place == shared else "after"


def split(text: str) -> list[str]:
    return re.findall(r"\s?\w+|[^\w\s]", text)


def bare(row: Row) -> Row:
    return replace(row, sides=tuple(replace(side, detail=None) for side in row.sides))


def delta(side: Side) -> float:
    return side.logp - (side.ref_logp or 0.0)


def objectives(c: Any, r: Any, tokens: Any, beta: float) -> dict[str, tuple[Any, Any, Any, Any]]:
    """name -> weights of both sides, loss, margin; written out here, for this fixture only."""
    margin, gap = beta * (c - r), c - r
    push = beta * sigmoid(-margin)
    pull = 1 / beta - 2 * gap
    ones = np.ones_like(gap)
    long = beta * (c / tokens[0] - r / tokens[1])
    nca = -np.log(sigmoid(beta * c)) - 0.5 * np.log(sigmoid(-beta * c) * sigmoid(-beta * r))
    return {
        "dpo": (push, -push, np.log1p(np.exp(-margin)), margin),
        "ipo": (pull, -pull, (gap - 0.5 / beta) ** 2, gap),
        "hinge": (beta * (margin < 1), -beta * (margin < 1), np.maximum(0, 1 - margin), margin),
        "nca": (
            beta * (sigmoid(-beta * c) - 0.5 * sigmoid(beta * c)),
            -0.5 * beta * sigmoid(beta * r) * ones, nca, margin,
        ),
        "dpo_norm": (
            beta * sigmoid(-long) / tokens[0], -beta * sigmoid(-long) / tokens[1],
            np.log1p(np.exp(-long)), long,
        ),
    }  # fmt: skip


def switched_of(rows: list[Row]) -> tuple[Switched, ...]:
    if not rows:
        return ()
    c, r = (np.array([delta(row.sides[i]) for row in rows]) for i in (0, 1))
    tokens = [np.array([row.sides[i].count for row in rows]) for i in (0, 1)]
    nats = np.linspace(-60, 60, 61)
    found = []
    for name in objectives(c, r, tokens, 0.1):
        for beta in BETAS:
            one, other, loss, margin = objectives(c, r, tokens, beta)[name]
            line, _, _, x = objectives(nats / 2, -nats / 2, [t.mean() for t in tokens], beta)[name]
            weights = tuple((float(a), float(b)) for a, b in zip(one, other))
            found.append(
                Switched(
                    name, {"beta": beta}, weights, tuple(map(float, loss)),
                    tuple(map(float, margin)), tuple(map(float, x)), tuple(map(float, line)),
                )
            )  # fmt: skip
    return tuple(found)


def seen_of(rows: list[Row], *, step: int = 40, **changed: Any) -> Seen:
    seen = Seen(
        "analyst-dpo", "analyst-sft", "data/pairs.jsonl", "dpo", {"beta": 0.1}, step,
        tuple(rows), switched_of(rows),
    )  # fmt: skip
    return replace(seen, **changed)


def examples(count: int) -> Seen:
    """SFT rows: one side each, the weight 1/N."""
    hand, rows = Hand(3), []
    for number in range(1, count + 1):
        texts = split(SHARED + CHOSEN)
        target = hand.side("target", texts, 0, 1 / 40)
        kinds = tuple(
            replace(t, kind="after", net_logit_grad_norm=None) for t in target.detail or ()
        )
        side = replace(target, ref_logp=None, detail=kinds)
        words = "Every token is pushed up with the same weight."
        rows.append(Row(number, number, PROMPT, (side,), -side.logp / 40, words))
    return Seen("analyst-sft", None, "examples.jsonl", "sft", {"mean": "token"}, 12, tuple(rows))


def unpack(text: str) -> list[float]:
    """Figures back from two bytes each; written here anew."""
    codes = np.frombuffer(base64.b64decode(text), "<u2").tolist()
    return [
        0.0 if not code else float(
            f"{'-' if code >> 15 else ''}{code & 1023}e{(code >> 10 & 31) - 25}"
        )
        for code in codes
    ]  # fmt: skip
