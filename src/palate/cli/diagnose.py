"""`palate diagnose`: a verdict, then what was measured, against what, and what to do about it.

With `--json` stdout holds one JSON object and nothing else; progress goes to stderr.
"""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

if TYPE_CHECKING:
    from palate.study.diagnose import Diagnosis
    from palate.study.findings import Finding, Live

WIDTH = 100
NAMES = 22


def diagnose(
    run: Path,
    /,
    *,
    json: bool = False,
    prompts: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 32,
) -> None:
    """What happened to a run, in words.

    Parameters
    ----------
    run:
        a run of palate dpo
    json:
        one JSON object on stdout
    prompts:
        held-out prompts that both models write a text for
    """
    from palate.cli.show import shown
    from palate.study.diagnose import diagnose as measured

    with shown(stderr=True) as listen:
        found = measured(run, prompts, listen)
    if json:
        _print_json(found)
        return
    for line in _page(found):
        print(line)


def _print_json(found: "Diagnosis") -> None:
    import json

    from palate.study.findings import as_json, chosen_question

    body = {
        "run": str(found.run),
        "verdict": found.verdict,
        "sentence": sentence(found),
        "chosen": None if found.live is None else chosen_question(found.live),
        "findings": as_json(found.found),
        "measures": found.measures(),
    }
    print(json.dumps(body, ensure_ascii=False))


def sentence(found: "Diagnosis") -> str:
    """The verdict."""
    bad = next((finding for finding in found.found if finding.is_bad), None)
    if bad is not None:
        return f"{found.verdict}: {bad.verdict}"
    if found.live is None:
        return "healthy, as far as the curves tell"
    seen = f"{found.live.pairs} {'held-out' if found.live.held_out else 'training'} pairs"
    return (
        f"healthy: chosen is preferred in {found.live.accuracy.percent()} of {seen}, "
        "and the texts are as sound as before"
    )


def _page(found: "Diagnosis") -> Iterator[str]:
    from palate.study.findings import chosen_question

    yield from textwrap.wrap(sentence(found), WIDTH)
    yield ""
    if found.live is not None:
        yield "my chosen log-prob goes down, is that normal?"
        yield from _wrapped(chosen_question(found.live))
        yield ""
        yield from _masses(found.live)
        yield from _fell(found.live)
        yield ""
    for finding in found.found:
        if finding.is_bad:
            yield from _trouble(finding)
    fine = [finding for finding in found.found if not finding.is_bad]
    if fine:
        yield "looked at, and fine"
        for finding in fine:
            yield from _beside(finding.name, finding.measured)
            yield from _beside("", f"trouble: {finding.bound}")
    curves = found.curves
    if curves.best_step < curves.steps:
        yield ""
        yield f"final/ holds step {curves.best_step} of {curves.steps}, the best held-out loss"
    yield ""
    yield f"next: palate history {quote(str(found.run))}"


def _trouble(finding: "Finding") -> Iterator[str]:
    yield finding.name
    yield from _beside("measured", finding.measured)
    yield from _beside("trouble", f"{finding.bound} ({finding.source})")
    yield from _beside("do", finding.todo)
    yield ""


def _masses(live: "Live") -> Iterator[str]:
    """Where the probability went: the start beside the final weights."""
    start, final, texts, now = live.start, live.final, live.start_texts, live.final_texts
    end = [("end token's probability, at chosen's end", start.end, final.end, "{:.0%}")]
    rows = [
        ("entropy at chosen's tokens, nats", start.entropy, final.entropy, "{:.2f}"),
        ("likeliest token's probability there", start.top, final.top, "{:.0%}"),
        *(end if start.end is not None else []),
        ("texts: length, tokens", texts.length.value, now.length.value, "{:.0f}"),
        ("texts: ended by themselves", texts.ended.value, now.ended.value, "{:.0%}"),
        ("texts: repetition (runs of four tokens)", texts.repetition.value, now.repetition.value,
         "{:.0%}"),
        ("texts: divergence from the start, nats/token", 0.0, live.drift.value, "{:.2f}"),
        ("texts: surprise to the start, nats/token", texts.surprise.value, now.surprise.value,
         "{:.2f}"),
    ]  # fmt: skip
    yield f"where the mass went, on {live.pairs} pairs and {live.prompts} texts".ljust(52) + (
        "start".rjust(8) + "final".rjust(8)
    )
    for name, old, new, form in rows:
        yield f"  {name}".ljust(52) + form.format(old).rjust(8) + form.format(new).rjust(8)


def _fell(live: "Live") -> Iterator[str]:
    from palate.cli.words import figure, safe

    if live.fell_most:
        named = ", ".join(f"{safe(Path(row).name)} ({figure(by)})" for row, by in live.fell_most)
        yield from _wrapped(f"chosen fell most, nats per token: {named}")


def _beside(name: str, text: str) -> list[str]:
    """A name, and its text wrapped in a column of its own."""
    first, other = f"  {name}".ljust(NAMES), " " * NAMES
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=other)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH - 2, initial_indent="  ", subsequent_indent="    ")
