"""`palate teach`: the rounds as they come, then one sentence, a table, and what to do next."""

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from palate.config import TeachOptions
from palate.study.checks.words import plural

if TYPE_CHECKING:
    from palate.judge.app import Setting
    from palate.judge.serve import Address
    from palate.judge.store import Store
    from palate.judge.verdicts import Judge
    from palate.stats import Interval
    from palate.teach.figures import RoundFigures
    from palate.teach.loop import Taught
    from palate.teach.voices import Task, Voice
    from palate.train.events import Listener

DEMO: Final = "demo"
HEAD: Final = ("round", "judged", "ties", "pairs", "step", "wins against the start", "of")


def teach(
    model: str,
    prompts: str,
    /,
    *,
    options: Annotated[TeachOptions, Parameter(name="*")],
) -> None:
    """Teach a model in rounds.

    Parameters
    ----------
    model:
        where every round starts: a run of palate, or any Hugging Face folder
    prompts:
        a file whose rows have a prompt; a fifth of them is held out
    """
    from palate.cli.show import shown
    from palate.teach.loop import teach as run

    voice = _voice(options)
    with shown() as listen:
        done = run(model, prompts, options, voice, listen)
    for line in _page(done, model):
        print(line)
    for place, command in enumerate(_next(done, model, prompts, options)):
        print("next: " if place == 0 else "      ", command, sep="")


# -- who judges


def _voice(options: TeachOptions) -> "Voice":
    """The judge that was asked for.  Raises UsageError."""
    from palate.errors import UsageError
    from palate.teach.voices import Asked

    if options.judge_with is None or options.judge_with == DEMO:
        if options.judge_model:
            raise UsageError(
                "--judge-model has no effect here.", hint="Give --judge-with the server's address."
            )
        return Asked(_demo()) if options.judge_with else _person()
    if not options.judge_model:
        raise UsageError("--judge-model is needed.", hint="Name a model that the server has.")
    from palate.endpoint import Endpoint
    from palate.judge.by_endpoint import EndpointJudge

    return Asked(EndpointJudge(Endpoint(options.judge_with, options.judge_model)))


def _person() -> "Voice":
    """You, under the name that `palate judge` gives you too."""
    from palate.cli.judge import ME
    from palate.teach.voices import AtThePage

    return AtThePage(ME, _show)


def _show(store: "Store", task: "Task", more: int, listen: "Listener") -> bool:
    """The page, until its end.  Returns whether that many verdicts were given."""
    from palate.errors import Interrupted
    from palate.judge.serve import Around, serve
    from palate.train.events import Note

    def ready(address: "Address") -> None:
        listen(Note(f"{task.title}: {plural(more, 'pair')} to judge at  {address.url}"))
        listen(Note("the link is the key to the store; end the page, and the round goes on"))

    done = serve(store, _setting(store, task, more), Around(ready=ready))
    if done.signal:
        raise Interrupted(
            f"{plural(done.given, 'verdict')} given and saved.",
            exit_code=128 + done.signal,
            hint="The same command goes on.",
        )
    return done.given >= more


def _setting(store: "Store", task: "Task", more: int) -> "Setting":
    """What the page is told: the tags are those of the store, where it has some."""
    from palate.cli.judge import ME
    from palate.judge.app import Setting
    from palate.judge.tags import tags_of

    return Setting(ME, task.mode, tags_of(store), goal=more, title=task.title)


def _demo() -> "Judge":
    from palate.demo.judge import DemoJudge

    return DemoJudge()


# -- what is said at the end


def _page(done: "Taught", model: str) -> Iterator[str]:
    yield ""
    yield _verdict(done, model)
    if done.rounds:
        yield ""
        yield from _table([HEAD, *map(_cells, done.rounds)])
        if len(done.rounds) > 1:
            yield "pairs: all so far; every round starts again from the same model"
    if any(each.step == 0 for each in done.rounds):
        yield "warning: step 0 is the starting model: nothing learnt in that round carried over"


def _verdict(done: "Taught", model: str) -> str:
    """One sentence: how much was judged, and what came of it."""
    from palate.cli.words import safe

    if not done.rounds:
        return f"no round is finished: round {done.waiting} waits for your verdicts"
    last = done.rounds[-1]
    judged = sum(each.judged for each in done.rounds)
    rate = last.wins.rate
    told = f"after {judged} judgements in {plural(len(done.rounds), 'round')}"
    if rate is None:
        return f"{told} nothing could be compared with {safe(model)}"
    known = "beats" if rate.low > 0.5 else "loses to" if rate.high < 0.5 else ""
    verb = known or "cannot be told from"
    waits = f"; round {done.waiting} waits for your verdicts" if done.waiting else ""
    return (
        f"{told} the policy {verb} {safe(model)}: it wins {rate.percent()} of"
        f" {last.wins.count} held-out prompts{waits}"
    )


def _cells(each: "RoundFigures") -> tuple[str, ...]:
    return (
        str(each.round),
        str(each.judged),
        str(each.ties),
        str(each.pairs),
        f"{each.step}/{each.steps}",
        _rate(each.wins.rate),
        str(each.wins.count),
    )


def _rate(rate: "Interval | None") -> str:
    return "–" if rate is None else rate.percent()


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths))


def _next(done: "Taught", model: str, prompts: str, options: TeachOptions) -> Iterator[str]:
    """What comes after: the rest of this round, or a look at what was learnt."""
    if done.waiting is not None:
        yield _command(model, prompts, options)
    if done.policy is not None:
        yield f"palate chat {quote(str(done.policy))}"
        yield f"palate history {quote(str(done.policy))}"
    yield f"palate taste {quote(str(done.path / 'store.db'))}"
    if done.waiting is None:
        one_more = options.model_copy(update={"rounds": len(done.rounds) + 1})
        yield _command(model, prompts, one_more)


def _command(model: str, prompts: str, options: TeachOptions) -> str:
    """The same command again, with every flag that was given."""
    asked = options.model_dump(mode="json")
    given = [name for name in asked if name in options.model_fields_set]
    words = ["palate", "teach", quote(model), quote(prompts)]
    for name in given:
        flag, value = f"--{name.replace('_', '-')}", asked[name]
        if value is True:
            words.append(flag)
        elif value not in (None, False, []):
            written = ",".join(value) if isinstance(value, list) else str(value)
            words += [flag, quote(written)]
    return " ".join(words)
