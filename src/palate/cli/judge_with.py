"""`palate judge STORE --judge-with`: a model or a program compares pairs, under its own name.

A verdict line, a table, the next command.  With `json` stdout holds one JSON object.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from palate.judge.by_endpoint import EndpointJudge
    from palate.judge.store import Store
    from palate.judge.verdicts import Agreement, Judge, Record
    from palate.stats import Interval

DEMO: Final = "demo"
LONGEST_RUBRIC: Final = 20_000  # characters
NAMES: Final = 26
GREY: Final = "\x1b[2m{}\x1b[0m"


@dataclass(frozen=True, slots=True)
class With:
    """Who is asked: an address or `demo`, the model there, and what it is told to judge by."""

    url: str
    model: str | None = None
    rubric: Path | None = None
    insecure: bool = False


def judge_with(store: Path, asked: With, *, n: int = 100, json: bool = False) -> None:
    """Bring the judge to `n` compared pairs of the store, and say how far to trust it.

    Raises UsageError, StoreError, EndpointError and ModelError; what was judged is kept, and the
    same call goes on.
    """
    from palate.errors import UsageError
    from palate.judge.store import Store
    from palate.judge.verdicts import record

    if not store.exists():
        raise UsageError(
            f"there is no store {store}.", hint=f"palate judge {store} --add FILE makes one."
        )
    with Store.open(store) as opened:
        judge = _judge(opened, asked)
        _compare(opened, judge, n)
        found = record(opened, judge.name)
    if json:
        _print_json(found)
        return
    lines = list(_page(found, _unread(judge)))
    for line in lines if found.trusted else map(_greyed, lines):
        print(line)
    for place, said in enumerate(_next(store, found)):
        print("next: " if place == 0 else "      ", said, sep="")


def _judge(store: "Store", asked: With) -> "Judge":
    from palate.errors import UsageError

    if asked.url == DEMO:
        from palate.demo.judge import DemoJudge

        if asked.model or asked.rubric:
            raise UsageError(
                "--judge-model and a rubric have no effect on the demo's judge.",
                hint="It is a program; leave them out.",
            )
        return DemoJudge()
    if not asked.model:
        raise UsageError("--judge-model is needed.", hint="Name a model that the server has.")
    return _by_endpoint(store, asked, asked.model)


def _by_endpoint(store: "Store", asked: With, model: str) -> "EndpointJudge":
    from palate.endpoint import Endpoint
    from palate.judge.by_endpoint import EndpointJudge
    from palate.judge.tags import tags_of

    endpoint = Endpoint(asked.url, model, insecure=asked.insecure)
    return EndpointJudge(endpoint, tags=tags_of(store), rubric=_rubric(asked.rubric))


def _rubric(path: Path | None) -> str:
    from palate.errors import UsageError

    if path is None:
        return ""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the rubric {path} cannot be read: {error}.", hint="Name a text."
        ) from None
    if len(text) > LONGEST_RUBRIC:
        what = f"the rubric {path} has {len(text):,} characters."
        raise UsageError(what, hint=f"A judge is told {LONGEST_RUBRIC:,} at most: say it shorter.")
    return text


def _compare(store: "Store", judge: "Judge", n: int) -> None:
    from palate.cli.show import shown
    from palate.errors import ModelError, UsageError
    from palate.judge.to_compare import to_compare
    from palate.judge.verdicts import run_judge

    couples = to_compare(store, judge.name, n)
    if not couples and not store.counts(judge.name):
        what = f"{store.path} holds no prompt with two answers."
        raise UsageError(what, hint="Draw some with palate sample, and add them to the store.")
    try:
        with shown(stderr=True) as listen:
            run_judge(store, judge, couples, listen=listen)
    except ModelError as error:
        done = sum(each.of.again is None for each in store.standing(judge.name))
        kept = f"{done} of {n} pairs are judged and kept; the same command goes on."
        raise ModelError(error.message, hint=f"{error.hint} {kept}".strip()) from error


def _unread(judge: "Judge") -> tuple[int, int]:
    """How many answers of this run could not be read, and of how many."""
    from palate.judge.by_endpoint import EndpointJudge

    return (judge.heard.unread, judge.heard.answers) if isinstance(judge, EndpointJudge) else (0, 0)


# -- what is shown


def _page(found: "Record", unread: tuple[int, int]) -> Iterator[str]:
    from palate.cli.words import duration, safe

    yield from _wrapped(safe(_verdict(found)))
    yield ""
    yield _row("pairs with a winner", f"{found.pairs}")
    yield _row("ties", f"{found.ties}")
    if found.skipped:
        yield _row("no verdict", f"{found.skipped}")
    if found.orders is not None:
        yield _row("same in both orders", found.orders.consistent.percent())
        yield _row("the first one either way", found.orders.first.percent())
        yield _row("the second one either way", found.orders.second.percent())
    if found.left is not None:
        yield _row("left won", f"{found.left.percent()} of {found.left.count} (99% interval)")
    for each in found.agreements:
        yield _row(f"agrees with {safe(each.person)[:12]}", _agreed(each))
    yield _row("questions asked", f"{found.calls} in {duration(found.seconds)}, all runs")
    if unread[0]:
        yield _row("not to be read", f"{unread[0]} of {unread[1]} answers of this run")
    yield ""


def _verdict(found: "Record") -> str:
    """One sentence: what it did, whether it can be trusted, and with whom it agrees."""
    from palate.study.orders import GREY_SOURCE

    compared = found.pairs + found.ties
    told = f"{found.name} compared {compared} {'pair' if compared == 1 else 'pairs'}"
    if found.orders is None:
        return f"{told}, in one order. {_with_whom(found)}"
    rate = found.orders.consistent
    told += f" in both orders and gave the same verdict in {rate.percent()} of them"
    if not found.trusted:
        return f"{told}: under 65%, so it is greyed out ({GREY_SOURCE}). {_with_whom(found)}"
    return f"{told}; where it did not, the pair is a tie. {_with_whom(found)}"


def _with_whom(found: "Record") -> str:
    rated = [each for each in found.agreements if each.rate is not None]
    if not rated:
        return "Nobody has judged the same pairs, so whether it shares your taste is not known."
    told = [f"{_share(each.rate)} of {each.rate.count} with {each.person}" for each in rated]  # type: ignore[union-attr]
    return f"It chose the same answer in {'; '.join(told)}."


def _agreed(each: "Agreement") -> str:
    aside = f"; {each.open} with a tie left out" if each.open else ""
    if each.rate is None:
        return f"not known{aside}"
    return f"{each.rate.percent()} of {each.rate.count} pairs{aside}"


def _share(rate: "Interval | None") -> str:
    return "" if rate is None else rate.percent()


def _row(name: str, text: str) -> str:
    return f"  {name}".ljust(NAMES + 2) + text


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100)


def _greyed(line: str) -> str:
    """Grey on a terminal; plain in a pipe, where the words say it."""
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR")) or not line
    return line if plain else GREY.format(line)


def _next(store: Path, found: "Record") -> Iterator[str]:
    data, name = quote(str(store)), quote(found.name)
    if not found.agreements:
        yield f"palate judge {data}"
    yield f"palate taste {data} --judge {name}"


def _print_json(found: "Record") -> None:
    import json as as_text
    from dataclasses import asdict

    told: dict[str, Any] = asdict(found) | {"trusted": found.trusted}
    print(as_text.dumps(told, ensure_ascii=False, allow_nan=False))
