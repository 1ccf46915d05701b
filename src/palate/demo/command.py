"""`palate demo`: SFT, then DPO, with the real commands, and a report of the model's taste.

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
from dataclasses import asdict, dataclass, field
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
LONGEST = "128"  # tokens; a description of every fact has half as many
REPORT = "report.html"
MET = ("dpo", "sft")  # the runs, as the evaluation names them
KEPT = "12"  # checkpoints, so that `palate explain --over-time` has something to replay
DRAWN, LIKELIEST = "drawn at temperature 1", "likeliest text (temperature 0)"
Say = Callable[[Text], object]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    examples: int = 300
    prompts: int = 500
    completions: int = 4
    unseen: int = 200
    texts: int = 2  # of each model about each unseen sheet
    shown: int = 3
    evidence: tuple[str, ...] = ("--frontier",)


QUICK = Sizes(examples=60, prompts=40, unseen=20, texts=1, evidence=())


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
    _prove(demo, models)
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
    """DPO on near-misses among the SFT model's own texts; then the same on random labels."""
    about = demo.sheets("prompts", demo.sizes.prompts)
    prompts = demo.write("prompts.jsonl", rows.prompts(about))
    out, n, seed = demo.out / "data" / "drawn.jsonl", demo.sizes.completions, str(demo.seed)
    drawn = demo.draw(models["SFT"], prompts, out, "--n", str(n), "--seed", seed)
    made = rows.pairs(about, drawn)
    data = demo.write("pairs.jsonl", made.rows)
    demo.say(Text(f"\n{_pairs_line(made, n)}"))
    words = ("--model", models["SFT"], "--data", data, "--seed", seed, "--lr", LEARNING_RATE)
    demo.palate("dpo", *words, "--out", models["DPO"], "--keep", KEPT)
    demo.palate("dpo", *words, "--out", demo.out / "control", "--random-labels")
    return made


def _prove(demo: Demo, models: Mapping[str, Path]) -> None:
    """What `palate evaluate` finds on sheets that no stage saw, and the report of it."""
    unseen = demo.write("unseen.jsonl", rows.prompts(demo.sheets("unseen", demo.sizes.unseen)))
    words = ("--prompts", unseen, "--reward", "demo", "--control", demo.out / "control")
    drawn = ("--n", str(demo.sizes.texts), "--max-new-tokens", LONGEST, "--seed", str(demo.seed))
    demo.palate("evaluate", models["DPO"], *words, *drawn, *demo.sizes.evidence)
    demo.palate("report", models["DPO"], "--out", demo.out / REPORT)


def _describe(demo: Demo, models: Mapping[str, Path]) -> dict[str, dict[str, tuple[Judged, ...]]]:
    """How drawn -> model -> the judged text of every unseen sheet: the first that was evaluated,
    and the likeliest."""
    about = demo.sheets("unseen", demo.sizes.unseen)
    prompts = demo.out / "data" / "unseen.jsonl"
    judged: dict[str, dict[str, tuple[Judged, ...]]] = {DRAWN: {}, LIKELIEST: {}}
    for model, path in models.items():
        judged[DRAWN][model] = figures.read(about, _evaluated(models["DPO"], path.name, about))
        out = demo.out / "data" / f"{model.lower()}-likeliest.jsonl"
        texts = demo.draw(path, prompts, out, "--temperature", "0", "--seed", str(demo.seed))
        judged[LIKELIEST][model] = figures.read(about, [first for first, *_ in texts])
    return judged


def _evaluated(run: Path, model: str, about: Sequence[Sheet]) -> list[str]:
    """The first text of a model about each sheet, from the file that the evaluation kept."""
    wanted = [row["prompt"] for row in rows.prompts(about)]
    for path in sorted((run / "evaluation" / "texts").glob(f"{model}-{'?' * 16}.jsonl")):
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        firsts = [each for each in records if each["index"] == 0]
        if [each["prompt"] for each in firsts] == wanted:
            return [each["completion"] for each in firsts]
    raise PalateError(
        f"{run} has no texts of {model} about these sheets.",
        hint="Remove the folder and run palate demo again.",
    )


def _lines(
    demo: Demo,
    made: rows.Pairs,
    judged: Mapping[str, Mapping[str, Sequence[Judged]]],
    models: Mapping[str, Path],
) -> Iterator[Text]:
    """The last page."""
    warm = judged[DRAWN]
    yield Text("")
    yield page.verdict(_found(models["DPO"]))
    yield Text("")
    yield from page.table({name: _block(name, found) for name, found in judged.items()})
    for place in _picked(demo):
        yield Text("")
        yield from page.side_by_side({model: texts[place] for model, texts in warm.items()})
    yield Text("")
    yield from page.worst(*_worst(warm))
    yield Text("")
    yield Text(f"figures in {demo.out / 'demo.json'}, pairs in {demo.out / 'data' / 'pairs.jsonl'}")
    yield Text(f"runs in {models['SFT']} and {models['DPO']}")
    dpo = shlex.quote(str(models["DPO"]))
    yield Text(f"next: open {shlex.quote(str(demo.out / REPORT))}", style="bold")
    yield Text(f"      palate explain {dpo} --over-time --html explain.html", style="bold")
    yield Text(f"      palate chat {dpo}", style="bold")


def _block(name: str, found: Mapping[str, Sequence[Judged]]) -> page.Block:
    """Drawn texts were compared by `palate evaluate`, with more of them."""
    values = {model: figures.figures(texts) for model, texts in found.items()}
    return values, None if name == DRAWN else figures.wins(found["DPO"], found["SFT"])


def _found(run: Path) -> dict[str, Any]:
    """The record of the evaluation."""
    found: dict[str, Any] = json.loads((run / "evaluation.json").read_bytes())
    return found


def _picked(demo: Demo) -> list[int]:
    """Which sheets are shown: drawn by the seed, not by the result."""
    return random.Random(f"shown {demo.seed}").sample(range(demo.sizes.unseen), demo.sizes.shown)


def _worst(found: Mapping[str, Sequence[Judged]]) -> tuple[Judged, Judged]:
    return min(zip(found["DPO"], found["SFT"]), key=lambda both: figures.gap(*both))


def _record(
    demo: Demo, made: rows.Pairs, judged: Mapping[str, Mapping[str, Sequence[Judged]]]
) -> dict[str, Any]:
    """Everything that `demo.json` holds but the total time."""
    evaluated = _found(demo.out / "dpo")
    met = next(each for each in evaluated["wins"] if (each["ours"], each["theirs"]) == MET)
    found: dict[str, Any] = {}
    for name, texts in judged.items():
        values, win = _block(name, texts)
        rate, ties = met["raw"], met["ties"]
        if win is not None:
            rate, ties = asdict(win), figures.ties(texts["DPO"], texts["SFT"])
        found[name] = {model: figures.as_json(value) for model, value in values.items()}
        found[name] |= {"wins against SFT": rate, "ties": ties}
    return {
        "seed": demo.seed,
        "headline": evaluated["headline"],
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
