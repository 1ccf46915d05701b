"""Sums over a sequence's tokens other than the log-prob, for the objectives that read them.

Shape suffixes: K scored tokens.
"""

from collections.abc import Callable

from torch import Tensor

from palate.objectives.reference_free import SUREST, log1mexp

TokenSum = Callable[[Tensor, Tensor | None], Tensor]


def sureness(logps_K: Tensor, square_K: Tensor | None) -> Tensor:
    """log p less log of the sum of p^2 over the vocabulary, without gradient (WPO).

    0 where the token is as likely as the policy's own draws are on average.
    """
    assert square_K is not None, "the engine was not asked for statistics"
    return logps_K.detach() - square_K.log().to(logps_K)


def unlikely(logps_K: Tensor, square_K: Tensor | None) -> Tensor:
    """log(1 - p) of the token (unlikelihood).

    A probability of 1 is taken as that of SUREST, and keeps its gradient: a token that is certain
    is the one that a repetition consists of.
    """
    held_K = logps_K + (logps_K.clamp(max=SUREST) - logps_K).detach()
    return log1mexp(held_K)


SUMS: dict[str, TokenSum] = {"sureness": sureness, "unlikely": unlikely}
STATISTICS = frozenset({"sureness"})  # sums that read the softmax's square
