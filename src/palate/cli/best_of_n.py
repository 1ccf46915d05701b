"""`palate best-of-n`: draw several answers for every prompt and keep the one that pays best.

All texts go beside `--out` as they are drawn, so that the same command continues; `--out` itself is
written at the end, whole.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from palate.config import BestOfNOptions

if TYPE_CHECKING:
    from palate.rlhf.best_of_n import Best

ABOUT_THE_DRAW = ("model", "identity", "seed", "temperature", "top_p", "max_new_tokens")


def best_of_n(
    model: str,
    prompts: str,
    /,
    *,
    options: Annotated[BestOfNOptions, Parameter(name="*")],
    json: bool = False,
) -> None:
    """Draw n texts per prompt of a file, and keep the best.

    Parameters
    ----------
    model:
        a run of palate, or any Hugging Face folder
    prompts:
        a file whose rows have a prompt: JSONL, JSON, CSV, Parquet
    json:
        what was found, as one JSON object on stdout
    """
    from palate.cli.read import print_lines
    from palate.cli.reward_with import reward_with
    from palate.cli.show import shown
    from palate.rlhf.best_of_n import best
    from palate.study.sampling import sample

    beside = drawn_file(options.out)
    _refuse_taken(options.out, beside)
    with shown(stderr=True) as listen:
        reward = reward_with(options.reward, listen)
        records = sample(model, prompts, _sampling(options), listen, out=beside, as_drawn=True)
        found = best(records, reward, listen)
    _write(options.out, found, records[0])
    if json:
        print_lines([_as_json(found, options.out, reward.name)])
        return
    print_lines(_page(found, options.out))
    after = options.out.with_suffix("")
    print(
        f"next: palate sft --model {quote(model)} --data {quote(str(options.out))}"
        f" --out {quote(str(after))}-sft"
    )


def drawn_file(out: Path) -> Path:
    """Where all texts go: `best.jsonl` has `best.drawn.jsonl` beside it."""
    return out.with_name(f"{out.stem}.drawn.jsonl")


def _refuse_taken(out: Path, beside: Path) -> None:
    """A file that this command did not make is left alone."""
    from palate.errors import UsageError

    if out.is_dir():
        raise UsageError(f"{out} is a folder.", hint="Name a file for --out.")
    if out.exists() and not beside.exists():
        raise UsageError(
            f"{out} exists, and its texts, {beside.name}, do not: it is no file of this command.",
            hint="Give another --out, or remove it.",
        )


def _sampling(options: BestOfNOptions) -> Any:
    """The same options as `palate sample` has them, those that were asked for."""
    from palate.config import SampleConfig

    given = options.model_fields_set - {"reward", "out"}
    return SampleConfig(**{name: getattr(options, name) for name in {*given, "n"}})


def _write(out: Path, found: "Best", record: Any) -> None:
    from palate.runs import atomic
    from palate.study.sampling_file import json_line

    about = {name: record[name] for name in ABOUT_THE_DRAW if name in record}
    lines = [json_line(row | about) + "\n" for row in found.rows]
    atomic.write_file(out, "".join(lines).encode())


def _page(found: "Best", out: Path) -> Iterator[str]:
    """The verdict, the curve, and what was left out."""
    from palate.cli.words import figure

    last, one = found.curve[-1], found.curve[0]
    most, mean = figure(last.reward.value), figure(one.reward.value)
    yield f"best of {last.n}: {most} points on average; any one: {mean}"
    yield ""
    yield "   n  points                   KL at most"
    for at in found.curve:
        low, high = figure(at.reward.low), figure(at.reward.high)
        points = f"{figure(at.reward.value)} [{low}, {high}]"
        yield f"{at.n:4}  {points:23}  {at.kl_at_most:5.2f} nats"
    yield ""
    yield f"{_plural(len(found.rows), 'text')} in {out}; intervals are 95%, by prompt"
    for count, what in (
        (found.alike, "had the same points for every text: nothing was chosen"),
        (found.cut_off, "had no text that came to its end: the best one is cut off"),
        (found.empty, "had no text with a word in it, and no row"),
    ):
        if count:
            yield f"{_plural(count, 'prompt')} {what}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _as_json(found: "Best", out: Path, reward: str) -> str:
    from palate.study.sampling_file import json_line

    counts = {"cut_off": found.cut_off, "empty": found.empty, "alike": found.alike}
    return json_line(
        {
            "out": str(out),
            "drawn": str(drawn_file(out)),
            "reward": reward,
            "texts": len(found.rows),
            "curve": [asdict(at) for at in found.curve],
            **counts,
        }
    )
