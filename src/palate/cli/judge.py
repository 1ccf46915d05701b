"""`palate judge`: bring answers in, judge them at the page or by a judge that is no person, export.

Without --export and --judge-with it serves the page until Ctrl-C or until the page says that it is
done.
"""

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from palate.config import JudgeOptions
from palate.study.checks.words import listed, plural

if TYPE_CHECKING:
    from palate.judge.app import Reading, Setting
    from palate.judge.arrivals import Added
    from palate.judge.departures import Exported
    from palate.judge.serve import Address
    from palate.judge.store import Store

ME: Final = "me"
WAIT: Final = 2.0  # seconds that a call of the page waits for another process
AT_THE_PAGE: Final = ("mode", "tags", "why", "goal", "model", "port", "no_browser")
OF_EXPORT: Final = ("split", "include")
OF_JUDGE_WITH: Final = ("judge_model", "rubric", "n", "insecure")
OF_ADD: Final = ("map", "format")


def judge(
    store: Path,
    /,
    *,
    add: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = (),
    export: Path | None = None,
    options: Annotated[JudgeOptions, Parameter(name="*")] = JudgeOptions(),  # noqa: B008 (frozen)
    json: bool = False,
) -> int:
    """Say which of two answers is better.

    Parameters
    ----------
    store:
        one file that holds prompts, answers and every verdict; made if it is not there
    add:
        files to take in first: samples, pairs, ranked lists, prompts
    export:
        write the pairs to this file, and serve no page
    json:
        with --judge-with: one JSON object on stdout
    """
    from palate.errors import StoreError, UsageError
    from palate.judge.store import Store

    _check(options, bool(add), export)
    if json and options.judge_with is None:
        raise UsageError("--json has no effect without --judge-with.", hint="Leave it out.")
    new = not store.exists()
    if new and not add and (export is not None or options.mode != "write" or options.judge_with):
        hint = "--add FILE makes one, and so does --mode write."
        raise StoreError(f"there is no store {store}.", hint=hint)
    try:
        with Store.open(store, wait=WAIT) as opened:
            for line in _taken_in(opened, add, options):
                print(line, file=sys.stderr if json else sys.stdout)
            new = False
            if export is not None:
                return _export(opened, export, options)
            if options.judge_with is None:
                return _serve(opened, options)
    except BaseException:
        if new:
            _remove(store)
        raise
    return _judge_with(store, options, json)


def _check(options: JudgeOptions, adding: bool, export: Path | None) -> None:
    """An option without effect is an error.  Raises UsageError."""
    from palate.errors import UsageError

    asked = options.model_fields_set
    without = {} if adding else dict.fromkeys(OF_ADD, "--add")
    if export is None:
        without |= dict.fromkeys(OF_EXPORT, "--export")
    if options.judge_with is None:
        without |= dict.fromkeys(OF_JUDGE_WITH, "--judge-with")
    elif export is not None:
        raise UsageError("--export and --judge-with are two commands.", hint="Give them in turn.")
    for name, needs in without.items():
        if name in asked:
            raise UsageError(f"{_flag(name)} has no effect without {needs}.", hint="Leave it out.")
    to = "--export" if export is not None else "--judge-with" if options.judge_with else ""
    quiet = AT_THE_PAGE if export is not None else (*AT_THE_PAGE, "judge")
    for name in quiet if to else ():
        if name in asked:
            raise UsageError(f"{_flag(name)} has no effect with {to}.", hint="Leave it out.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _remove(store: Path) -> None:
    """A store that was made a moment ago, and that nothing came into."""
    for end in ("", "-wal", "-shm"):
        with suppress(OSError):
            Path(f"{store}{end}").unlink()


def _taken_in(store: "Store", files: Sequence[str], options: JudgeOptions) -> Iterator[str]:
    from palate.judge.arrivals import add_file

    for path in files:
        yield from _added(
            add_file(store, path, mapping=",".join(options.map), format=options.format)
        )


def _added(added: "Added") -> Iterator[str]:
    parts = [
        plural(added.prompts, "new prompt"),
        plural(added.answers, "new answer"),
        *([plural(added.judgements, "judgement")] if added.judgements else []),
    ]
    there = f"; {added.repeated:,} were there already" if added.repeated else ""
    yield _safe(f"{added.path}: {listed(parts)}{there}")
    yield from (_safe(f"  {note}") for note in added.notes)


# ---- the page


def _serve(store: "Store", options: JudgeOptions) -> int:
    """Serve until it ends.  Returns 0, or the exit code of the signal that ended it."""
    from palate.judge.serve import Around, serve

    setting = _setting(store, options)
    store.add_judge(setting.judge, "person")
    reading = _reading(store, options)
    if options.mode == "recheck":
        print("looking for labels that the other pairs contradict ...", flush=True)

    def ready(address: "Address") -> None:
        for line in _opening(store, setting, address):
            print(line, flush=True)

    try:
        done = serve(
            store,
            setting,
            Around(
                port=options.port,
                browser=not options.no_browser,
                ready=ready,
                report=_report,
                reading=reading,
            ),
        )
    finally:
        if reading is not None and hasattr(reading, "close"):
            reading.close()
    print()
    for line in _ending(store, setting.judge, done.given):
        print(line)
    return 128 + done.signal if done.signal else 0


def _setting(store: "Store", options: JudgeOptions) -> "Setting":
    """What the page is told; judge and tags are remembered."""
    from palate.judge.app import Setting
    from palate.judge.tags import keep_tags, tags_of

    name = options.judge or store.meta("judge") or ME
    tags = options.tags or tags_of(store)
    with store.transaction():
        store.set_meta("judge", name)
        keep_tags(store, tags)
    title = store.meta("title") or store.path.stem
    return Setting(name, options.mode, tags, options.why, options.goal, title)


def _reading(store: "Store", options: JudgeOptions) -> "Reading | None":
    """With --model: the model is loaded beside the page, which does not wait for it."""
    if options.model is None:
        return None
    from palate.study.live import Reader
    from palate.study.plausible import Plausible

    return Reader(Plausible(options.model, [each.text for each in store.prompts()][:64]))


def _opening(store: "Store", setting: "Setting", address: "Address") -> Iterator[str]:
    prompts, answers = store.size("prompt"), store.size("answer")
    judged = sum(store.counts(setting.judge).values())
    yield _safe(
        f"{store.path}: {plural(prompts, 'prompt')}, {plural(answers, 'answer')}; "
        f"{setting.judge} gave {plural(judged, 'verdict')} so far"
    )
    if not answers and setting.mode != "write":
        yield "nothing to compare yet: --add a file of samples, or write pairs on the page (w)"
    if address.instead_of is not None:
        yield f"port {address.instead_of} is used by another program, so it is {address.port} now"
    yield f"open  {address.url}"
    yield "      the link is the key to this store; Ctrl-C ends, and so does the page"


def _ending(store: "Store", judge: str, given: int) -> Iterator[str]:
    from palate.judge.ledger import Ledger

    counts, data = Ledger.read(store, judge).counts(), quote(str(store.path))
    rest = [
        plural(counts.pairs, "pair"),
        plural(counts.ties, "tie"),
        f"{counts.both_bad:,} both bad",
        f"{counts.skipped:,} skipped",
    ]
    more = f"{plural(given, 'more verdict')}: " if given > 0 else ""
    yield _safe(f"{more}{listed(rest)}, all saved in {store.path}")
    yield f"next: palate judge {data} --export pairs.jsonl"
    yield f"      palate taste {data}"


def _report(error: Exception) -> None:
    """A bug behind the page: the page goes on, and whoever started it should know."""
    traceback.print_exception(error, file=sys.stderr)
    print("error: this is a bug in palate: please report it, with the lines above", file=sys.stderr)


# ---- the other two


def _export(store: "Store", out: Path, options: JudgeOptions) -> int:
    from palate.judge.departures import write_export

    judges = () if options.judge is None else (options.judge,)
    wanted: list = list(options.include)  # type: ignore[type-arg]  # checked by the options
    done = write_export(store, out, judges=judges, split=options.split, include=wanted)
    for line in _exported(store, done, judges):
        print(line)
    return 0


def _exported(store: "Store", done: "Exported", judges: Sequence[str]) -> Iterator[str]:
    """What was written and what was not, then what to do with it."""
    from palate.cli.words import safe

    written = [f"{plural(done.pairs, 'pair')} in {done.path}"]
    written += [f"{count:,} in {path}" for path, count in done.beside]
    yield safe(listed(written))
    names = judges or [name for name, kind in store.judges().items() if kind in ("person", "file")]
    counts = [store.counts(name) for name in names]
    kept = {
        "tie": "ties",
        "both_bad": "both bad",
        "skip": "skipped",
    }
    sums = [(sum(each.get(name, 0) for each in counts), says) for name, says in kept.items()]  # type: ignore[call-overload]
    if any(count for count, _ in sums):
        told = listed([f"{count:,} {says}" for count, says in sums if count])
        yield f"no pairs, and kept in the store: {told}"
    for name, count in done.left_out.items():
        yield safe(
            f"left out: {plural(count, 'pair')} of {name}; --judge {quote(name)} exports them"
        )
    if not done.pairs:
        yield f"next: palate judge {quote(str(store.path))}"
        return
    data = quote(str(done.path))
    heldout = next((path for path, _ in done.beside if ".heldout" in path.name), None)
    asked = f" --heldout {quote(str(heldout))}" if heldout else ""
    yield f"next: palate doctor {data}{asked}"
    yield f"      palate dpo --model runs/sft --data {data}{asked} --out runs/dpo"


def _judge_with(store: Path, options: JudgeOptions, json: bool) -> int:
    from palate.cli.judge_with import With, judge_with

    assert options.judge_with is not None
    asked = With(options.judge_with, options.judge_model, options.rubric, options.insecure)
    judge_with(store, asked, n=options.n, json=json)
    return 0


def _safe(text: str) -> str:
    from palate.cli.words import safe

    return safe(text)
