"""The runs of the judging study: a pool of answers per seed, a budget of judgements, DPO, points.

Two arms share the pool, the sheets and the noise of the draws.  `random` judges nested prefixes of
a seeded order; `active` is a chain: what is judged next was picked by the policy that was trained
on all judgements so far.  Every run starts from the same SFT model, and its LAST weights count.
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from palate.data.judged import Answer, AskedPrompt
from palate.demo import figures, rows
from palate.demo.sheets import Sheet, sheets
from palate.demo.taste import judge
from palate.judge.pick import Candidate, Pick, Selection, couples, plan
from study.store import Store

log = logging.getLogger("study_judging")
ARMS: tuple[Selection, ...] = ("random", "active")
RATE = 8e-4  # the demo's learning rate
EPOCHS = 4.0  # what palate derives for so few pairs
HELD = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """Budgets of judgements, prompts of a pool, answers to each, sheets that nobody judged."""

    budgets: tuple[int, ...] = (25, 50, 100, 200, 400)
    prompts: int = 500
    answers: int = 4
    unseen: int = 200
    tokens: int = 128


TINY = Scale(budgets=(8, 16), prompts=20, answers=2, unseen=3, tokens=24)


@dataclass(frozen=True)
class Pool:
    """Prompts with the SFT model's answers, and what the taste says of each answer."""

    asked: tuple[tuple[AskedPrompt, tuple[Answer, ...]], ...]
    points: Mapping[str, float]

    @cached_property
    def texts(self) -> dict[str, tuple[str, str]]:
        """Answer -> the prompt, and the text."""
        return {each.id: (p.text, each.text) for p, answers in self.asked for each in answers}

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """Every two answers of every prompt."""
        found = (couples(prompt.id, (a.id for a in answers)) for prompt, answers in self.asked)
        return tuple(each for pairs in found for each in pairs)

    def pairs(self, picks: Sequence[Pick]) -> Iterator[dict[str, str]]:
        """A pair for every judgement but the ties."""
        for pick in picks:
            worse, better = sorted((pick.one, pick.other), key=self.points.__getitem__)
            if self.points[better] > self.points[worse]:
                prompt, chosen = self.texts[better]
                yield {"prompt": prompt, "chosen": chosen, "rejected": self.texts[worse][1]}


@dataclass(frozen=True)
class Bench:
    """Where the SFT model is, where results go, and how much is run."""

    sft: Path
    store: Store
    work: Path
    scale: Scale = field(default_factory=Scale)

    def seed(self, seed: int) -> None:
        """Both arms of a seed, as far as they are not there yet."""
        keys = [f"{seed}/sft", *(f"{seed}/{a}/{n}" for a in ARMS for n in self.scale.budgets)]
        if all(key in self.store.records for key in keys):
            return
        pool = self._pool(seed)
        self.store.get(keys[0], lambda: {"seed": seed, "arm": "sft", **self._told(self.sft, seed)})
        for arm in ARMS:
            self._chain(arm, seed, pool)
        shutil.rmtree(self.work, ignore_errors=True)

    def _chain(self, arm: Selection, seed: int, pool: Pool) -> None:
        """Budgets from the least to the most; the picks of each stand in its record."""
        picks: list[Pick] = []
        run = self.sft
        for size in self.scale.budgets:
            key, after = f"{seed}/{arm}/{size}", self.work / f"{seed}-{arm}-{size}"
            if key not in self.store.records:
                start = time.monotonic()
                found = self._picked(arm, seed, pool, picks, run, size)
                middle = time.monotonic()
                self._train(pool, found, seed, after)
                end = time.monotonic()
                about = {"seed": seed, "arm": arm, "size": size, "picks": _plain(found)}
                about["pairs"] = len(list(pool.pairs(found)))
                told = self._told(after, seed)
                seconds = [middle - start, end - middle, time.monotonic() - end]
                about["seconds"] = [round(each, 1) for each in seconds]
                log.info("%s: %.2f points, %s s", key, told["figures"]["points"], about["seconds"])
                self.store.get(key, lambda: {**about, **told})  # noqa: B023 (called at once)
            picks = [Pick(*each) for each in self.store.records[key]["picks"]]
            run = after

    def _picked(
        self,
        arm: Selection,
        seed: int,
        pool: Pool,
        before: Sequence[Pick],
        run: Path,
        size: int,
    ) -> list[Pick]:
        """The judgements of a budget: those of the last, and the next ones of the plan."""
        if arm == "random":
            return plan(pool.candidates, how=arm, count=size, seed=seed)
        if before:
            self._train(pool, before, seed, run)
        done = {pool.texts[pick.one][0] for pick in before}
        new = [(prompt, answers) for prompt, answers in pool.asked if prompt.text not in done]
        candidates = _informed(run, new)
        return [*before, *plan(candidates, how=arm, count=size - len(before), seed=seed)]

    def _train(self, pool: Pool, picks: Sequence[Pick], seed: int, out: Path) -> None:
        """DPO on what was judged, unless that was done.

        The batch follows the number of judgements, not of pairs: else a tie more or less would
        change the number of steps.  Held out are pairs that are trained on, so that the last step
        is the best one and its weights are those that are kept.
        """
        from palate import api
        from palate.config import DpoConfig

        if (out / "done").exists():
            return
        shutil.rmtree(out, ignore_errors=True)
        pairs = list(pool.pairs(picks))
        data, held = out.with_suffix(".jsonl"), out.with_suffix(".held.jsonl")
        for path, found in ((data, pairs), (held, pairs[:HELD])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
        config = DpoConfig(
            model=str(self.sft),
            data=str(data),
            heldout=str(held),
            out=out,
            lr=RATE,
            epochs=EPOCHS,
            batch_size=_batch(len(picks)),
            eval_every=100_000,
            save_every=100_000,
            seed=seed,
            threads=1,
        )
        api.dpo(config)
        record = json.loads((out / "run.json").read_text(encoding="utf-8"))
        assert record["best_step"] == record["evaluation"]["step"] > 0, "not the last weights"
        (out / "done").touch()

    # ------------------------------------------------------------------ drawing

    def _pool(self, seed: int) -> Pool:
        """The SFT model's answers to the prompts of a seed; drawn once, kept in the store."""
        about = sheets(self.scale.prompts, f"judging {seed}")

        def make() -> Mapping[str, Any]:
            count = self.scale.answers
            return {"seed": seed, "arm": "pool", "texts": self._draw(self.sft, about, count, seed)}

        texts = self.store.get(f"{seed}/pool", make)["texts"]
        asked, points = [], {}
        for place, (sheet, row) in enumerate(zip(about, rows.prompts(about), strict=True)):
            prompt = AskedPrompt(f"p{place}", row["prompt"], "train")
            different = dict.fromkeys(texts[place])
            answers = tuple(
                Answer(f"p{place}a{n}", prompt.id, text, "sample")
                for n, text in enumerate(different)
                if text.strip()
            )
            points |= {each.id: judge(each.text, sheet).score for each in answers}
            asked.append((prompt, answers))
        return Pool(tuple(asked), points)

    def _told(self, model: Path, seed: int) -> dict[str, Any]:
        """One text about each unseen sheet, drawn at temperature 1, and what the taste says."""
        about = sheets(self.scale.unseen, f"judging unseen {seed}")
        texts = [first for (first,) in self._draw(model, about, 1, seed)]
        judged = figures.read(about, texts)
        means = {name: round(each.value, 4) for name, each in figures.figures(judged).items()}
        return {"figures": means, "points": [e.verdict.score for e in judged], "texts": texts}

    def _draw(self, model: Path, about: Sequence[Sheet], n: int, seed: int) -> list[list[str]]:
        """`n` texts about each sheet."""
        from palate.config import PromptOptions
        from palate.engine.sample import SampleSettings, sample
        from palate.study.source import open_source
        from palate.train.events import silent

        opened = open_source(str(model), PromptOptions(), silent)
        ids = [opened.renderer.prompt_ids(row["prompt"]) for row in rows.prompts(about)]
        stops = tuple(sorted(opened.renderer.stop_ids))
        settings = SampleSettings(self.scale.tokens, n, 1.0, stop_ids=stops)
        found: list[list[str]] = [[] for _ in about]
        for text in sample(opened.loaded, ids, settings, seed=seed):
            found[text.prompt_index].append(text.text)
        return found


def _informed(
    run: Path, asked: Sequence[tuple[AskedPrompt, tuple[Answer, ...]]]
) -> list[Candidate]:
    """Candidates with the figures of the policy as it is."""
    from palate.study.informative import inform
    from palate.train.events import silent

    known = inform(str(run), asked, silent)
    found = []
    for prompt, answers in asked:
        figure = known[prompt.id]
        for each in couples(prompt.id, (answer.id for answer in answers)):
            sure = figure.certainty(each.one, each.other)
            found.append(replace(each, entropy=figure.entropy, certainty=sure))
    return found


def _batch(judgements: int) -> int:
    """Palate's own rule, about twelve steps an epoch: a power of two from 4 to 32."""
    return next((size for size in (32, 16, 8) if size * 12 <= judgements), 4)


def _plain(picks: Sequence[Pick]) -> list[tuple[Any, ...]]:
    return [(pick.one, pick.other, pick.selector, pick.score) for pick in picks]
