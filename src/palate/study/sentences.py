"""One line in words per row: how hard it pushes, where, and what length has to do with it.

No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palate.study.seen import Seen, Side, Token

LEARNT, WRONG = 0.1, 0.9  # shares of full strength, as the progress line counts them
NO_MARGIN = 1e-4  # rounding: policy and reference agree
LONGER = 1.5  # how many times longer one side must be before it is said
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sentence needs beside the sides.  `typical`: median tokens of a completion."""

    objective: str
    options: Mapping[str, Any]
    margin: float | None
    shared: int
    typical: float


def in_words(facts: Facts, sides: Sequence[Side]) -> str:
    """The row in one or two sentences."""
    if len(sides) == 1:
        return _of_example(facts, sides[0])
    chosen, rejected = sides[0], sides[1]
    parts = [_strength(facts, chosen, rejected) + _where(chosen, rejected)]
    if facts.shared:
        parts.append(_shared(facts.shared, exact=chosen.weight + rejected.weight == 0))
    parts += _lengths(chosen, rejected)
    return " ".join(parts)


def _strength(facts: Facts, chosen: Side, rejected: Side) -> str:
    """How far the model is, and how hard the pair pushes."""
    weight = abs(chosen.weight)
    full = facts.options.get("beta") if facts.objective in ("dpo", "robust") else None
    margin = 0.0 if facts.margin is None or abs(facts.margin) < NO_MARGIN else facts.margin
    if facts.objective != "dpo" or full is None:
        side = "chosen" if margin > 0 else "rejected" if margin < 0 else "neither answer"
        return f"The model favours {side} (margin {_signed(margin)}); this pair weighs {weight:.3g}"
    share = weight / float(full)
    if share < LEARNT:
        said = "The model already tells these two apart"
    elif share > WRONG:
        said = "Against the reference, the model has moved far to the rejected answer"
    elif margin == 0:
        said = "Model and reference agree on this pair"
    elif margin > 0:
        said = "Against the reference, the model has moved to the chosen answer"
    else:
        said = "Against the reference, the model has moved to the rejected answer"
    return f"{said}, so this pair pushes at {share:.0%} of full strength"


def _where(chosen: Side, rejected: Side) -> str:
    """The hardest pushed stretch of each side."""
    up, down = _stretch(chosen.detail), _stretch(rejected.detail)
    if not up or not down:
        return "."
    return f": up on {_quoted(up)}, down on {_quoted(down)}."


def _stretch(tokens: Sequence[Token] | None, width: int = 4) -> str:
    """The `width` neighbouring tokens with the largest push, made up to whole words."""
    if not tokens:
        return ""
    pushes = [token.logit_grad_norm for token in tokens]
    start = max(range(len(tokens)), key=lambda n: sum(pushes[n : n + width]))
    stop = min(start + width, len(tokens))
    if sum(pushes[start:stop]) == 0:
        return ""
    while start > 0 and _one_word(tokens[start - 1].text, tokens[start].text):
        start -= 1
    while stop < len(tokens) and _one_word(tokens[stop - 1].text, tokens[stop].text):
        stop += 1
    return "".join(token.text for token in tokens[start:stop]).strip()


def _one_word(before: str, after: str) -> bool:
    """Whether two neighbouring tokens are parts of one word or number."""
    return before[-1:].isalnum() and after[:1].isalnum()


def _shared(count: int, *, exact: bool) -> str:
    """What becomes of the tokens that both sides start with."""
    tokens = "token is" if count == 1 else f"{count} tokens are"
    fate = ("cancels" if count == 1 else "cancel") if exact else "mostly cancel"
    return f"The first {tokens} the same on both sides and {fate}."


def _lengths(chosen: Side, rejected: Side) -> list[str]:
    """Both sides weigh the same per token, so the longer one moves the model more."""
    long, short = sorted((chosen, rejected), key=lambda side: -side.count)
    ratio = long.count / max(1, short.count)
    if ratio < LONGER or abs(abs(long.weight) - abs(short.weight)) > 1e-12:
        return []
    return [
        f"Every token has the same weight, so the {long.count}-token {long.name} answer counts "
        f"{ratio:.1f} times the {short.count}-token one."
    ]


def _of_example(facts: Facts, side: Side) -> str:
    """An SFT row: the same push for every token, less where the model already agrees."""
    hardest = max(side.detail or (), key=lambda token: token.logit_grad_norm, default=None)
    if facts.options.get("mean") == "sequence":
        said = f"Each of its {side.count} tokens weighs 1/{side.count}, whatever the model says"
    else:
        ratio = side.count / max(1.0, facts.typical)
        said = f"Each of its {side.count} tokens weighs the same, whatever the model says"
        if ratio >= LONGER or ratio <= 1 / LONGER:
            said += f"; this answer weighs {ratio:.1f} times a typical one of {facts.typical:.0f}"
    if hardest is None:
        return f"{said}."
    return f"{said}; it pushes hardest on {_quoted(hardest.text.strip())}."


def _quoted(text: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def verdict(seen: Seen) -> str:
    """The whole file in one sentence: how many rows still teach, and where the gradient lies."""
    count = len(seen.rows)
    if not count:
        return "No rows."
    share = heaviest_share([row.mass for row in seen.rows])
    tail = f"the heaviest tenth carries {share:.0%} of the gradient's mass."
    if len(seen.rows[0].sides) != 2 or seen.objective != "dpo":
        noun = "pairs" if len(seen.rows[0].sides) == 2 else "rows"
        return f"{count} {noun} under {seen.objective}: {tail}"
    full = float(seen.options["beta"])
    pulls = [abs(row.sides[0].weight) / full for row in seen.rows]
    learnt, wrong = sum(p < LEARNT for p in pulls), sum(p > WRONG for p in pulls)
    return (
        f"Of {count} pairs {learnt} are learnt (below a tenth of full strength), {wrong} are "
        f"ranked clearly wrong (above nine tenths), {count - learnt - wrong} lie between; {tail}"
    )


def heaviest_share(masses: Sequence[float], tenth: float = 0.1) -> float:
    """Share of the total that the largest tenth (one at least) holds."""
    ranked = sorted(masses, reverse=True)
    total = sum(ranked)
    held = sum(ranked[: max(1, round(tenth * len(ranked)))])
    return held / total if total else 0.0
