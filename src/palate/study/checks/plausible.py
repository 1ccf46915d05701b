"""How plausible an answer is to the model, held against what it writes itself at that length.

The level of a text is its log-prob per token, less the model's own mean at that length, over its
own spread at that length (short texts vary more).  Where the file's chosen answers are not the
model's own either, they are the yardstick: levels are moved by the chosen median and shrunk by the
chosen spread, so that a file from elsewhere is off-policy and not full of cartoons.

Shape suffixes: P pairs; 2 chosen, rejected; M the model's own texts.
"""

from dataclasses import dataclass

import numpy as np

from palate.study.checks.base import Floats, Measured, Samples

FEWEST = 40  # own texts that a percentile needs


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """`level_P2` in spreads of the model's own texts; `own_M` theirs.  NaN where not rendered.

    `moved_P2`: levels as they would be if the chosen were the model's own.  `shift` (0 or less, in
    spreads) and `scale` (1 or more) say how far the chosen are from that.
    """

    level_P2: Floats
    moved_P2: Floats
    own_M: Floats
    shift: float
    scale: float

    @property
    def raw_P2(self) -> Floats:
        """Share of the model's own texts that are less likely than this answer, in 0..1."""
        return _percentile(self.level_P2, self.own_M)

    @property
    def corrected_P2(self) -> Floats:
        """The same after the correction by the chosen answers."""
        return _percentile(self.moved_P2, self.own_M)


def levels(measured: Measured | None) -> Levels | None:
    """None without a model, or with too few texts of its own."""
    if measured is None or measured.samples is None or len(measured.samples.logps_M) < FEWEST:
        return None
    own_M = measured.samples.logps_M
    mean, spread = _at_length(measured.samples)
    tokens_M = measured.samples.tokens_M.astype(np.float64)
    level_M = (own_M - mean(tokens_M)) / spread(tokens_M)
    tokens_P2 = np.maximum(measured.tokens_P2, 1).astype(np.float64)
    above_P2, spread_P2 = per_token(measured) - mean(tokens_P2), spread(tokens_P2)
    if not np.isfinite(above_P2[:, 0]).any():
        return None
    # the same nats per token at every length, so that short answers are not let off
    moved_P2 = (above_P2 - min(0.0, float(np.nanmedian(above_P2[:, 0])))) / spread_P2
    scale = max(1.0, _around(moved_P2[:, 0]) / max(_around(level_M), 1e-9))
    level_P2 = above_P2 / spread_P2
    shift = min(0.0, float(np.nanmedian(level_P2[:, 0])))
    return Levels(level_P2, moved_P2 / scale, level_M, shift, scale)


def _around(values: Floats) -> float:
    """Standard deviation by the median distance from the median; NaN is passed over."""
    return float(1.4826 * np.nanmedian(np.abs(values - np.nanmedian(values))))


def per_token(measured: Measured) -> Floats:
    """Log-probs per token (P,2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found_P2: Floats = measured.logps_P2 / measured.tokens_P2
    return found_P2


class _Line:
    """Least squares of `values` on one figure of the length, held outside the lengths seen."""

    def __init__(self, length_M: Floats, values_M: Floats) -> None:
        self.low, self.high = float(length_M.min()), float(length_M.max())
        self.slope, self.start = 0.0, float(values_M.mean())
        if length_M.std() > 1e-9:
            self.slope = float(np.cov(length_M, values_M)[0, 1] / length_M.var(ddof=1))
            self.start = float(values_M.mean() - self.slope * length_M.mean())

    def __call__(self, length: Floats) -> Floats:
        found: Floats = self.start + self.slope * np.clip(length, self.low, self.high)
        return found


class _Mean:
    """The model's own level at a length: linear in log tokens."""

    def __init__(self, samples: Samples) -> None:
        self.line = _Line(np.log(samples.tokens_M), samples.logps_M)

    def __call__(self, tokens: Floats) -> Floats:
        return self.line(np.log(tokens))


class _Spread:
    """Its spread: variance a + b / tokens, a and b fitted to squared residuals and not negative."""

    def __init__(self, samples: Samples, mean: _Mean) -> None:
        square_M = (samples.logps_M - mean(samples.tokens_M.astype(float))) ** 2
        self.least = max(float(square_M.mean()) / 4, 1e-12)
        self.most = float(square_M.mean()) * 25
        line = _Line(1.0 / samples.tokens_M, square_M)
        self.slope = max(line.slope, 0.0)
        self.start = float(square_M.mean() - self.slope * (1.0 / samples.tokens_M).mean())

    def __call__(self, tokens: Floats) -> Floats:
        variance = np.clip(self.start + self.slope / tokens, self.least, self.most)
        found: Floats = np.sqrt(variance)
        return found


def _at_length(samples: Samples) -> tuple[_Mean, _Spread]:
    mean = _Mean(samples)
    return mean, _Spread(samples, mean)


def _percentile(values_P2: Floats, own_M: Floats) -> Floats:
    """Mid-rank among the own values, in (0,1); below them all, less by e per spread; NaN stays."""
    ranked_M = np.sort(own_M)
    below = np.searchsorted(ranked_M, values_P2, "left").astype(float)
    below += np.searchsorted(ranked_M, values_P2, "right")
    share_P2 = (below / 2 + 0.5) / (len(ranked_M) + 1)
    share_P2 *= np.exp(np.minimum(np.nan_to_num(values_P2) - ranked_M[0], 0.0))
    found_P2: Floats = np.where(np.isfinite(values_P2), share_P2, np.nan)
    return found_P2
