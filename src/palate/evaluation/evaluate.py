"""`palate evaluate`: from runs to one record, written into the chosen run as `evaluation.json`.

Every model answers the same held-out prompts with the same seeds; what was drawn and what a model
judged is kept in the run, so the same command goes on.  Each room of the record is filled by one
function below; nothing is estimated twice.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from palate.config import EvaluateOptions
from palate.evaluation import baselines, looks, ranking, rest, verdicts
from palate.evaluation.contestants import Contestant, contestants, untuned
from palate.evaluation.heldout import Heldout, held_out
from palate.evaluation.judging import Means
from palate.evaluation.matches import Entry, Field, best_candidate, matches, named, shown
from palate.evaluation.ranking import Ranked
from palate.evaluation.texts import FOLDER, Pen, check, layout_of
from palate.evaluation.verdicts import Asked
from palate.evaluation.words import Told, advice, headline, in_plain_words
from palate.runs.atomic import write_file
from palate.stats import Verdict
from palate.study.evaluated import RECORD, Evaluated, HeldOut, Named, Person, WinRate
from palate.study.tally import detectable
from palate.train.events import Listener, Note


@dataclass(frozen=True, slots=True)
class Done:
    """The record, the run that it is about, and what waits for the person's verdict."""

    record: Evaluated
    run: str
    asked: Asked | None = None


def evaluate(runs: Sequence[str], options: EvaluateOptions, means: Means, listen: Listener) -> Done:
    """Evaluate a run, or the best of several.  Raises PalateError; the same call goes on."""
    began = time.monotonic()
    check(options)
    kept = None if options.store is None else verdicts.kept(options.store)
    judged = means.reward is not None or means.judge is not None
    every = contestants(runs, options, roots=options.baselines or judged)
    candidates = [each for each in every if each.role == "candidate"]
    sets = held_out(candidates, options, kept, listen)
    pen = Pen(Path(runs[0]) / FOLDER, options, layout_of(every[0]), listen)
    field = Field(pen, means, kept)
    chosen, why = candidates[0], ""
    if len(candidates) > 1:
        chosen, why = best_candidate(field, candidates, every, sets.choose)
        listen(Note(why))
    models = [each for each in every if each.role != "candidate" or each is chosen]
    work = _Work(field, models, sets.report, listen)
    record = work.record(runs, why)
    seconds = round(time.monotonic() - began, 1)
    record = record.model_copy(update={"seconds": seconds})
    asked = work.ask() if options.ask else None
    text = record.model_dump_json(indent=1) + "\n"
    write_file(Path(chosen.path) / RECORD, text.encode())
    return Done(record, chosen.path, asked)


def read_record(run: Path) -> Evaluated | None:
    """What the last evaluation of a run found; None if there was none, or an older form."""
    try:
        return Evaluated.model_validate_json((run / RECORD).read_bytes())
    except (OSError, ValueError):
        return None


class _Work:
    """One evaluation: who is measured, on what, and each room of the record once."""

    def __init__(
        self, field: Field, models: Sequence[Contestant], report: Heldout, listen: Listener
    ) -> None:
        self._field, self._models, self._report, self._listen = field, models, report, listen
        self._options = field.pen.options
        self._candidate = models[0]
        self._baseline = next((each for each in models if each.role == "baseline"), None)

    # -- who

    @cached_property
    def _examples(self) -> rest.Examples | None:
        return baselines.examples_for(self._candidate, self._options.examples, self._listen)

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        """Models and ways of using them, with texts and points; the candidate first."""
        found = [self._field.entry(each, self._report) for each in self._models]
        if self._options.baselines:
            found += self._untrained({each.name: each for each in found})
        return {each.name: each for each in found}

    def _untrained(self, known: dict[str, Entry]) -> list[Entry]:
        """Ways of using a model without training it."""
        found: list[Entry] = []
        root, prompts = untuned(self._candidate), self._report.prompts
        if root is not None and self._examples is not None:
            learnt = self._examples[0]
            for who, drawn in baselines.prompted(root, prompts, learnt, self._field.pen):
                found.append(self._field.valued(who, drawn))
        if self._baseline is not None:
            best = baselines.best_of(known[self._baseline.name])
            found += [best] if best is not None else []
        return found

    # -- rooms of the record

    @cached_property
    def _named(self) -> tuple[Named, ...]:
        baseline = self._entries.get(self._baseline.name) if self._baseline else None
        return tuple(named(each, baseline) for each in self._entries.values())

    @cached_property
    def _ranked(self) -> dict[str, Ranked]:
        """Policies on the pairs; a prompted model is no other policy."""
        pairs = self._report.pairs
        if not pairs:
            return {}
        return {each.name: ranking.ranked(each, pairs, self._listen) for each in self._models}

    @cached_property
    def _wins(self) -> tuple[WinRate, ...]:
        return matches(self._field, self._entries, self._report)

    def _person(self) -> Person | None:
        kept = self._field.kept
        if kept is None or not self._ranked:
            return None
        before = None
        if self._baseline is not None:
            before = ranking.agreement(self._ranked[self._baseline.name])
        mine = ranking.agreement(self._ranked[self._candidate.name])
        return Person(agrees=mine, itself=kept.itself, before=before)

    def _heldout(self, runs: Sequence[str]) -> HeldOut:
        report = self._report
        how = self._options.model_dump(mode="json", exclude={"ask", "insecure"})
        who = sorted(each.identity for each in self._models)
        return HeldOut(
            prompts=len(report.prompts),
            pairs=len(report.pairs),
            source=report.source,
            digest=report.digest,
            looks=looks.look(report.digest, {"runs": list(runs), "models": who, "how": how}),
            detectable=detectable(len(report.prompts)) if self._wins else None,
        )

    def _control(self) -> Verdict | None:
        """The first verdict on the control against the baseline."""
        names = {each.name for each in self._models if each.role == "control"}
        return next((each.verdict for each in self._wins if each.ours in names), None)

    def _told(self, runs: Sequence[str]) -> Told:
        """What is put into words."""
        kept, reward = self._field.kept, self._field.means.reward
        ceiling = None if kept is None else kept.ceiling
        return Told(
            models=self._named,
            heldout=self._heldout(runs),
            wins=self._wins,
            accuracy=tuple(ranking.accuracy(each, ceiling) for each in self._ranked.values()),
            regression=rest.regression(self._models, self._examples, self._listen),
            person=self._person(),
            control=self._control(),
            reward=None if reward is None else reward.name,
            paid=reward is not None and rest.paid_by(self._candidate) == reward.identity,
        )

    def record(self, runs: Sequence[str], why: str) -> Evaluated:
        """Everything, in the order in which it is shown."""
        texts = {name: each.drawn for name, each in self._entries.items()}
        told = self._told(runs)
        sentence, found = headline(told)
        field, listen, models = self._field, self._listen, self._models
        divergence = rest.divergences(models, texts, self._options, listen)
        finals = (divergence, self._named, self._candidate)
        return Evaluated(
            headline=sentence,
            verdict=found,
            plain=in_plain_words(told),
            advice=advice(told, found),
            models=self._named,
            heldout=told.heldout,
            wins=self._wins,
            accuracy=tuple(told.accuracy),
            divergence=divergence,
            frontier=rest.frontier(field, self._report, *finals),
            displacement=rest.displacement(self._candidate, self._report.pairs, listen),
            margins={name: each.total for name, each in self._ranked.items()},
            diversity=rest.diversity(texts),
            rubric=rest.rubric(field, texts, self._baseline, self._candidate),
            regression=tuple(told.regression),
            copied=rest.copied(texts, self._examples),
            shown=shown(field, self._entries, self._options.seed),
            person=told.person,
            control=told.control,
            reward=told.reward,
            settings=rest.settings(runs, self._options, why),
            versions=rest.versions(),
        )

    def ask(self) -> Asked | None:
        """Put both models' texts into the store, blind."""
        kept = self._field.kept
        assert kept is not None, "checked"
        if self._baseline is None:
            return None
        ours = self._entries[self._candidate.name].drawn
        theirs = self._entries[self._baseline.name].drawn
        return verdicts.ask(kept.path, self._report.prompts, ours.firsts, theirs.firsts)
