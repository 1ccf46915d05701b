"""A linear judge that is never told which side is which: the probe of `surface` and `suspects`.

Antisymmetric logistic regression: it reads the difference of the two sides, has no intercept, and
each pair is turned around at random, so that swapping a pair negates its margin.  Every margin is
out of fold, and all pairs of one prompt are in one fold.

Shape suffixes: P pairs, D features.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from palate.study.checks.base import Floats, Ints, PairText
from palate.study.checks.words import normalised

BITS: Final = 15
STEPS: Final = 300


def groups(pairs: Sequence[PairText]) -> Ints:
    """One number per prompt."""
    index: dict[str, int] = {}
    prompts = (normalised(pair.prompt) for pair in pairs)
    return np.array([index.setdefault(prompt, len(index)) for prompt in prompts], dtype=np.int64)


def bag(pairs: Sequence[PairText]) -> Any:
    """Difference of two hashed bags of words (P, 2**15), sparse, each side of length 1."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectors = HashingVectorizer(n_features=1 << BITS, alternate_sign=False, dtype=np.float32)
    return vectors.transform([pair.chosen for pair in pairs]) - vectors.transform(
        [pair.rejected for pair in pairs]
    )


def scaled(difference_PD: Floats) -> Floats:
    """Each feature by its root mean square, not centred: the model has to stay antisymmetric."""
    size = np.sqrt(np.mean(np.square(difference_PD), axis=0))
    return np.asarray(difference_PD / np.where(size > 0, size, 1.0))


def fit(difference_PD: Any, seed: int, *, strength: float = 1.0) -> Floats:
    """Weights (D,) of the regression on these pairs.  `strength` is the inverse of the penalty."""
    from scipy.sparse import diags_array
    from sklearn.linear_model import LogisticRegression

    count = difference_PD.shape[0]
    turned = np.random.default_rng(seed).permutation(np.arange(count) % 2 * 2.0 - 1.0)
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=STEPS, tol=1e-3)
    model.fit(diags_array(turned) @ difference_PD, turned > 0)
    return np.asarray(model.coef_[0], dtype=np.float64)


def margins(
    difference_PD: Any, group_P: Ints, *, folds: int, seed: int = 0, strength: float = 1.0
) -> Floats:
    """Out-of-fold log-odds (P,) that the chosen side wins; prompts are dealt out at random."""
    deal = np.random.default_rng(seed).permutation(int(group_P.max()) + 1) % folds
    fold_P = deal[group_P]
    found = np.zeros(len(group_P))
    for fold in range(folds):
        kept, out = np.flatnonzero(fold_P != fold), np.flatnonzero(fold_P == fold)
        found[out] = difference_PD[out] @ fit(difference_PD[kept], seed, strength=strength)
    return found


def right(margin_P: Floats) -> float:
    """How many the probe has right; no opinion counts half."""
    return float((margin_P > 0).sum() + 0.5 * (margin_P == 0).sum())


def bits(margin_P: Floats) -> float:
    """1 − cross-entropy/ln 2: what the probe knows of a verdict, in bits; below 0 misled."""
    return float(1 - np.logaddexp(0, -margin_P).mean() / math.log(2))


def turned(difference_PD: Any, flip_P: NDArray[np.bool_]) -> Any:
    """The same differences with these labels the other way round."""
    from scipy.sparse import diags_array

    return diags_array(np.where(flip_P, -1.0, 1.0)) @ difference_PD
