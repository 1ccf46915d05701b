"""What the arms of a seed learn from: examples, texts drawn by the SFT model, pairs of these.

Files of one seed lie in one folder, each written whole by the job that makes it.
"""

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from palate.demo import rows
from palate.demo.sheets import Sheet, sheets
from palate.demo.taste import judge
from palate.runs.atomic import write_file
from study.frontier import Scale

Row = Mapping[str, Any]
Texts = Sequence[Sequence[str]]
FIRST = 1000  # seeds of the examples start here, far from the demo's own
PER_WORD = 0.25  # points for a word, to the judge that likes length


@dataclass(frozen=True)
class Place:
    """The folder of one seed."""

    folder: Path
    seed: int
    scale: Scale

    @property
    def sft(self) -> Path:
        return self.run("sft")

    def run(self, arm: str) -> Path:
        """The run of an arm."""
        return self.folder / arm.replace(" ", "-")

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    @cached_property
    def asked(self) -> list[Sheet]:
        """Sheets that texts are drawn for: of the training prompts, then the held-out ones."""
        return sheets(self.scale.prompts + self.scale.held, f"frontier {self.seed}")

    @cached_property
    def unseen(self) -> list[Sheet]:
        """Sheets that nothing learns from."""
        return sheets(self.scale.unseen, f"frontier unseen {self.seed}")

    def write(self, name: str, found: Iterable[Row]) -> int:
        """A JSONL file; gives the number of its rows."""
        lines = [json.dumps(dict(row), ensure_ascii=False) + "\n" for row in found]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_file(self.file(name), "".join(lines).encode())
        return len(lines)

    def examples(self) -> dict[str, Any]:
        """Once, twice and four times as many, the fewer among the more; what they are worth."""
        count = self.scale.examples
        found = rows.examples(4 * count, FIRST + self.seed)
        for times in (1, 2, 4):
            self.write(f"examples{times}", found[: times * count])
        held = rows.examples(self.scale.held, FIRST + 500 + self.seed)
        self.write("examples-held", held)
        about = sheets(4 * count, f"examples {FIRST + self.seed}")
        points = [judge(row["completion"], of).score for row, of in zip(found, about, strict=True)]
        words = [len(row["completion"].split()) for row in found]
        return {"points": sum(points) / len(points), "words": sum(words) / len(words)}

    def judged(self, drawn: Texts) -> dict[str, Any]:
        """Every file of pairs, from the texts of each sheet that was asked about."""
        stop, about = self.scale.prompts, self.asked
        made = rows.pairs(about[:stop], drawn[:stop])
        self.write("pairs", made.rows)
        held = rows.pairs(about[stop:], drawn[stop:]).rows
        self.write("held", held)
        self.write("prompts", rows.prompts(about[:stop]))
        self.write("prompts-held", rows.prompts(about[stop:]))
        for name, found in (("chosen", made.rows), ("chosen-held", held)):
            liked = ({"prompt": row["prompt"], "completion": row["chosen"]} for row in found)
            self.write(name, liked)
        self.write("random", shuffled(made.rows, self.seed))
        self.write("longer", preferred(about[:stop], drawn[:stop], long_liked))
        points = [
            judge(text, of).score for of, texts in zip(about, drawn, strict=True) for text in texts
        ]
        return {"pairs": len(made.rows), "ties": made.ties, "points": sum(points) / len(points)}


def shuffled(pairs: Sequence[Row], seed: int) -> list[Row]:
    """The same pairs, each with a coin for its label."""
    rng = random.Random(f"random labels {seed}")
    sides = ("chosen", "rejected")
    found = []
    for row in pairs:
        one, other = sides if rng.random() < 0.5 else sides[::-1]
        found.append({"prompt": row["prompt"], "chosen": row[one], "rejected": row[other]})
    return found


def long_liked(text: str, sheet: Sheet) -> float:
    """The taste of a judge who likes length besides."""
    return judge(text, sheet).score + PER_WORD * len(text.split())


def preferred(
    about: Sequence[Sheet], drawn: Texts, worth: Callable[[str, Sheet], float]
) -> list[Row]:
    """Near misses as the demo makes them, by another taste."""
    found = []
    for sheet, prompt, texts in zip(about, rows.prompts(about), drawn, strict=True):
        scored = sorted(((worth(text, sheet), -at) for at, text in enumerate(texts)), reverse=True)
        best, first = scored[0]
        behind = [at for score, at in scored if score <= best - rows.NEAR]
        if behind:
            found.append({**prompt, "chosen": texts[-first], "rejected": texts[-behind[0]]})
    return found
