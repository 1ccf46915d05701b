"""Completions for a file of prompts: which texts are drawn, which again, and what is recorded.

A text is a function of (prompt, draw, seed, settings); `draw` counts the texts of one prompt, the
first ones being its indexes.  Of several, one that is empty or nearly another one is left out and
its index drawn again, `MORE` times per prompt at most; what was left out is counted, never hidden.
"""

import hashlib
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from palate.config import SampleConfig
from palate.data.rows import Example, Text
from palate.data.sources import parse_map, read_prompts
from palate.errors import Interrupted, PalateError, UsageError
from palate.study.checks.facts import TENS
from palate.study.checks.words import ONES
from palate.study.sampling_file import SampleFile
from palate.train.events import Listener, Note, Working

MORE: Final = 4  # further draws for a prompt whose texts are nearly the same; our default
NEAR: Final = 0.95  # of the letters: from here on two texts are nearly the same; our default
NUMBER: Final = re.compile(rf"\d+(?:[.,]\d+)*|\b(?:{'|'.join((*ONES, *TENS))})\b")
Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """One text to draw: for which row, the how-manieth of its prompt, and how warm."""

    row: Example
    index: int
    draw: int
    temperature: float
    top_p: float

    @property
    def prompt(self) -> Text:
        assert self.row.prompt is not None
        return self.row.prompt


@dataclass(frozen=True, slots=True)
class Made:
    """A text.  `logp`: log-prob at temperature 1 in nats, summed over its `tokens`, the end among
    them if it `ended`; None where the engine did not see it."""

    text: str
    ended: bool
    tokens: int | None = None
    logp: float | None = None


class Sampler(Protocol):
    """Whatever writes texts: transformers, a server, vLLM."""

    @property
    def about(self) -> Mapping[str, Any]:
        """What is recorded beside every text; it must not change while a file grows."""

    @property
    def size(self) -> int:
        """How many texts it likes to be asked for at once."""

    def draw(self, asks: Sequence[Ask]) -> list[Made]:
        """The texts in the order of `asks`; those of one prompt stand together."""

    def close(self) -> None:
        """Let go of what it holds."""


def sample(
    model: str,
    prompts: str,
    config: SampleConfig,
    listen: Listener,
    *,
    out: Path | None = None,
    as_drawn: bool = False,
) -> tuple[Record, ...]:
    """Draw `config.n` completions for each prompt of a file, one record each.

    With `out` they are appended there as prompts finish; what is in it already is checked, kept and
    returned with the rest.  Raises PalateError; CheckpointError if `out` holds something else.
    """
    spread(config)
    rows = _prompts(prompts, config, listen)
    return sample_rows(model, rows, config, listen, out=out, as_drawn=as_drawn)


def sample_rows(
    model: str,
    rows: Sequence[Example],
    config: SampleConfig,
    listen: Listener,
    *,
    out: Path | None = None,
    as_drawn: bool = False,
) -> tuple[Record, ...]:
    """The same for rows that were read.  `as_drawn` keeps empty and near-identical texts, so that
    what is measured on them is measured on what the model says."""
    warmths = spread(config)
    with (
        closing(_sampler(model, config, rows, listen)) as sampler,
        nullcontext() if out is None else SampleFile(out) as file,
    ):
        plan = Plan(config, sampler, warmths, as_drawn)
        found = [] if file is None else _begun(file, plan, rows, listen)
        with nullcontext() if file is None else _told_what_is_safe(file, found, rows):
            for block in plan.blocks(rows[len(found) :]):
                if file is not None:
                    file.append(block)
                found.append(block)
                listen(Working("sampling", config.n * len(found), config.n * len(rows)))
        return tuple(record for block in found for record in block)


def spread(config: SampleConfig) -> list[tuple[float, float]]:
    """(temperature, top_p) of each index.  Raises UsageError for options without effect."""
    asked = config.model_fields_set
    for one, several in (("temperature", "temperatures"), ("top_p", "top_ps")):
        given: tuple[float, ...] = getattr(config, several)
        flag = "--" + several.replace("_", "-")
        if given and one in asked:
            what = f"{flag} and --{one.replace('_', '-')} say the same thing twice."
            raise UsageError(what, hint="Give one of them.")
        if len(given) > config.n:
            what = (
                f"{flag} has {len(given)} values for {config.n} completions: some have no effect."
            )
            raise UsageError(what, hint=f"Use --n {len(given)} or more, or fewer values.")
    warm = config.temperatures or (config.temperature,)
    likely = config.top_ps or (config.top_p,)
    found = [(warm[n % len(warm)], likely[n % len(likely)]) for n in range(config.n)]
    greedy = sum(temperature == 0 for temperature, _ in found)
    if greedy > 1:
        what = f"temperature 0 gives one text, and {greedy} of the {config.n} would be that one."
        raise UsageError(what, hint="Use it for one completion (--n 1), or warm the others.")
    if all(temperature == 0 for temperature, _ in found) and min(likely) < 1:
        raise UsageError("--top-p has no effect at temperature 0.", hint="Leave it out.")
    return found


def _prompts(source: str, config: SampleConfig, listen: Listener) -> list[Example]:
    """The rows whose prompts are drawn for: each prompt once, at its first line."""
    found = read_prompts(source, mapping=parse_map(config.map), format=config.format)
    for note in found.notes:
        listen(Note(note))
    first: dict[Text, Example] = {}
    for row in found.rows:
        if row.prompt is not None:
            first.setdefault(row.prompt, row)
    again = sum(count > 1 for count in Counter(row.prompt for row in found.rows).values())
    if again:
        told = "1 prompt occurs" if again == 1 else f"{again} prompts occur"
        listen(Note(f"{told} more than once; drawn once, at its first line"))
    return list(first.values())


def _sampler(
    model: str, config: SampleConfig, rows: Sequence[Example], listen: Listener
) -> Sampler:
    """The one that was asked for.  Heavy modules are imported by the one that needs them."""
    if config.endpoint is not None and config.vllm:
        raise UsageError("--endpoint and --vllm are two ways to draw.", hint="Give one of them.")
    if config.endpoint is not None:
        from palate.study.sampling_endpoint import AtEndpoint

        return AtEndpoint(model, config, rows, listen)
    if config.insecure:
        raise UsageError("--insecure has no effect without --endpoint.", hint="Leave it out.")
    if config.vllm:
        from palate.study.sampling_vllm import InVllm

        return InVllm(model, config, rows, listen)
    from palate.study.sampling_local import Local

    return Local(model, config, rows, listen)


# ---------------------------------------------------------------------- which texts


@dataclass(frozen=True, slots=True)
class Plan:
    """What is drawn for each prompt, by whom, and the records that come of it."""

    config: SampleConfig
    sampler: Sampler
    warmths: Sequence[tuple[float, float]]
    as_drawn: bool = False

    def blocks(self, rows: Sequence[Example]) -> Iterator[list[Record]]:
        """The records of each row, in order, as soon as all rows before it are done.

        Texts to be drawn again go together with the next prompts' first ones.
        """
        waiting, cases = deque(rows), deque[_Case]()
        while waiting or cases:
            turn = [(case, case.asks()) for case in cases]
            count = sum(len(asks) for _, asks in turn)
            while waiting and (count < self.sampler.size or not count):
                cases.append(_Case(waiting.popleft(), self.warmths, self.as_drawn))
                turn.append((cases[-1], cases[-1].asks()))
                count += len(self.warmths)
            texts = iter(self.sampler.draw([ask for _, asks in turn for ask in asks]))
            for case, asks in turn:
                case.take([(ask, next(texts)) for ask in asks])
            while cases and not cases[0].asks():
                yield self._records(cases.popleft())

    def settings(self, index: int) -> Record:
        """What a record of that index says of how it was made."""
        temperature, top_p = self.warmths[index]
        return {
            **self.sampler.about,
            "seed": self.config.seed,
            "n": self.config.n,
            "temperature": temperature,
            "top_p": top_p,
            "max_new_tokens": self.config.max_new_tokens,
            **({"as_drawn": True} if self.as_drawn else {}),
        }

    def _records(self, case: "_Case") -> list[Record]:
        found = []
        for index in sorted(case.kept):
            ask, made = case.kept[index]
            settings, prompt = self.settings(index), plain(ask.prompt)
            found.append(
                {
                    "id": made_by(settings, prompt, ask.draw),
                    "line": case.row.origin.line,
                    "prompt": prompt,
                    "index": index,
                    "completion": made.text,
                    "ended": made.ended,
                    "logp": made.logp,
                    "tokens": made.tokens,
                    "draw": ask.draw,
                    **settings,
                    "kept": len(case.kept),
                    "drawn": case.drawn,
                }
            )
        return found


@dataclass(slots=True)
class _Case:
    """One prompt while its texts are drawn: index -> the text that has it."""

    row: Example
    warmths: Sequence[tuple[float, float]]
    as_drawn: bool = False
    kept: dict[int, tuple[Ask, Made]] = field(default_factory=dict)
    empty: tuple[Ask, Made] | None = None
    drawn: int = 0

    def asks(self) -> list[Ask]:
        """What to draw next: every index first, then those without a text, within bounds."""
        n = len(self.warmths)
        missing = [index for index in range(n) if index not in self.kept]
        if self.drawn:  # the likeliest text would only come again
            missing = [index for index in missing if self.warmths[index][0] > 0]
        missing = missing[: n + MORE - self.drawn]
        return [
            Ask(self.row, index, self.drawn + place, *self.warmths[index])
            for place, index in enumerate(missing)
        ]

    def take(self, answers: Sequence[tuple[Ask, Made]]) -> None:
        """Keep what is not nearly another text of this prompt, in the order of draws."""
        for ask, made in answers:
            self.drawn += 1
            if self.as_drawn:
                self.kept[ask.index] = (ask, made)
            elif len(self.warmths) > 1 and not made.text.strip():
                self.empty = self.empty or (ask, made)
            elif not any(nearly_same(made.text, other.text) for _, other in self.kept.values()):
                self.kept[ask.index] = (ask, made)
        if self.empty and not self.kept and not self.asks():
            self.kept[self.empty[0].index] = self.empty  # better than no answer at all


def nearly_same(one: str, other: str) -> bool:
    """Equal but for white space and case, or by at least `NEAR` of their letters (indel ratio).

    Two texts that tell other numbers are never the same: that is what a near miss is made of.
    """
    from rapidfuzz import fuzz

    one, other = (" ".join(text.casefold().split()) for text in (one, other))
    if one == other:
        return True
    if NUMBER.findall(one) != NUMBER.findall(other):
        return False
    return fuzz.ratio(one, other, score_cutoff=100 * NEAR) > 0


# ---------------------------------------------------------------------- records


def made_by(settings: Mapping[str, Any], prompt: object, draw: int) -> str:
    """The id of a text: a hash of all that it is a function of, names of folders left out."""
    leave = {"n", "model"} if "identity" in settings else {"n"}
    about = {name: value for name, value in settings.items() if name not in leave}
    text = json.dumps([about, prompt, draw], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(text: Text) -> str | list[dict[str, str]]:
    """A prompt as JSON has it."""
    if isinstance(text, str):
        return text
    return [{"role": message.role, "content": message.content} for message in text]


@dataclass(frozen=True, slots=True)
class Tally:
    """What a file of records holds: texts, prompts, texts drawn again, prompts with too few."""

    texts: int
    prompts: int
    redrawn: int
    short: int
    length: float
    unit: str


def tally(records: Sequence[Mapping[str, Any]]) -> Tally:
    """Count what `sample` gave; `length` is the mean per text in `unit`."""
    firsts = list({each["line"]: each for each in records}.values())
    redrawn = sum(each["drawn"] - each["n"] for each in firsts)
    short = sum(each["kept"] < each["n"] for each in firsts)
    counted = all(each["tokens"] is not None for each in records)
    lengths = [each["tokens"] if counted else len(each["completion"].split()) for each in records]
    mean = sum(lengths) / max(1, len(lengths))
    return Tally(len(records), len(firsts), redrawn, short, mean, "tokens" if counted else "words")


# ---------------------------------------------------------------------- going on


def _begun(
    file: SampleFile, plan: Plan, rows: Sequence[Example], listen: Listener
) -> list[list[Record]]:
    """The blocks that `file` holds whole, after a look at whether they are ours."""
    expected = [(row.origin.line, plain(row.prompt or "")) for row in rows]
    found = file.begun(expected, plan.settings)
    if found:
        listen(Note(f"{file.path}: {len(found)} of {len(rows)} prompts are there already"))
    return found


@contextmanager
def _told_what_is_safe(
    file: SampleFile, found: Sequence[object], rows: Sequence[object]
) -> Iterator[None]:
    """A failure in the middle says how much is in the file, and that nothing need be repeated."""

    def safe() -> str:
        if not found:
            return "No prompt was finished; the same command starts again."
        return (
            f"{len(found)} of {len(rows)} prompts are in {file.path}; the same command continues."
        )

    try:
        yield
    except PalateError as error:
        error.hint = f"{error.hint} {safe()}".strip()
        raise
    except KeyboardInterrupt as error:
        raise Interrupted("as asked.", exit_code=130, hint=safe()) from error
