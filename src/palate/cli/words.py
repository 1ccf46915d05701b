"""Figures and events as short text: three significant digits, real minus signs, units."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palate.train.events import Evaluation, Round, Step

_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def safe(text: str) -> str:
    """Text that a model or a file wrote, without the characters that command a terminal."""
    return text.translate(_CONTROLS)


def figure(value: float) -> str:
    """Three significant digits: −0.0123, 1.20, 48.0, 13,400."""
    if value != value or abs(value) == float("inf"):
        return str(value)
    if abs(value) >= 1000:
        text = f"{float(f'{value:.3g}'):,.0f}"
    else:
        text = f"{value:#.3g}".removesuffix(".")
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """A figure that is a difference: its sign is always there."""
    return figure(value) if value < 0 else "+" + figure(value)


def duration(seconds: float) -> str:
    """`8 s`, `2 min 10 s`, `3 h 05 min`."""
    whole = max(0, round(seconds)) if seconds < float("inf") else 0
    minutes, hours = whole // 60, whole // 3600
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def speed(step: "Step") -> str:
    """`18.2 pairs/s`."""
    return f"{figure(step.items_per_second)} {'pairs' if step.margin is not None else 'rows'}/s"


def regimes(step: "Step") -> str:
    """`learnt 12 · undecided 3 · wrong 1`, or nothing where nothing is ranked."""
    if step.regimes is None:
        return ""
    found = step.regimes
    return f"learnt {found.learnt} · undecided {found.undecided} · wrong {found.wrong}"


def losses(step: "Step") -> str:
    """What the objective says about this step."""
    margin = "" if step.margin is None else f"  margin {signed(step.margin)}"
    return f"loss {figure(step.loss)}{margin}"


def step_line(step: "Step") -> str:
    """One optimiser step as a plain line."""
    parts = (
        f"step {step.step}/{step.total}",
        losses(step),
        regimes(step),
        speed(step),
        f"{duration(step.seconds_left)} left",
    )
    return "  ".join(part for part in parts if part)


def round_figures(found: "Round") -> str:
    """What an online step says of its texts."""
    parts = [
        f"score {figure(found.score)}",
        f"KL {figure(found.kl)} nats",
        f"entropy {figure(found.entropy)}",
        f"{figure(found.length)} tokens",
    ]
    if found.ended < 1:
        parts.append(f"{1 - found.ended:.0%} cut off")
    return "  ".join(parts)


def round_line(found: "Round") -> str:
    """One step of an online method as a plain line."""
    parts = (
        f"step {found.step}/{found.total}",
        round_figures(found),
        f"{figure(found.items_per_second)} texts/s",
        f"{duration(found.seconds_left)} left",
    )
    return "  ".join(parts)


def evaluation_line(found: "Evaluation") -> str:
    """The held-out split as one line: the loss, then what the pairs say, or the texts."""
    if found.score is not None:
        line = f"held out, step {found.step}: score {found.score} on {found.items} texts"
        nats = "" if found.kl is None else f"  KL {figure(found.kl)} nats"
        return line + nats + ("  (best so far)" if found.best else "")
    noun = "rows" if found.accuracy is None else "pairs"
    parts = [f"held out, step {found.step}: loss {figure(found.loss)} on {found.items} {noun}"]
    if found.accuracy is not None:
        parts.append(f"accuracy {found.accuracy.percent()}")
    if found.margin is not None:
        parts.append(f"margin {signed(found.margin)}")
    if found.chosen_change is not None:
        parts.append(f"chosen {signed(found.chosen_change)} nats")
    if found.rejected_change is not None:
        parts.append(f"rejected {signed(found.rejected_change)} nats")
    return "  ".join(parts) + ("  (best so far)" if found.best else "")
