"""The new policy against the starting model: one text of each per prompt, same seeds, blind.

The texts stand in the store as any others do, and which of them stands left is a coin's.  Where
both wrote the same text there is nothing to ask: it is a tie.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from palate.judge.store import Pick
from palate.teach.desk import Desk, Rows
from palate.teach.figures import Wins
from palate.teach.folder import once

Both = Mapping[str, Sequence[str]]  # prompt -> the new policy's answer, the old one's


def compare(desk: Desk, title: str, path: Path) -> Wins | None:
    """What came of it for the round in `path`; None if the judge left before the end."""
    both: Both = once(path / "compare.json", lambda: _drawn(desk, path))
    picks = [Pick(mine, old, "random") for mine, old in both.values() if mine != old]
    if picks and not desk.ask(f"{title}, measuring", "audit", picks):
        return None
    return _counted(desk, both, picks)


def _drawn(desk: Desk, path: Path) -> Both:
    """The same seeds for both models, and others than those of the texts that are judged."""
    prompts, seed = desk.folder.measured, desk.seed("measure")
    old = desk.draw(desk.folder.path / "start.jsonl", desk.model, prompts, n=1, seed=seed)
    new = desk.draw(path / "after.jsonl", str(path / "dpo"), prompts, n=1, seed=seed)
    with desk.store.transaction():
        after, before = (dict(_ids(desk, rows)) for rows in (new, old))
    return {prompt: (answer, before[prompt]) for prompt, answer in after.items()}


def _ids(desk: Desk, rows: Rows) -> Iterator[tuple[str, str]]:
    """Prompt and answer of each text.  An empty one counts as any other."""
    for row in rows:
        asked, answer = desk.stored(row)
        yield asked.id, answer.id


def _counted(desk: Desk, both: Both, picks: list[Pick]) -> Wins:
    found = desk.verdicts(picks)
    told = [(found.get(frozenset(answers)), answers) for answers in both.values()]
    chosen = [(each.chosen, answers) for each, answers in told if each is not None]
    won = sum(answer is not None and answer.id == mine for answer, (mine, _) in chosen)
    even = sum(answer is None for answer, _ in chosen)
    same = len(both) - len(picks)
    return Wins(
        won=won,
        lost=len(chosen) - won - even,
        ties=even + same,
        same=same,
        skipped=len(picks) - len(chosen),
    )
