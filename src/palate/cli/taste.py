"""`palate taste`: the taste so far on one page, in the terminal or as HTML; a rubric, a model card.

With `--json` stdout holds one JSON object and nothing else.  A rubric and a section are drafts that
somebody edits, so neither is ever written over a file.
"""

import json as as_text
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from palate.data.judged import JudgeKind, Judgement
    from palate.judge.store import Store
    from palate.study.taste import Contradiction, Taste

WIDTH: Final = 100
REASONS, QUOTES, CLASHES = 8, 8, 5
CUT: Final = 220  # characters of a text


def taste(
    store: Path,
    /,
    *,
    html: Path | None = None,
    rubric: Path | None = None,
    card: Path | None = None,
    judge: str | None = None,
    json: bool = False,
) -> None:
    """The taste so far, in words.

    Parameters
    ----------
    store:
        a store of palate judge
    html:
        write one self-contained page
    rubric:
        write a draft of checks that the verdicts suggest, in TOML
    card:
        write a section for a model card, in Markdown
    judge:
        whose taste (default: the person with the most verdicts)
    json:
        one JSON object on stdout
    """
    _check_places(html, rubric, card)
    found, others = _read(store, judge)
    written = list(_write(found, html, rubric, card))
    if json:
        print(as_text.dumps(_as_json(found), ensure_ascii=False, allow_nan=False))
        return
    for line in _page(found):
        print(_safe(line))
    if others:
        print(f"also judged by {_safe(', '.join(others))}: --judge NAME")
    for path in written:
        print(f"written: {path}")
    for place, said in enumerate(_next(store, html, rubric)):
        print("next: " if place == 0 else "      ", said, sep="")


def _read(path: Path, judge: str | None) -> "tuple[Taste, list[str]]":
    """The taste of one judge, and who else judged."""
    from palate.errors import UsageError
    from palate.judge.store import Store
    from palate.study.taste import taste as told

    if not path.exists():
        raise UsageError(
            f"there is no store {path}.",
            hint=f"palate judge {quote(str(path))} --add FILE makes one.",
        )
    with Store.open(path) as store:
        kinds = store.judges()
        name = _whose(store, judge)
        found = told(store.standing(name), name, kinds[name])
        others = [each for each in kinds if each != name and any(store.counts(each).values())]
    return found, others


def _whose(store: "Store", asked: str | None) -> str:
    """The judge that was asked for, or the one with the most verdicts, persons first."""
    from palate.errors import UsageError

    kinds = store.judges()
    if asked is not None:
        if asked not in kinds:
            there = ", ".join(kinds) or "nobody yet"
            raise UsageError(f"{store.path} has no judge '{asked}'.", hint=f"It has: {there}.")
        return asked
    counts = {name: sum(store.counts(name).values()) for name in kinds}
    judged = [name for name in kinds if counts[name]]
    if not judged:
        raise UsageError(
            f"nothing in {store.path} is judged yet.", hint=f"palate judge {quote(str(store.path))}"
        )
    order: dict[JudgeKind, int] = {"person": 0, "file": 1, "model": 2, "program": 2}
    return min(judged, key=lambda name: (order[kinds[name]], -counts[name]))


# -- files


def _check_places(html: Path | None, rubric: Path | None, card: Path | None) -> None:
    """Before anything is written: each place can take what is meant for it."""
    from palate.errors import UsageError
    from palate.report.page import check_place

    if html is not None:
        check_place(html)
    for flag, path in (("--rubric", rubric), ("--card", card)):
        if path is not None and path.exists():
            raise UsageError(
                f"{flag} {path} is there already, and may hold your changes.",
                hint="Name another file, or take it away.",
            )
    named = [path.absolute() for path in (html, rubric, card) if path is not None]
    if len(set(named)) < len(named):
        raise UsageError("two of the files to write have one name.", hint="Name each its own.")


def _write(
    found: "Taste", html: Path | None, rubric: Path | None, card: Path | None
) -> Iterator[Path]:
    """Each file whole or not at all."""
    from palate.report.card import section
    from palate.report.page import save
    from palate.report.taste import page
    from palate.runs import atomic
    from palate.study.rubric import as_toml

    if html is not None:
        save(page(found), html)
        yield html
    for path, make in ((rubric, as_toml), (card, section)):
        if path is not None:
            atomic.make_folder(path.parent)
            with atomic.disk_errors(path):
                atomic.write_file(path, make(found).encode("utf-8", "replace"))
            yield path


# -- the terminal


def _page(found: "Taste") -> Iterator[str]:
    from palate.study.beside import in_words
    from palate.study.tally import sentences
    from palate.study.taste import contradictions_in_words, headline

    yield from textwrap.wrap("".join(headline(found)), WIDTH)
    yield ""
    yield from _reasons(found)
    if found.pairs:
        yield "what wins beside the reasons (99% intervals)"
        for each in found.beside:
            yield from _item(in_words(each, found.who))
        yield ""
    yield "how sure, and enough for what"
    for said in sentences(found.tally, found.who):
        yield from _item(said)
    yield ""
    yield contradictions_in_words(found)
    for clash in found.contradictions[:CLASHES]:
        yield from _clash(clash)
    yield from _more(len(found.contradictions) - CLASHES)
    yield ""
    if found.quotes:
        yield "in the judge's own words"
        for quoted in found.quotes[:QUOTES]:
            times = f" ({quoted.count} times)" if quoted.count > 1 else ""
            yield from _item(f"“{_line(quoted.text)}”{times}")
        yield from [*_more(len(found.quotes) - QUOTES), ""]


def _reasons(found: "Taste") -> Iterator[str]:
    if not found.reasons:
        return
    yield "why the better one is better"
    for reason in found.reasons[:REASONS]:
        yield f"  {reason.tag} {reason.count}"
        for example in reason.examples:
            yield from _example(example)
    more = [f"{each.tag} {each.count}" for each in found.reasons[REASONS:]]
    if more:
        yield from _item("and: " + ", ".join(more))
    yield ""


def _example(judgement: "Judgement") -> Iterator[str]:
    from palate.study.taste import own_words

    assert judgement.chosen is not None and judgement.rejected is not None
    named = {
        "prompt": judgement.of.prompt.text,
        "chosen": judgement.chosen.text,
        "rejected": judgement.rejected.text,
        "why": own_words(judgement),
    }
    for name, text in named.items():
        if text:
            first, other = f"    {name.ljust(9)} ", " " * 14
            yield from textwrap.wrap(
                _line(text), WIDTH, initial_indent=first, subsequent_indent=other
            )
    yield ""


def _clash(clash: "Contradiction") -> Iterator[str]:
    from palate.study.taste import CLASHES as WORDS

    yield f"  {_line(clash.judgements[0].of.prompt.text, 80)}: {WORDS[clash.kind]}"
    for each in clash.judgements:
        assert each.chosen is not None and each.rejected is not None
        yield from _item(f"“{_line(each.chosen.text, 90)}” over “{_line(each.rejected.text, 90)}”")


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _more(count: int) -> list[str]:
    return [f"  and {count} more"] if count > 0 else []


def _line(text: str, most: int = CUT) -> str:
    """On one line, cut."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def _safe(text: str) -> str:
    from palate.cli.words import safe
    from palate.report.taste import visible

    return visible(safe(text))


def _next(store: Path, html: Path | None, rubric: Path | None) -> Sequence[str]:
    data = quote(str(store))
    if html is not None:
        return [f"open {html}"]
    drafted = [] if rubric is not None else [f"palate taste {data} --rubric rubric.toml"]
    return [f"palate taste {data} --html taste.html", *drafted]


# -- for programs


def _as_json(found: "Taste") -> dict[str, Any]:
    from palate.study import tally

    return {
        "judge": found.judge,
        "kind": found.kind,
        "tally": tally.as_json(found.tally, found.who),
        "silent": found.silent,
        "reasons": [
            {"tag": each.tag, "count": each.count, "examples": [_pair(j) for j in each.examples]}
            for each in found.reasons
        ],
        "beside": [_beside(each, found) for each in found.beside],
        "contradictions": [
            {"kind": each.kind, "verdicts": [_pair(j) for j in each.judgements]}
            for each in found.contradictions
        ],
        "quotes": [{"text": each.text, "count": each.count} for each in found.quotes],
    }


def _pair(judgement: "Judgement") -> dict[str, Any]:
    assert judgement.chosen is not None and judgement.rejected is not None
    return {
        "id": judgement.id,
        "prompt": judgement.of.prompt.text,
        "chosen": judgement.chosen.text,
        "rejected": judgement.rejected.text,
        "strength": judgement.strength,
        "tags": list(judgement.tags),
        "reason": judgement.reason,
    }


def _beside(each: Any, found: "Taste") -> dict[str, Any]:
    from palate.study.beside import in_words

    rate = each.rate
    figures = None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high}
    return {
        "name": each.figure.name,
        "differ": each.count,
        "more": each.more,
        "rate": figures,
        "outcome": each.outcome,
        "said": each.tagged,
        "kept": each.kept,
        "says": in_words(each, found.who),
    }
