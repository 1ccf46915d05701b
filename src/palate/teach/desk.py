"""What every round needs, and what every round does: draw texts, and ask the judge."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from palate.config import SampleConfig, TeachOptions
from palate.data.judged import Answer, AskedPrompt, Judgement
from palate.judge.arrivals import made_by
from palate.judge.store import Pick, Store
from palate.judge.values import prompt_of
from palate.teach import folder
from palate.teach.prompts import text_of
from palate.teach.voices import Mode, Task, Voice, verdicts
from palate.train.events import Listener

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Desk:
    """The folder and its store, the starting model, what was asked, who judges, who listens."""

    folder: folder.Folder
    store: Store
    model: str
    options: TeachOptions
    voice: Voice
    listen: Listener

    @cached_property
    def measured(self) -> frozenset[str]:
        """Ids of the prompts that only measure."""
        rows = folder.once_lines(self.folder.measured, list)
        return frozenset(prompt_of(text_of(each["prompt"]), ()).id for each in rows)

    @property
    def rendering(self) -> dict[str, Any]:
        """How a prompt is written out, for drawing and training alike."""
        return {name: getattr(self.options, name) for name in ("join", "plain", "chat_template")}

    def seed(self, *purpose: object) -> int:
        """A seed of its own for each purpose, a function of the one that was asked for."""
        text = json.dumps([self.options.seed, *map(str, purpose)])
        return int(hashlib.sha256(text.encode()).hexdigest()[:7], 16)

    def draw(self, out: Path, model: str, prompts: Path, *, n: int, seed: int) -> Rows:
        """`n` texts of a model for each prompt of a file; `out` is taken up where it ended."""
        from palate.study.sampling import sample

        config = SampleConfig(
            n=n,
            temperature=self.options.temperature,
            max_new_tokens=self.options.max_new_tokens,
            seed=seed,
            **self.rendering,
        )
        return sample(model, str(prompts), config, self.listen, out=out)

    def stored(self, row: Mapping[str, Any]) -> tuple[AskedPrompt, Answer]:
        """A drawn text in the store, and its prompt."""
        asked = self.store.add_prompt(text_of(row["prompt"]))
        made = made_by(row)
        return asked, self.store.add_answer(asked.id, row["completion"], "sample", made=made)

    def ask(self, title: str, mode: Mode, picks: Sequence[Pick]) -> bool:
        """Have these pairs judged.  False if the judge, a person, left before the end."""
        return self.voice.work(self.store, Task(title, mode, tuple(picks)), self.listen)

    def verdicts(self, picks: Sequence[Pick]) -> dict[frozenset[str], Judgement]:
        """What stands on these pairs, without those that were skipped."""
        return verdicts(self.store, self.voice.name, picks)
