"""One thing that gives the better answer away: a format pattern, a word, a fixed phrase.

Three rules, because three things look alike in the counts (a: only in the chosen, b: only in the
rejected answer of a pair).

1. Format patterns (emoji, lists, an opening "I", ...) are warnings: they are form, and form is
   learnt before content.  One that only rejected answers hold is information while fewer than one
   pair in ten has it: nothing is copied from there, and mostly it is what was meant ("!" in hype).
   z = (a−b)/√(a+b) over 4 with a share a/(a+b) from 60% or up to 40%; or at least 95% on one side
   and significant at 5% over all patterns (exact, two-sided).
2. A mark is a warning.  It is a word or phrase that stands almost only (95%) in chosen answers, so
   that DPO will copy it; that its own prompt does not hold, so that it is no topic word; that
   hardly ever stands on both sides, as ordinary words of one subject do; and that comes with many
   prompts, not often with one.  It fires from so many pairs on that luck alone would give 0.04 such
   features a file, summed exactly over all that pass the last three conditions (these do not look
   at which side is which).  Openings and closings, where a habit mostly sits and few features
   compete, have a sum of their own.
3. All other one-sided words are shown as information in one finding: on sound data they ARE the
   taste (fewer vague phrases, more facts).  So is a mark of the rejected side: what DPO unlearns.
   Their z is held against Bonferroni's limit over all features, and against the share that longer
   answers alone would give.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from palate.stats import share
from palate.study.checks import grams
from palate.study.checks.base import ENOUGH, Case, Check, Finding, Floats, Ints, PairText, too_few
from palate.study.checks.grams import Grams
from palate.study.checks.patterns import PATTERNS, holds
from palate.study.checks.words import percent

NAME: Final = "shortcuts"
Z, SHARE, ONE_SIDED = 4.0, 0.60, 0.95
LEVEL, CHANCE = 0.05, 0.04
STRICT = RARE = 0.01
OWN_PROMPT = BOTH_SIDES = 0.05
UNLEARNT = 0.10
SHOWN, NAMED, MOST = 4, 6, 400
SAME, PART, COMMON = 0.5, 0.8, 0.3
MANY = 0.8
FORMAT = "arXiv 2409.11704; the limits are our default"


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that fired: how often on each side only, and the rows of its side."""

    name: str
    chosen: int
    rejected: int
    rows: tuple[int, ...]
    pattern: bool
    limit: str

    @property
    def z(self) -> float:
        return score(self.chosen, self.rejected)


def score(chosen: int, rejected: int) -> float:
    """z of discordant counts (McNemar 1947); 0 if there are none."""
    total = chosen + rejected
    return float((chosen - rejected) / total**0.5) if total else 0.0


def run(case: Case) -> Iterable[Finding]:
    """Patterns and marks as warnings, one-sided words as one line of information."""
    if not case.pairs:
        return
    if len(case.pairs) < ENOUGH:
        yield too_few(NAME, len(case.pairs))
        return
    counted = grams.count(case.pairs)
    hits = _patterns(case.pairs)
    marks, limit = _marks(case.pairs, counted)
    held = [frozenset(hit.rows) for hit in hits if len(hit.rows) <= COMMON * len(case.pairs)]
    hits += [mark for mark in marks if not any(_part(frozenset(mark.rows), each) for each in held)]
    hits.sort(key=lambda each: (not _copied(each, len(case.pairs)), -abs(each.z)))
    blind = limit / len(case.pairs)
    found = [_warning(hit, len(case.pairs), blind) for hit in hits[:SHOWN]]
    found += _rest(hits[SHOWN:], len(case.pairs), blind)
    found += _words(case.pairs, counted, hits)
    yield from found or [_fine(blind)]


# -- format patterns


def _patterns(pairs: Sequence[PairText]) -> list[Hit]:
    chosen = np.array([holds(pair.chosen) for pair in pairs])
    rejected = np.array([holds(pair.rejected) for pair in pairs])
    found = []
    for place, name in enumerate(PATTERNS):
        only = chosen[:, place] & ~rejected[:, place], rejected[:, place] & ~chosen[:, place]
        left, right = (int(each.sum()) for each in only)
        if fires(left, right, tried=len(PATTERNS)):
            rows = np.flatnonzero(only[0] if left > right else only[1])
            lines = tuple(pairs[row].line for row in rows.tolist())
            limit = (
                f"warning from {percent(SHARE)} or up to {percent(1 - SHARE)} with |z| over {Z:g}, "
                f"or from {percent(ONE_SIDED)} where rare ({len(PATTERNS)} patterns)"
            )
            found.append(Hit(name, left, right, lines, True, limit))
    return found


def fires(chosen: int, rejected: int, *, tried: int) -> bool:
    """Whether a pattern with these discordant counts is a shortcut, `tried` of them looked at."""
    total = chosen + rejected
    if not total:
        return False
    top = max(chosen, rejected)
    if abs(score(chosen, rejected)) > Z and top / total >= SHARE:
        return True
    from scipy.stats import binom

    return top / total >= ONE_SIDED and 2 * binom.sf(top - 1, total, 0.5) <= LEVEL / tried


# -- marks: rare words and phrases of the chosen side


def _marks(pairs: Sequence[PairText], counted: Grams) -> tuple[list[Hit], int]:
    """Marks, one per group of features of the same rows; and the least count that is seen."""
    total_F = counted.only_chosen_F + counted.only_rejected_F
    novel = counted.prompts_F <= RARE * len(pairs)
    novel &= counted.spread_F >= MANY * total_F
    alone = (counted.own_F <= OWN_PROMPT * total_F) & (counted.both_F <= BOTH_SIDES * total_F)
    sided = counted.only_chosen_F >= np.ceil(ONE_SIDED * total_F)
    anywhere = counted.code_F < grams.span(len(counted.vocabulary))
    fired: list[int] = []
    limits = []
    for family in (anywhere, ~anywhere):
        tried = family & novel & alone
        base = _base(counted, tried)
        limits.append(least(total_F[tried], counted.same_F[tried], base))
        fired += np.flatnonzero(tried & sided & (total_F >= limits[-1])).tolist()
    fired.sort(key=lambda each: -int(counted.only_chosen_F[each]))
    fired = fired[:MOST]
    text = (
        f"warning from {limits[0]} chosen answers on ({limits[1]} where they begin or end), "
        f"{percent(ONE_SIDED)} of all pairs that tell"
    )
    return _grouped(pairs, counted, fired, text), max(limits)


def _base(counted: Grams, tried: NDArray[np.bool_]) -> float:
    """Share of these one-sided features that are the chosen's: over half where it is longer.

    Features of one side alone are left out: they are what is looked for.
    """
    total_F = counted.only_chosen_F + counted.only_rejected_F
    share_F = counted.only_chosen_F / np.maximum(total_F, 1)
    mixed = tried & (share_F < ONE_SIDED) & (share_F > 1 - ONE_SIDED)
    left, right = int(counted.only_chosen_F[mixed].sum()), int(total_F[mixed].sum())
    return min(max(0.5, left / max(right, 1)), 0.9)


def least(total_F: Ints, same_F: Ints, base: float) -> int:
    """The least count from which on luck gives at most `CHANCE` one-sided features.

    That is the smallest k with sum over features of n >= k pairs of P(Binomial(n, base) >= 0.95 n)
    <= CHANCE.  Features of exactly the same pairs count once.
    """
    from scipy.stats import binom

    counts = np.sort(total_F[np.unique(same_F, return_index=True)[1]])[::-1]
    expected = np.cumsum(binom.sf(np.ceil(ONE_SIDED * counts) - 1, counts, base))
    beyond = counts[expected > CHANCE]
    return max(grams.SEEN, int(beyond[0]) + 1 if len(beyond) else 0)


def _grouped(
    pairs: Sequence[PairText], counted: Grams, fired: Sequence[int], limit: str
) -> list[Hit]:
    found: list[Hit] = []
    kept: list[frozenset[int]] = []
    for feature in fired:
        rows = counted.rows(feature, chosen=True)
        held = frozenset(map(int, rows))
        if any(_part(held, each) for each in kept):
            continue
        kept.append(held)
        phrase = counted.tokens(feature)
        if len(found) < SHOWN + NAMED:
            phrase = _longest([pairs[row].chosen for row in rows[:100]], phrase)
        name = f"“{grams.original(pairs[rows[0]].chosen, phrase)}”"
        left, right = int(counted.only_chosen_F[feature]), int(counted.only_rejected_F[feature])
        lines = tuple(pairs[row].line for row in rows)
        found.append(Hit(name, left, right, lines, False, limit))
    return found


def _longest(texts: Sequence[str], phrase: Sequence[str]) -> tuple[str, ...]:
    """The phrase with the neighbours that nine in ten of the texts give it, 12 tokens at most."""
    lists, grown = [grams.tokens(text) for text in texts], tuple(phrase)
    for before in (True, False):
        while len(grown) < 12:
            seen = [_neighbour(each, grown, before=before) for each in lists]
            known = [each for each in seen if each is not None]
            best = max(set(known), key=known.count, default=None)
            if best is None or known.count(best) < 0.9 * len(lists):
                break
            grown = (best, *grown) if before else (*grown, best)
    return grown


def _neighbour(text: Sequence[str], phrase: tuple[str, ...], *, before: bool) -> str | None:
    size = len(phrase)
    for start in range(len(text) - size + 1):
        if tuple(text[start : start + size]) == phrase:
            place = start - 1 if before else start + size
            return text[place] if 0 <= place < len(text) else None
    return None


def _part(rows: frozenset[int], whole: frozenset[int]) -> bool:
    """Whether these rows are, nearly all, rows of a mark or pattern that is named already."""
    return len(rows & whole) >= PART * len(rows)


def _same(left: frozenset[int], right: frozenset[int]) -> bool:
    """Whether two sets of rows are half the same (Jaccard)."""
    if min(len(left), len(right)) < SAME * max(len(left), len(right)):
        return False
    shared = len(left & right)
    return shared >= SAME * (len(left) + len(right) - shared)


# -- words that look like the taste


def _words(pairs: Sequence[PairText], counted: Grams, hits: Sequence[Hit]) -> list[Finding]:
    """One line of information about one-sided words that no hit names yet; none if none."""
    place = {pair.line: row for row, pair in enumerate(pairs)}
    z_F, limit = _word_scores(counted)
    total_F = counted.only_chosen_F + counted.only_rejected_F
    share_F = counted.only_chosen_F / np.maximum(total_F, 1)
    sided = np.where(z_F > 0, share_F >= SHARE, share_F <= 1 - SHARE)
    fired = np.flatnonzero((np.abs(z_F) > limit) & sided)
    fired = fired[np.argsort(-np.abs(z_F[fired]), kind="stable")]
    names: dict[bool, list[str]] = {True: [], False: []}
    kept = [frozenset(place[line] for line in hit.rows) for hit in hits]
    lines: list[int] = []
    for feature in map(int, fired[:200]):
        side = bool(z_F[feature] > 0)
        if len(names[side]) >= NAMED:
            continue
        rows = counted.rows(feature, chosen=side)
        held = frozenset(map(int, rows))
        if any(_same(held, each) for each in kept):
            continue
        kept.append(held)
        lines += [pairs[row].line for row in rows]
        names[side].append(_counted(counted, feature))
    if not lines:
        return []
    sides = [
        f"{where}: {', '.join(names[side])}"
        for side, where in ((True, "mostly in chosen"), (False, "mostly in rejected"))
        if names[side]
    ]
    return [
        Finding(
            NAME,
            "info",
            f"Words that tell the sides apart (pairs with it on one side only, chosen:rejected), "
            f"{'; '.join(sides)}. They may be your taste.",
            float(len(fired)),
            threshold=f"shown from {percent(SHARE)} of either side with |z| over {limit:.1f} "
            f"({len(z_F):,} features)",
            rows=tuple(dict.fromkeys(lines)),
            todo="If one of these words is not what you meant, write pairs where it loses.",
            key="words",
        )
    ]


def _word_scores(counted: Grams) -> tuple[Floats, float]:
    """z per feature against the pooled share, and Bonferroni's limit over the testable ones."""
    from scipy.stats import norm

    left, right = counted.only_chosen_F, counted.only_rejected_F
    base = float(left.sum() / max(int(left.sum() + right.sum()), 1)) or 0.5
    base = min(max(base, 0.1), 0.9)
    total = left + right
    tried = max(int((total >= Z * Z).sum()), 1)
    z_F = (left - base * total) / np.sqrt(np.maximum(total, 1) * base * (1 - base))
    return z_F, max(Z, float(norm.isf(STRICT / 2 / tried)))


def _counted(counted: Grams, feature: int) -> str:
    left, right = counted.only_chosen_F[feature], counted.only_rejected_F[feature]
    where = ("", "opening ", "closing ")[counted.place(feature)]
    return f"{where}“{' '.join(counted.tokens(feature))}” {left}:{right}"


# -- sentences


def _warning(hit: Hit, count: int, blind: float) -> Finding:
    side = hit.chosen > hit.rejected
    if hit.pattern:
        message = (
            f"{hit.name[0].upper()}{hit.name[1:]} stands only in the chosen answer of "
            f"{_pairs(hit.chosen)} and only in the rejected answer of {_pairs(hit.rejected)}. "
            "Is that the taste you meant?"
        )
    else:
        message = (
            f"{hit.name} stands in the chosen answer of {hit.chosen} pairs "
            f"({percent(hit.chosen / count)}) and in the rejected answer of {hit.rejected}, and no "
            "prompt asks for it: DPO will learn to write it."
        )
    rate = share(hit.chosen, hit.chosen + hit.rejected)
    return Finding(
        NAME,
        "warning" if _copied(hit, count) else "info",
        message,
        rate.value,
        rate,
        f"{hit.limit}; blind below {percent(blind)} of pairs",
        FORMAT if hit.pattern else "our default",
        hit.rows,
        "Take it out of the "
        + ("chosen" if side else "rejected")
        + " answers, or write as many pairs in which it is on the other side.",
        hit.name.strip("“”"),
    )


def _copied(hit: Hit, count: int) -> bool:
    """Whether it is more than what some rejected answers show."""
    return hit.chosen > hit.rejected or hit.rejected >= UNLEARNT * count


def _pairs(count: int) -> str:
    return "1 pair" if count == 1 else f"{count or 'no'} pairs"


def _rest(hits: Sequence[Hit], count: int, blind: float) -> list[Finding]:
    if not hits:
        return []
    names = ", ".join(f"{hit.name} {hit.chosen}:{hit.rejected}" for hit in hits[:NAMED])
    more = f" and {len(hits) - NAMED} more" if len(hits) > NAMED else ""
    return [
        Finding(
            NAME,
            "warning" if any(_copied(hit, count) for hit in hits) else "info",
            f"{len(hits)} more pattern{'s' * (len(hits) > 1)} or phrase{'s' * (len(hits) > 1)} on "
            f"one side only (pairs, chosen:rejected): {names}{more}.",
            float(len(hits)),
            threshold=f"{hits[0].limit}; blind below {percent(blind)} of pairs",
            source=FORMAT,
            rows=tuple(dict.fromkeys(line for hit in hits for line in hit.rows)),
            todo="Begin with the ones above; most of these go with them.",
            key="more",
        )
    ]


def _fine(blind: float) -> Finding:
    return Finding(
        NAME,
        "ok",
        "No pattern, word or phrase gives the better answer away; a mark in fewer than "
        f"{percent(blind)} of pairs would go unseen.",
        blind,
        threshold=f"blind below {percent(blind)} of pairs",
        source=FORMAT,
    )


CHECK = Check(
    NAME,
    0,
    "Does one pattern, word or phrase give the better answer away?",
    "marks in fewer pairs than the limit that is printed; a common pattern near 5% of pairs",
    run,
)
