"""Measured rows as plain values: texts of tokens, kinds, alternatives, and one line in words."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from palate.data.rows import Pair, Text
from palate.data.rows import Row as FileRow
from palate.objectives import Objective
from palate.study.reading import Reading
from palate.study.seen import Alternative, Kind, Row, Side, Token
from palate.study.sentences import Facts, in_words
from palate.study.tokens import Measured, net_at_fork, shared_tokens

SIDES = {1: ("completion",), 2: ("chosen", "rejected")}
ANCHOR = "a"


class Shown:
    """What every row needs to be shown: the tokenizer, the objective, all figures."""

    def __init__(
        self, tokenizer: Any, objective: Objective, reading: Reading, detailed: set[int]
    ) -> None:
        self.objective, self.reading, self.detailed = objective, reading, detailed
        self.text = cache(_piece(tokenizer))
        self.typical = float(np.median([found[0].logps_T.size for found in reading.found]))
        self.full = float(reading.weights_IN[:, :2].abs().max())


def shown_row(shown: Shown, row: FileRow, index: int, beside: tuple[Measured, ...] | None) -> Row:
    """Row `index` (0-based); `beside`: its tokens under the reference, if it is shown in full."""
    reading, item = shown.reading, shown.reading.items[index]
    names = SIDES.get(len(reading.pulls[index])) or tuple(
        f"number {n}" for n in range(1, len(reading.pulls[index]) + 1)
    )
    fork = shared_tokens(item) if len(names) == 2 else 0
    sides = tuple(
        _side(shown, index, place, name, fork, beside) for place, name in enumerate(names)
    )
    scored_before = sum(place < fork for place in reading.found[index][0].places_T.tolist())
    margin = None if reading.margins_I is None else float(reading.margins_I[index])
    facts = Facts(
        objective=shown.objective.name,
        options=shown.objective.options,
        margin=margin,
        shared=scored_before,
        typical=shown.typical,
    )
    return Row(
        number=index + 1,
        line=row.origin.line,
        prompt=_plain(row.prompt),
        sides=sides,
        loss=float(reading.losses_I[index]),
        words=in_words(facts, sides),
        margin=margin,
        shared=scored_before,
        tag=row.tag if isinstance(row, Pair) else None,
    )


def _side(
    shown: Shown, index: int, place: int, name: str, fork: int, beside: tuple[Measured, ...] | None
) -> Side:
    reading = shown.reading
    measured, reference_IN = reading.found[index][place], reading.scored.reference_IN
    return Side(
        name=name,
        logp=float(measured.logps_T.sum()),
        ref_logp=None if reference_IN is None else float(reference_IN[index, place]),
        count=len(measured.logps_T),
        weight=float(reading.weights_IN[index, place]),
        mass=reading.mass(index, place),
        detail=_tokens(shown, index, place, fork, beside) if index in shown.detailed else None,
    )


def _tokens(
    shown: Shown, index: int, place: int, fork: int, beside: tuple[Measured, ...] | None
) -> tuple[Token, ...]:
    reading = shown.reading
    measured, item = reading.found[index][place], reading.items[index]
    pulls_T, pushes_T = reading.pulls[index][place], reading.pushes(index, place)
    kinds = _kinds(measured, fork)
    found = []
    for t, kind in enumerate(kinds):
        target = item.sequences[place].ids[measured.places_T[t]]
        top = zip(measured.top_T5[t].tolist(), np.exp(measured.top_logps_T5[t]), strict=True)
        alternatives = tuple(
            Alternative(shown.text(token), float(p), float(pulls_T[t] * ((token == target) - p)))
            for token, p in top
        )
        found.append(
            Token(
                text=shown.text(target),
                logp=float(measured.logps_T[t]),
                ref_logp=None if beside is None else float(beside[place].logps_T[t]),
                logit_grad_norm=float(pushes_T[t]),
                kind=kind,
                alternatives=alternatives,
                net_logit_grad_norm=_net(shown, index, t) if kind == "first" else None,
            )
        )
    return tuple(found)


def _kinds(measured: Measured, fork: int) -> list[Kind]:
    """Shared tokens lie before the fork; the token at it is the first divergence."""
    if fork == 0:
        return ["after"] * len(measured.places_T)
    places = measured.places_T.tolist()
    return ["shared" if p < fork else "first" if p == fork else "after" for p in places]


def _net(shown: Shown, index: int, t: int) -> float | None:
    """Both sides' pushes summed at the fork."""
    chosen, rejected = shown.reading.found[index][:2]
    pulls = shown.reading.pulls[index]
    if t >= min(len(chosen.places_T), len(rejected.places_T)):
        return None
    return net_at_fork((float(pulls[0][t]), float(pulls[1][t])), chosen, rejected, t)


def _piece(tokenizer: Any) -> Any:
    """Token id -> its text as it stands inside a sentence, its leading space kept."""
    anchor = tokenizer.encode(ANCHOR, add_special_tokens=False)[-1:]
    start = len(_decoded(tokenizer, anchor))

    def text(token: int) -> str:
        return _decoded(tokenizer, [*anchor, token])[start:]

    return text


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


def _plain(text: Text | None) -> str:
    """A prompt as one text; a conversation as its turns."""
    if text is None:
        return ""
    if isinstance(text, str):
        return text
    return "\n".join(f"{message.role}: {message.content}" for message in text)
