"""Who met whom, by which judge, and what came of it."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from palate.evaluation import verdicts
from palate.evaluation.contestants import Contestant
from palate.evaluation.heldout import Heldout, key
from palate.evaluation.judging import (
    Bench,
    Means,
    Points,
    Said,
    Scores,
    by_program,
    by_reward,
    points_of,
)
from palate.evaluation.texts import Pen
from palate.evaluation.verdicts import Kept
from palate.stats import Interval, bootstrap_mean, paired_difference, verdict
from palate.study import wins
from palate.study.drawn import Drawn
from palate.study.evaluated import Named, Shown, WinRate
from palate.study.sampling import plain

SHOWN: Final = 12  # side by side, drawn by seed
WORST: Final = 4  # losses
STORE: Final = "verdicts.db"  # of a model that judges, in the evaluation's folder


@dataclass(frozen=True, slots=True)
class Entry:
    """A model, or a way of using one, with its texts and what they are worth."""

    contestant: Contestant
    drawn: Drawn
    points: Points | None = None

    @property
    def name(self) -> str:
        return self.contestant.name

    def first(self) -> "Entry":
        """One text of each prompt."""
        ended = tuple(each[:1] for each in self.drawn.ended)
        texts = tuple(each[:1] for each in self.drawn.texts)
        points = None if self.points is None else tuple(each[:1] for each in self.points)
        drawn = Drawn(self.name, self.drawn.prompts, texts, ended)
        return Entry(self.contestant, drawn, points)


@dataclass(frozen=True, slots=True)
class Field:
    """How texts are drawn and judged in one evaluation."""

    pen: Pen
    means: Means
    kept: Kept | None
    bench: list[Bench] = field(default_factory=list)

    def entry(self, contestant: Contestant, heldout: Heldout) -> Entry:
        """A model's texts and points.  Raises PalateError."""
        return self.valued(contestant, self.pen.draw(contestant, heldout.prompts))

    def valued(self, contestant: Contestant, drawn: Drawn) -> Entry:
        reward = self.means.reward
        return Entry(contestant, drawn, None if reward is None else points_of(reward, drawn))

    def compare(self, ours: Entry, theirs: Entry) -> list[Said]:
        """What every judge says of two models' texts, the person first."""
        if len(ours.drawn.texts[0]) != len(theirs.drawn.texts[0]):
            ours, theirs = ours.first(), theirs.first()
        found = [*self._person(ours, theirs)]
        judge, reward = self.means.judge, self.means.reward
        if judge is not None:
            found.append(self._judge(ours, theirs))
        the_same = judge is not None and reward is not None and judge.name == reward.name
        if reward is not None and ours.points and theirs.points and not the_same:
            found.append(by_reward(reward, ours.points, theirs.points))
        return found

    def _person(self, ours: Entry, theirs: Entry) -> list[Said]:
        """The audits in the store, if there is one on a pair of texts that differ."""
        if self.kept is None:
            return []
        texts = ours.drawn.firsts, theirs.drawn.firsts
        told = verdicts.said(self.kept, ours.drawn.prompts, *texts)
        differ = [each for each, one, other in zip(told, *texts, strict=True) if one != other]
        if not any(each is not None for each in differ):
            return []
        return [Said("you", "person", tuple((each,) for each in told))]

    def _judge(self, ours: Entry, theirs: Entry) -> Said:
        judge = self.means.judge
        assert judge is not None
        if judge.kind != "model":
            return by_program(judge, ours.drawn, theirs.drawn)
        if not self.bench:
            self.bench.append(Bench(self.pen.folder / STORE, judge, self.kept, self.pen.listen))
        return self.bench[0].compare(ours.drawn, theirs.drawn)


# -- the matches of an evaluation


def matches(field: Field, everyone: Mapping[str, Entry], heldout: Heldout) -> tuple[WinRate, ...]:
    """Candidate against everybody, the control and the untuned model against the baseline."""
    found = []
    for ours, theirs in _pairings(list(everyone.values())):
        found += [_rate(ours, theirs, said, heldout) for said in field.compare(ours, theirs)]
    return tuple(found)


def _pairings(entries: Sequence[Entry]) -> list[tuple[Entry, Entry]]:
    by_role: dict[str, list[Entry]] = {}
    for each in entries:
        by_role.setdefault(each.contestant.role, []).append(each)
    mine = by_role["candidate"][0]
    base = by_role.get("baseline", [])
    others = [each for role in ("other", "prompted", "best-of-n") for each in by_role.get(role, [])]
    found = [(mine, each) for each in (*base, *others)]
    found += [(each, base[0]) for each in by_role.get("control", []) if base]
    return found + [(base[0], each) for each in others if base and each.contestant.role == "other"]


def _rate(ours: Entry, theirs: Entry, said: Said, heldout: Heldout) -> WinRate:
    met = _met(ours.drawn, theirs.drawn, said.scores, heldout)
    won, lost, tied = wins.counts(met)
    raw, even = wins.raw(met), wins.controlled(met)
    return WinRate(
        ours=ours.name,
        theirs=theirs.name,
        judge=said.judge,
        kind=said.kind,
        wins=won,
        losses=lost,
        ties=tied,
        raw=raw,
        verdict=verdict(raw, null=0.5),
        controlled=even,
        controlled_verdict=None if even is None else verdict(even, null=0.5),
        consistency=said.consistency,
        agreement=said.agreement,
        trusted=said.trusted,
        slices=wins.slices(met),
    )


def _met(ours: Drawn, theirs: Drawn, scores: Scores, heldout: Heldout) -> list[wins.Met]:
    """Every comparison that has a verdict; texts beyond the judged ones are left aside."""
    return [
        wins.Met(key(prompt), score, _words(mine) - _words(other), heldout.tags_of(prompt))
        for prompt, one, two, same in zip(
            ours.prompts, ours.texts, theirs.texts, scores, strict=True
        )
        for mine, other, score in zip(one, two, same)
        if score is not None
    ]


def _words(text: str) -> int:
    return len(text.split())


# -- one of several candidates


def best_candidate(
    field: Field, candidates: Sequence[Contestant], every: Sequence[Contestant], choose: Heldout
) -> tuple[Contestant, str]:
    """The one that does best on rows that then report nothing, and by what it was chosen."""
    rates = _points_of(field, candidates, choose) or _wins_of(field, candidates, every, choose)
    by = "points" if field.means.reward is not None else "win rate"
    if not rates:
        rates, by = _accuracies(field, candidates, choose), "accuracy on pairs"
    best = max(candidates, key=lambda each: rates[each.name])
    told = ", ".join(f"{name} {value:.3g}" for name, value in rates.items())
    count = len(choose.prompts)
    return best, f"{best.name} is chosen by {by} on {count} other held-out prompts: {told}"


def _points_of(field: Field, candidates: Sequence[Contestant], choose: Heldout) -> dict[str, float]:
    if field.means.reward is None:
        return {}
    entries = [field.entry(each, choose) for each in candidates]
    return {each.name: _mean_points(each).value for each in entries}


def _wins_of(
    field: Field, candidates: Sequence[Contestant], every: Sequence[Contestant], choose: Heldout
) -> dict[str, float]:
    baseline = next((each for each in every if each.role == "baseline"), None)
    if field.means.judge is None or baseline is None:
        return {}
    theirs = field.entry(baseline, choose)
    found = {}
    for each in candidates:
        ours = field.entry(each, choose)
        said = next(s for s in field.compare(ours, theirs) if s.kind != "person")
        found[each.name] = wins.raw(_met(ours.drawn, theirs.drawn, said.scores, choose)).value
    return found


def _accuracies(
    field: Field, candidates: Sequence[Contestant], choose: Heldout
) -> dict[str, float]:
    from palate.errors import UsageError
    from palate.evaluation import ranking

    if not choose.pairs:
        raise UsageError(
            "Nothing chooses between the runs: no held-out pairs, no judge and no reward.",
            hint="Give --reward, --judge-with or --pairs, or evaluate one run.",
        )
    ranks = [ranking.ranked(each, choose.pairs, field.pen.listen) for each in candidates]
    return {each.model: ranking.agreement(each).value for each in ranks}


# -- who is who, and texts side by side


def named(entry: Entry, baseline: Entry | None) -> Named:
    """An entry as the record has it."""
    who, prompts = entry.contestant, [key(each) for each in entry.drawn.prompts]
    flat = [
        (_words(text), name) for name, texts in zip(prompts, entry.drawn.texts) for text in texts
    ]
    gain = None
    if baseline is not None and baseline.name != entry.name and entry.points and baseline.points:
        gain = paired_difference(_means(entry.points), _means(baseline.points))
    return Named(
        name=who.name,
        role=who.role,
        path=who.path,
        identity=who.identity,
        stage=who.stage,
        words=bootstrap_mean([float(count) for count, _ in flat], [name for _, name in flat]),
        points=None if entry.points is None else _mean_points(entry),
        gain=gain,
    )


def _means(points: Points) -> list[float]:
    """Of each prompt."""
    return [sum(each) / len(each) for each in points]


def _mean_points(entry: Entry) -> Interval:
    assert entry.points is not None
    flat = [(value, n) for n, each in enumerate(entry.points) for value in each]
    return bootstrap_mean([value for value, _ in flat], [n for _, n in flat])


def shown(field: Field, everyone: Mapping[str, Entry], seed: int) -> tuple[Shown, ...]:
    """Twelve prompts drawn by seed, then the four worst losses against the baseline."""
    entries = list(everyone.values())
    baseline = next((e for e in entries if e.contestant.role == "baseline"), None)
    mine, count = entries[0], len(entries[0].drawn.prompts)
    picked = sorted(random.Random(f"shown {seed}").sample(range(count), min(SHOWN, count)))
    gaps = _gaps(mine, baseline, field)
    losses = sorted((n for n in gaps if gaps[n] < 0), key=lambda n: (gaps[n], n))[:WORST]
    rows = [(n, False) for n in picked] + [(n, True) for n in losses]
    return tuple(_side_by_side(entries, n, gaps.get(n), worst=worst) for n, worst in rows)


def _gaps(mine: Entry, baseline: Entry | None, field: Field) -> dict[int, float]:
    """Prompt -> how far our first text is ahead: in points, else by the first judge's verdict."""
    if baseline is None:
        return {}
    if mine.points and baseline.points:
        both = zip(mine.points, baseline.points, strict=True)
        return {n: one[0] - other[0] for n, (one, other) in enumerate(both)}
    said = field.compare(mine, baseline)
    if not said:
        return {}
    firsts = enumerate(each[0] for each in said[0].scores)
    return {n: score - 0.5 for n, score in firsts if score is not None}


def _side_by_side(entries: Sequence[Entry], place: int, gap: float | None, *, worst: bool) -> Shown:
    names = {each.contestant.role: each.name for each in reversed(entries)}
    winner = "tie" if not gap else names["candidate"] if gap > 0 else names["baseline"]
    asked = plain(entries[0].drawn.prompts[place])
    text = (
        asked
        if isinstance(asked, str)
        else "\n".join(f"{turn['role']}: {turn['content']}" for turn in asked)
    )
    return Shown(
        prompt=text,
        texts={each.name: each.drawn.texts[place][0] for each in entries},
        verdict=winner if gap is not None else "",
        points={each.name: each.points[place][0] for each in entries if each.points},
        worst=worst,
    )
