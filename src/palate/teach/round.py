"""One round, step by step: draw, pick, judge, write the pairs, train, compare with the start.

Each step leaves a file; a step whose file is there is not done again.  So a round that was killed
anywhere goes on where it was, and verdicts, which are in the store, are never asked for twice.

Every round trains from the starting model, on all the pairs judged so far, and is measured against
that same model.  The alternative, the new pairs from the last policy, would move the reference each
round: a verdict that is taken back later could not be taken out of the weights, and nothing would
hold the policy near the model that a person chose to start from.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from palate.config import DpoConfig
from palate.data.judged import Answer, AskedPrompt
from palate.errors import UsageError
from palate.judge import departures, pick
from palate.judge.store import Pick
from palate.judge.values import prompt_of
from palate.objectives import build
from palate.study.doctor import Glance, glance
from palate.teach import plan
from palate.teach.compare import compare
from palate.teach.desk import Desk, Rows
from palate.teach.figures import RoundFigures, Wins, from_json
from palate.teach.folder import once, once_lines
from palate.teach.prompts import text_of
from palate.train.events import Note


class Round:
    """A round by its number.  `run` gives its figures, or None if the judge left before the end."""

    def __init__(self, desk: Desk, number: int) -> None:
        self._desk = desk
        self.number = number
        self.path = desk.folder.round(number)
        self.title = f"round {number}"

    @property
    def policy(self) -> str:
        """The model whose texts are judged: what the round before made, or the starting model."""
        before = self.path.with_name(f"round-{self.number - 1}")
        return self._desk.model if self.number == 1 else str(before / "dpo")

    def run(self) -> RoundFigures | None:
        """Raises any PalateError; the same call goes on."""
        done = self.path / "wins.json"
        if done.exists():
            return from_json(once(done, dict))
        picks = self._picks()
        if not self._judged(picks):
            return None
        self._write_pairs()
        trained = self._train()
        wins = compare(self._desk, self.title, self.path)
        if wins is None:
            return None
        return from_json(once(done, lambda: self._figures(picks, trained, wins).as_json()))

    # ---- draw, pick, judge

    def _picks(self) -> list[Pick]:
        """The pairs of this round, chosen once."""
        found = once(self.path / "plan.json", lambda: [asdict(pick) for pick in self._chosen()])
        return [Pick(**each) for each in found]

    def _chosen(self) -> list[Pick]:
        desk, options = self._desk, self._desk.options
        out, seed = self.path / "samples.jsonl", desk.seed("draw", self.number)
        rows = desk.draw(out, self.policy, desk.folder.prompts, n=options.n, seed=seed)
        found = self._stored(rows)
        these = list(plan.candidates(desk.store, desk.voice.name, found))
        active = options.pick == "active" and self.number > 1
        if active:
            these = plan.informed(found, these, self.policy, desk.listen)
        picks = pick.plan(
            these,
            how="active" if active else "random",
            count=options.judgements,
            seed=desk.seed("pick", self.number),
            judged=plan.judged_before(desk.store, desk.voice.name),
        )
        if not picks:
            raise UsageError(
                f"{self.title}: there is nothing new to judge: no prompt has two different texts.",
                hint="Draw more texts (--n), warmer ones (--temperature), or for more prompts.",
            )
        return picks

    def _stored(self, rows: Rows) -> plan.Drawn:
        """Prompt id -> the prompt and its fresh answers, without those that no pair can hold."""
        found: dict[str, tuple[AskedPrompt, list[Answer]]] = {}
        usable = [row for row in rows if _usable(row["completion"])]
        if len(usable) < len(rows):
            left = f"{len(rows) - len(usable)} of {len(rows)} texts left out: empty, or with NUL"
            self._desk.listen(Note(f"{self.title}: {left}", warning=True))
        with self._desk.store.transaction():
            for row in usable:
                asked, answer = self._desk.stored(row)
                found.setdefault(asked.id, (asked, []))[1].append(answer)
        return found

    def _judged(self, picks: Sequence[Pick]) -> bool:
        """Whether the round's verdicts are there."""
        if (self.path / "pairs.jsonl").exists():
            return True
        return self._desk.ask(self.title, "pair", picks[: self._desk.options.judgements])

    # ---- learn

    def _write_pairs(self) -> None:
        """All pairs so far: to train on, and, on other prompts, for the curve in training."""
        store, judges = self._desk.store, (self._desk.voice.name,)
        held = departures.pairs(store, judges=judges, split="heldout")
        watched = [row for row in held if _prompt(row) not in self._desk.measured]
        train = departures.pairs(store, judges=judges, split="train")
        if not train:
            raise UsageError(
                f"{self.title}: no verdict gave a pair to learn from.",
                hint="Judge more, or draw texts that differ more (--n, --temperature).",
            )
        once_lines(self.path / "heldout.jsonl", lambda: watched)
        once_lines(self.path / "pairs.jsonl", lambda: train)

    def _train(self) -> Any:
        """DPO from the starting model, after the doctor's one line on the pairs."""
        from palate.train.stage import run_stage

        config = self._config()
        seen = once(self.path / "doctor.json", lambda: asdict(glance(config, "pairs") or _NOTHING))
        self._desk.listen(Note(**seen["note"]))
        objective = build(config.objective, **config.objective_options)
        return run_stage(config, objective, self._desk.listen, overridden=seen["overridden"])

    def _config(self) -> DpoConfig:
        options, heldout = self._desk.options, self.path / "heldout.jsonl"
        return DpoConfig(
            model=self._desk.model,
            data=str(self.path / "pairs.jsonl"),
            heldout=str(heldout) if heldout.stat().st_size else None,
            out=self.path / "dpo",
            beta=options.beta,
            lr=options.lr,
            epochs=options.epochs,
            final="last",  # so few held-out pairs choose a step badly (docs/log.md)
            seed=options.seed,
            **self._desk.rendering,
        )

    # ---- what came of it

    def _figures(self, picks: Sequence[Pick], trained: Any, wins: Wins) -> RoundFigures:
        judged = self._desk.verdicts(picks).values()
        lines = {
            name: len(once_lines(self.path / f"{name}.jsonl", list))
            for name in ("pairs", "heldout")
        }
        return RoundFigures(
            round=self.number,
            judged=len(judged),
            ties=sum(each.chosen is None for each in judged),
            **lines,
            step=trained.best_step,
            steps=trained.steps,
            accuracy=trained.evaluation and trained.evaluation.accuracy,
            wins=wins,
        )


def _usable(text: str) -> bool:
    """Whether a file of pairs may hold it."""
    return bool(text.strip()) and "\0" not in text


_NOTHING = Glance(Note("doctor: nothing to say of these pairs"))


def _prompt(row: Any) -> str:
    return prompt_of(text_of(row["prompt"]), ()).id
