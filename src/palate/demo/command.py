"""`palate demo`: SFT, then DPO, with the real commands, and what became of the model's taste.

Every command runs as a process of its own and is shown as a user would type it; nothing of the
engine is imported here.  What is written into the folder is a function of the seed, so the same
call continues an interrupted one.
"""

import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from palate.demo import figures, page, rows
from palate.demo.figures import Judged
from palate.demo.sheets import Sheet, sheets
from palate.errors import PalateError
from palate.runs.atomic import write_file

BASE = Path(__file__).with_name("base")
LEARNING_RATE = (
    "8e-4"  # four times the default: pairs of the model's own texts, judged without noise
)
KEPT = "12"  # checkpoints, so that `palate explain --over-time` has something to replay
DRAWS = {"drawn at temperature 1": "1", "likeliest text (temperature 0)": "0"}
Say = Callable[[Text], object]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    examples: int = 300
    prompts: int = 500
    completions: int = 4
    unseen: int = 200
    shown: int = 3


QUICK = Sizes(examples=60, prompts=40, unseen=20)


@dataclass(frozen=True, slots=True)
class Demo:
    """One run of the example: where, with which seed, and what has been done so far."""

    out: Path
    seed: int
    sizes: Sizes
    say: Say
    done: list[dict[str, Any]] = field(default_factory=list)

    def palate(self, *words: str | Path) -> None:
        """Run one command of palate, shown first.  Raises PalateError with its exit code."""
        shown = ["palate", *(_short(word) if isinstance(word, Path) else word for word in words)]
        self.say(Text(f"\n$ {shlex.join(shown)}", style="bold"))
        sys.stdout.flush()
        start = time.monotonic()
        code = subprocess.run([*_program(), *map(str, words)], check=False).returncode
        if code:
            raise _failure(words[0], code)
        self.done.append({"command": shown, "seconds": round(time.monotonic() - start, 1)})

    def write(self, name: str, found: Sequence[Mapping[str, Any]]) -> Path:
        """A JSONL file of the example."""
        path = self.out / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        write_file(path, "".join(lines).encode())
        return path

    def sheets(self, name: str, count: int) -> list[Sheet]:
        return sheets(count, f"{name} {self.seed}")

    def draw(self, model: Path, prompts: Path, out: Path, *words: str) -> list[list[str]]:
        """The texts of each prompt, from `palate sample`."""
        self.palate("sample", model, prompts, "--out", out, *words)
        with out.open(encoding="utf-8") as lines:
            return list(rows.completions([json.loads(line) for line in lines]))


def run(out: Path, *, say: Say, seed: int = 0, quick: bool = False) -> None:
    """The whole example.  Figures go to `out/demo.json`, lines to `say`."""
    start = time.monotonic()
    demo = Demo(out, seed, QUICK if quick else Sizes(), say)
    models = {"base": BASE, "SFT": out / "sft", "DPO": out / "dpo"}
    _imitate(demo, models["SFT"])
    made = _prefer(demo, models)
    judged = _describe(demo, models)
    record = _record(demo, made, judged) | {"seconds": round(time.monotonic() - start, 1)}
    write_file(
        out / "demo.json", (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
    )
    for line in _lines(demo, made, judged, models):
        say(line)


def _imitate(demo: Demo, sft: Path) -> None:
    """SFT on what analysts wrote."""
    data = demo.write("examples.jsonl", rows.examples(demo.sizes.examples, demo.seed))
    demo.palate("sft", "--model", BASE, "--data", data, "--out", sft, "--seed", str(demo.seed))


def _prefer(demo: Demo, models: Mapping[str, Path]) -> rows.Pairs:
    """DPO on near-misses among the SFT model's own texts."""
    about = demo.sheets("prompts", demo.sizes.prompts)
    prompts = demo.write("prompts.jsonl", rows.prompts(about))
    out, n, seed = demo.out / "data" / "drawn.jsonl", demo.sizes.completions, str(demo.seed)
    drawn = demo.draw(models["SFT"], prompts, out, "--n", str(n), "--seed", seed)
    made = rows.pairs(about, drawn)
    data = demo.write("pairs.jsonl", made.rows)
    demo.say(Text(f"\n{_pairs_line(made, n)}"))
    words = ("--model", models["SFT"], "--data", data, "--out", models["DPO"], "--seed", seed)
    demo.palate("dpo", *words, "--lr", LEARNING_RATE, "--keep", KEPT)
    return made


def _describe(demo: Demo, models: Mapping[str, Path]) -> dict[str, dict[str, tuple[Judged, ...]]]:
    """How drawn -> model -> the judged text of every unseen sheet."""
    about = demo.sheets("unseen", demo.sizes.unseen)
    prompts = demo.write("unseen.jsonl", rows.prompts(about))
    judged: dict[str, dict[str, tuple[Judged, ...]]] = {}
    for name, warmth in DRAWS.items():
        judged[name] = {}
        for model, path in models.items():
            out = demo.out / "data" / f"{model.lower()}-temperature-{warmth}.jsonl"
            words = ("--temperature", warmth, "--seed", str(demo.seed))
            texts = demo.draw(path, prompts, out, *words)
            judged[name][model] = figures.read(about, [first for first, *_ in texts])
    return judged


def _lines(
    demo: Demo,
    made: rows.Pairs,
    judged: Mapping[str, Mapping[str, Sequence[Judged]]],
    models: Mapping[str, Path],
) -> Iterator[Text]:
    """The last page."""
    warm = next(iter(judged.values()))
    yield Text("")
    yield page.verdict(
        figures.wins(warm["DPO"], warm["SFT"]), figures.ties(warm["DPO"], warm["SFT"])
    )
    yield Text("")
    yield from page.table({name: _block(found) for name, found in judged.items()})
    for place in _picked(demo):
        yield Text("")
        yield from page.side_by_side({model: texts[place] for model, texts in warm.items()})
    yield Text("")
    yield from page.worst(*_worst(warm))
    yield Text("")
    yield Text(f"figures in {demo.out / 'demo.json'}, pairs in {demo.out / 'data' / 'pairs.jsonl'}")
    yield Text(f"runs in {models['SFT']} and {models['DPO']}")
    dpo = shlex.quote(str(models["DPO"]))
    yield Text(f"next: palate explain {dpo} --over-time --html explain.html", style="bold")
    yield Text(f"      palate chat {dpo}", style="bold")


def _block(found: Mapping[str, Sequence[Judged]]) -> tuple[page.Figures, Any]:
    values = {model: figures.figures(texts) for model, texts in found.items()}
    return values, figures.wins(found["DPO"], found["SFT"])


def _picked(demo: Demo) -> list[int]:
    """Which sheets are shown: drawn by the seed, not by the result."""
    return random.Random(f"shown {demo.seed}").sample(range(demo.sizes.unseen), demo.sizes.shown)


def _worst(found: Mapping[str, Sequence[Judged]]) -> tuple[Judged, Judged]:
    return min(zip(found["DPO"], found["SFT"]), key=lambda both: figures.gap(*both))


def _record(
    demo: Demo, made: rows.Pairs, judged: Mapping[str, Mapping[str, Sequence[Judged]]]
) -> dict[str, Any]:
    """Everything that `demo.json` holds but the total time."""
    found = {}
    for name, texts in judged.items():
        values, win = _block(texts)
        each = {model: figures.as_json(value) for model, value in values.items()}
        ties = figures.ties(texts["DPO"], texts["SFT"])
        found[name] = each | figures.as_json({"wins against SFT": win}) | {"ties": ties}
    return {
        "seed": demo.seed,
        "pairs": len(made.rows),
        "prompts without a pair": made.ties,
        "figures": found,
        "shown": _picked(demo),
        "commands": demo.done,
    }


def _pairs_line(made: rows.Pairs, n: int) -> str:
    return (
        f"{len(made.rows)} pairs: the best of {n} texts against the best of those at least"
        f" {rows.NEAR:g} point behind it; {made.ties} prompts had none and are left out"
    )


def _program() -> list[str]:
    """The `palate` beside this interpreter, else the same through `python -c`."""
    script = Path(sys.executable).with_name("palate")
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "from palate.cli import main; main()"]


def _short(path: Path) -> str:
    """The path as it is quickest to type from here."""
    return min(str(path), os.path.relpath(path), key=len)


def _failure(command: str | Path, code: int) -> PalateError:
    """An error with the exit code of the command that failed; what it said is already there."""
    error = PalateError(
        f"`palate {command}` ended with code {code}.",
        hint="What it said stands above; the same `palate demo` continues.",
    )
    error.exit_code = code if code > 0 else 128 - code
    return error
