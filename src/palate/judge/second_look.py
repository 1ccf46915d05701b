"""What is worth a second look: verdicts that contradict each other, labels that look wrong, chosen
answers that were never held against a fresh one, and answers worth writing better.

Only which two answers, and in what order.  Nothing here says which was chosen, but in edit mode,
where the judge knows.  The same store gives the same list; what a judge was shown in a mode is not
in it again.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from palate.data.judged import SECOND_LOOKS, Judgement, Mode
from palate.judge.departures import pairs
from palate.judge.store import Store
from palate.judge.values import digest
from palate.study.checks import suspects
from palate.study.checks.base import Case, PairText
from palate.study.checks.contradictions import cycles
from palate.study.live import Reading, read_pair
from palate.study.remarks import Note

BOTH: Final = "You said both, at different times."
AGAINST_FILE: Final = "Your verdict and the file's differ on these two."
OF_FILES: Final = "The file says both of these two."
CIRCLE: Final = "The verdicts on this prompt run in a circle, through these two."
AGAIN: Final = "One more look at these two, please."
FRESH: Final = "Which of these two is better?"
BAD: Final = "You said: both bad. Write the better answer."
_OF_CHOSEN: Final = ("facts", "role", "opening", "format", "ending", "kind")
_WEIGHT: Final = {"bad": 2.0, "look": 1.0, "good": 0.0}


@dataclass(frozen=True, slots=True)
class Look:
    """Two answers by id, `one` to stand left; the presentation that is looked at again; the words
    above them; and why, which is not for the judge to see."""

    one: str
    other: str
    again: str | None
    note: str
    why: str


def looks(store: Store, judge: str, mode: Mode) -> list[Look]:
    """What a mode would show this judge, in order; nothing for a mode that looks at nothing twice.

    `recheck` fits a probe: seconds on a thousand pairs.
    """
    makers = {"audit": _audit, "resolve": _resolve, "recheck": _recheck, "edit": _edit}
    if mode not in makers:
        return []
    shown = _shown(store, judge, mode)
    found: dict[frozenset[str], Look] = {}
    for look in makers[mode](store, judge):
        couple = frozenset((look.one, look.other))
        if couple not in shown:
            found.setdefault(couple, look)
    return list(found.values())


def _shown(store: Store, judge: str, mode: Mode) -> set[frozenset[str]]:
    """Couples that were shown to a judge in a mode, judged or not."""
    judged = {each.of.couple for each in store.standing(judge) if each.of.mode == mode}
    return judged | {each.couple for each in store.pending(judge, mode)}


def _whose(store: Store, judge: str) -> list[str]:
    """The judge, and every file: what one person answers for."""
    known = store.judges()
    return [name for name, kind in known.items() if name == judge or kind == "file"]


def _counted(store: Store, judge: str, *, every_split: bool = False) -> list[Judgement]:
    """The verdicts that an export would hold, of this judge and of files."""
    whose = _whose(store, judge)
    rows = pairs(store, judges=whose, split=None if every_split else "train") if whose else []
    return [store.judgement(row["id"]) for row in rows]


def _sides(each: Judgement, judge: str, mode: Mode) -> tuple[str, str]:
    """Sides by a hash: neither the earlier ones nor the verdict can be read from them."""
    one, other = sorted(each.of.couple, key=lambda id: digest("second look", judge, mode, id))
    return one, other


# ---- resolve


def _resolve(store: Store, judge: str) -> Iterator[Look]:
    """Opposite verdicts first, then the weakest verdict of every circle."""
    whose = _whose(store, judge)
    every = [each for each in store.standing() if each.of.judge in whose and each.chosen]
    settled = {each.of.couple for each in every if each.of.mode in SECOND_LOOKS}
    told = [each for each in every if each.of.mode != "audit" and each.of.couple not in settled]
    by_couple: defaultdict[frozenset[str], list[Judgement]] = defaultdict(list)
    for each in told:
        by_couple[each.of.couple].append(each)
    for same in by_couple.values():
        winners = {each.chosen.id for each in same if each.chosen}
        if len(winners) > 1:
            note = _note(same, judge)
            yield _look(same[0], judge, "resolve", note, "opposite verdicts on the same two")
    yield from _circles(store, judge)


def _note(same: Sequence[Judgement], judge: str) -> str:
    own = {each.chosen.id for each in same if each.of.judge == judge and each.chosen}
    if len(own) > 1:
        return BOTH
    return AGAINST_FILE if own else OF_FILES


def _circles(store: Store, judge: str) -> Iterator[Look]:
    """Of each prompt whose verdicts run in a circle, the verdict that is weakest and was not looked
    at again: given fast, not called much better, the oldest.  Asked one at a time, as one new
    verdict may undo the circle."""
    counted = _counted(store, judge, every_split=True)
    shown = _shown(store, judge, "resolve")
    for prompt, places in _in_circles(counted).items():
        free = [counted[place] for place in places if counted[place].of.couple not in shown]
        if free:
            weakest = min(free, key=lambda each: (each.strength, not each.fast, each.created))
            yield _look(weakest, judge, "resolve", CIRCLE, f"a circle on prompt {prompt}")


def _in_circles(counted: Sequence[Judgement]) -> dict[str, list[int]]:
    """Prompt -> places of the verdicts that lie on a circle of three or more."""
    import numpy as np

    number: dict[str, int] = {}
    rows = [
        [number.setdefault(side.id, len(number)) for side in (each.chosen, each.rejected) if side]
        for each in counted
    ]
    if not rows:
        return {}
    found: dict[str, list[int]] = {}
    for place in cycles(np.array(rows, np.int64))[1]:
        found.setdefault(counted[place].of.prompt.id, []).append(place)
    return found


def _look(each: Judgement, judge: str, mode: Mode, note: str, why: str) -> Look:
    return Look(*_sides(each, judge, mode), each.of.id, note, why)


# ---- recheck


def _recheck(store: Store, judge: str) -> Iterator[Look]:
    """Labels that disagree with what the other pairs teach, the surest first; none where such a
    list would be worth nothing (the doctor's check says so)."""
    counted = _counted(store, judge)
    rows = [_as_text(place, each) for place, each in enumerate(counted)]
    for finding in suspects.run(Case(str(store.path), rows)):
        for place in finding.rows:
            why = "its label disagrees with what the other pairs teach"
            yield _look(counted[place], judge, "recheck", AGAIN, why)


def _as_text(place: int, each: Judgement) -> PairText:
    assert each.chosen and each.rejected, "a pair has both"
    return PairText(place, each.of.prompt.text, each.chosen.text, each.rejected.text)


# ---- audit


def _audit(store: Store, judge: str) -> Iterator[Look]:
    """The chosen answer of each pair against a sample that took no part, in random order.

    One audit for one chosen answer, and every sample in one audit only.
    """
    counted = _counted(store, judge)
    audited = {id for couple in _shown(store, judge, "audit") for id in couple}
    taken = {id for each in store.standing() for id in each.of.couple} | audited
    for each in sorted(counted, key=lambda each: digest("audit", judge, each.of.id)):
        chosen = each.chosen
        if chosen is None or chosen.id in audited:
            continue
        seen = {id for couple in store.seen(judge, chosen.prompt_id) for id in couple}
        fresh = [
            answer.id
            for answer in store.answers(chosen.prompt_id)
            if answer.origin == "sample" and answer.id not in taken | seen
        ]
        if fresh:
            sample = min(fresh, key=lambda id: digest("fresh", judge, id))
            audited.add(chosen.id)
            taken.add(sample)
            one, other = sorted((chosen.id, sample), key=lambda id: digest("audit", judge, id))
            yield Look(one, other, None, FRESH, f"the chosen answer of {each.id}, a fresh sample")


# ---- edit


def _edit(store: Store, judge: str) -> Iterator[Look]:
    """Prompts where both were bad, then chosen answers that read weak, the weakest first."""
    whose = _whose(store, judge)
    told = [each for each in store.standing() if each.of.judge in whose]
    told = [each for each in told if _may_be_edited(each, store)]
    for each in told:
        if each.verdict == "both_bad":
            yield Look(each.of.left.id, each.of.right.id, each.of.id, BAD, "both bad")
    weak = []
    for each in told:
        if each.chosen and each.rejected:
            read = read_pair(each.of.prompt.text, each.chosen.text, each.rejected.text)
            notes = list(_about_chosen(read))
            if notes:
                weak.append((-sum(_WEIGHT[note.level] for note in notes), each, notes[0]))
    for _, each, note in sorted(weak, key=lambda found: found[0]):
        who = "You chose" if each.of.judge == judge else "The file prefers"
        said = f"{who} the {each.verdict} answer. {note.says}"
        yield Look(each.of.left.id, each.of.right.id, each.of.id, said, note.name)


def _may_be_edited(each: Judgement, store: Store) -> bool:
    """Judged as a pair, for the first time, and neither answer was written better already."""
    if each.of.mode not in ("pair", "rank", "import") or each.of.again is not None:
        return False
    answers = store.answers(each.of.prompt.id)
    return not any(answer.parent in each.of.couple for answer in answers)


def _about_chosen(read: Reading) -> Iterable[Note]:
    """What speaks against the chosen answer, the worst first."""
    found = (
        note
        for note in read.notes
        if note.level != "good" and note.name in _OF_CHOSEN and "chosen" in note.says
    )
    return sorted(found, key=lambda note: -_WEIGHT[note.level])
