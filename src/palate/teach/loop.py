"""`palate teach`: rounds of draw, judge, prefer, compare, in one folder, whole after any kill."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palate.config import TeachOptions, resume_rule
from palate.data.sources import parse_map, read_prompts
from palate.judge.store import Store
from palate.teach.desk import Desk
from palate.teach.figures import RoundFigures, sentence
from palate.teach.folder import Folder, once_lines
from palate.teach.prompts import Division, divide, row
from palate.teach.round import Round
from palate.teach.voices import Voice
from palate.train.events import Listener, Note, silent

WAY = "every round from the starting model, on all pairs so far, to the last step"


@dataclass(frozen=True, slots=True)
class Taught:
    """The rounds that are finished, and the folder of the last one's run.

    `waiting` is the round that a person has left before its end, to be gone on with.
    """

    path: Path
    rounds: tuple[RoundFigures, ...]
    waiting: int | None

    @property
    def policy(self) -> Path | None:
        """The run of the last finished round."""
        return self.path / f"round-{self.rounds[-1].round}" / "dpo" if self.rounds else None


def teach(
    model: str, prompts: str, options: TeachOptions, voice: Voice, listen: Listener = silent
) -> Taught:
    """Teach a model in rounds; go on if the folder exists.  Raises any PalateError."""
    found = read_prompts(prompts, mapping=parse_map(options.map), format=options.format)
    for note in found.notes:
        listen(Note(note))
    texts = [each.prompt for each in found.rows if each.prompt is not None]
    parts = divide(texts, most=options.judgements)
    with Folder.open(options.out, _frozen(model, found.digest, options, voice)) as folder:
        _write_prompts(folder, parts, listen)
        with Store.open(folder.store) as store:
            desk = Desk(folder, store, model, options, voice, listen)
            return _rounds(desk)


def _rounds(desk: Desk) -> Taught:
    finished: list[RoundFigures] = []
    for number in range(1, desk.options.rounds + 1):
        figures = Round(desk, number).run()
        if figures is None:
            return Taught(desk.folder.path, tuple(finished), number)
        desk.listen(Note(sentence(figures)))
        finished.append(figures)
    return Taught(desk.folder.path, tuple(finished), None)


def _frozen(model: str, prompts: str, options: TeachOptions, voice: Voice) -> dict[str, Any]:
    """What the same folder must be asked again with."""
    from palate.engine.identity import model_identity
    from palate.engine.locate import locate

    place = locate(model)
    fields = options.model_dump(mode="json")
    kept = {name: v for name, v in fields.items() if resume_rule(TeachOptions, name) == "frozen"}
    return kept | {
        "model": model,
        "model_weights": model_identity(place.base, place.adapter),
        "prompts": prompts,
        "judge": voice.name,
        "judge_kind": voice.kind,
        "trained": WAY,
    }


def _write_prompts(folder: Folder, parts: Division, listen: Listener) -> None:
    """Write the division down when the folder is new, and say it."""
    judged = once_lines(folder.prompts, lambda: map(row, (*parts.train, *parts.watched)))
    measured = once_lines(folder.measured, lambda: map(row, parts.measured))
    watched = len(parts.watched)
    listen(
        Note(
            f"{len(judged) - watched} prompts to learn from; held out: {watched} for the curve in"
            f" training, {len(measured)} that only measure"
        )
    )
