"""The tables of docs/doctor.md: what was named of what was planted, and by how much."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from planters import NAMES, RATES

from palate.stats import Interval, bootstrap_mean, share
from study.planting import HOMES, TAUTOLOGICAL, WITH_MODEL
from study.store import Record, Store

ENOUGH, ALARMS = 0.8, 0.05
SHOWN_RATE = 0.05
MISSES = 3


@dataclass(frozen=True)
class Sight:
    """Every record of one family in one corpus, with or without a model."""

    family: str
    records: tuple[Record, ...]

    def at(self, rate: float) -> tuple[Record, ...]:
        return tuple(each for each in self.records if each["rate"] == rate)

    def seen(self, rate: float) -> Interval | None:
        """Share of the files in which a home check warned as it did not on the clean file."""
        found = self.at(rate)
        return share(sum(each["seen"] for each in found), len(found)) if found else None

    def recall(self, rate: float, kinds: str = "loud") -> Interval | None:
        """Share of the planted defects with a row named, a mean over seeds."""
        found = [each[kinds]["hit"] / each["planted"] for each in self.at(rate)]
        return bootstrap_mean(found) if found else None

    def alarms(self, rate: float, kinds: str = "loud") -> float:
        """Share of the untouched rows that were named, and had not been on the clean file."""
        found = [each[kinds]["wrong"] / (each["total"] - each["planted"]) for each in self.at(rate)]
        return sum(found) / len(found)

    def precision(self, rate: float, kinds: str = "loud") -> float | None:
        """Share of the named rows that are right, those named on the clean file aside."""
        right = sum(each[kinds]["right"] for each in self.at(rate))
        wrong = sum(each[kinds]["wrong"] for each in self.at(rate))
        return right / (right + wrong) if right + wrong else None

    def smallest_file(self, clean_alarms: float) -> str:
        """The smallest rate from which on four files in five raise a warning."""
        if any(each["already"] for each in self.records):
            return "warns already"
        if clean_alarms > ALARMS:
            return f"false alarms in {clean_alarms:.0%}"
        return self._smallest(lambda rate: self.seen(rate))

    def smallest_rows(self, kinds: str = "loud") -> str:
        """The smallest rate from which on recall is .8 and at most 5% of sound rows are named."""
        return self._smallest(
            lambda rate: self.recall(rate, kinds) if self.alarms(rate, kinds) <= ALARMS else None
        )

    def _smallest(self, figure) -> str:  # type: ignore[no-untyped-def]
        reached = None
        for rate in sorted({each["rate"] for each in self.records}, reverse=True):
            found = figure(rate)
            if found is None or found.value < ENOUGH:
                break
            reached = rate
        return "not reached" if reached is None else f"{reached:.1%}".replace(".0%", "%")


def sights(store: Store, corpus: str, tier: str = "text") -> list[Sight]:
    """One per family that has records, in the order of the planters."""
    found = []
    for family in NAMES:
        records = tuple(store.where(tier=tier, corpus=corpus, family=family))
        if records:
            found.append(Sight(family, records))
    return found


def clean_alarms(store: Store, corpus: str, checks: Iterable[str]) -> float:
    """Share of the clean parts in which one of these checks warned."""
    parts = list(store.where(tier="clean", corpus=corpus))
    if not parts:
        return 0.0
    bad = sum(any(each["check"] in checks for each in part["loud"]) for part in parts)
    return bad / len(parts)


def seen_table(store: Store, corpus: str, tier: str = "text") -> list[str]:
    """One line a family: the smallest rates, and the figures at 5%."""
    homes = HOMES if tier == "text" else WITH_MODEL
    head = ("family", "looked for by", "a file warns from", "its rows are named from")
    at = f"at {SHOWN_RATE:.0%}: "
    head = (
        *head,
        f"{at}files",
        "recall",
        "precision",
        "lift",
        "sound rows named",
        "recall, listed",
    )
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for sight in sights(store, corpus, tier):
        lines.append(_seen_line(sight, clean_alarms(store, corpus, homes[sight.family]), homes))
    return lines


def _seen_line(sight: Sight, alarms: float, homes) -> str:  # type: ignore[no-untyped-def]
    name = sight.family.replace("_", " ") + (" (t)" if sight.family in TAUTOLOGICAL else "")
    cells = [name, ", ".join(homes[sight.family])]
    cells += [sight.smallest_file(alarms), sight.smallest_rows()]
    seen, recall = sight.seen(SHOWN_RATE), sight.recall(SHOWN_RATE)
    if seen is None or recall is None:
        return f"| {' | '.join([*cells, *['not run'] * 6])} |"
    precision, listed = sight.precision(SHOWN_RATE), sight.recall(SHOWN_RATE, "listed")
    assert listed is not None
    lift = "" if precision is None else f"{precision / SHOWN_RATE:.0f}"
    cells += [
        f"{seen.value * seen.count:.0f} of {seen.count}",
        recall.percent(),
        "" if precision is None else f"{precision:.0%}",
        lift,
        f"{sight.alarms(SHOWN_RATE):.1%}",
        listed.percent(),
    ]
    return f"| {' | '.join(cells)} |"


def by_rate(store: Store, corpus: str, tier: str = "text") -> list[str]:
    """Recall of planted defects at every rate."""
    lines = [f"| family | {' | '.join(f'{rate:.1%}' for rate in RATES)} |", "|---" * 7 + "|"]
    for sight in sights(store, corpus, tier):
        cells = []
        for rate in RATES:
            recall, seen = sight.recall(rate), sight.seen(rate)
            both = recall is not None and seen is not None
            cells.append(f"{recall.value:.0%} ({seen.value:.0%})" if both else "")  # type: ignore[union-attr]
        lines.append(f"| {sight.family.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def false_alarms(store: Store) -> list[str]:
    """Warnings on clean parts, by corpus."""
    head = "| pairs | parts | warnings a part | by check (share of the parts) |"
    lines = [head, "|---|---|---|---|"]
    for corpus in dict.fromkeys(each["corpus"] for each in store.where(tier="clean")):
        parts = list(store.where(tier="clean", corpus=corpus))
        counts = Counter(
            name for part in parts for name in {each["check"] for each in part["loud"]}
        )
        mean = sum(len(part["loud"]) for part in parts) / len(parts)
        told = ", ".join(f"{name} {count / len(parts):.0%}" for name, count in counts.most_common())
        size = f"{corpus}, {parts[0]['pairs']} a part"
        lines.append(f"| {size} | {len(parts)} | {mean:.2f} | {told or 'none'} |")
    return lines


def by_drawn(store: Store, corpus: str, family: str, rate: float) -> list[str]:
    """What the planter drew against how often it was seen."""
    found: dict[str, list[Record]] = {}
    for each in store.where(tier="text", corpus=corpus, family=family, rate=rate):
        found.setdefault(each["drawn"], []).append(each)
    lines = ["| drawn | seeds | files that warn | recall |", "|---|---|---|---|"]
    for drawn, records in sorted(found.items()):
        seen = sum(each["seen"] for each in records)
        recall = sum(each["loud"]["hit"] / each["planted"] for each in records) / len(records)
        lines.append(f"| {drawn} | {len(records)} | {seen} | {recall:.0%} |")
    return lines


def missed(store: Store, corpus: str, tier: str = "text") -> list[str]:
    """A few planted rows that nothing named, at the shown rate."""
    lines: list[str] = []
    for sight in sights(store, corpus, tier):
        lost = [(each, row) for each in sight.at(SHOWN_RATE) for row in each["missed"]]
        for record, row in _spread(lost):
            told = f"**{sight.family.replace('_', ' ')}**"
            drawn = f" ({record['drawn']})" if record["drawn"] else ""
            sides = f"chosen `{_short(row['chosen'])}`, rejected `{_short(row['rejected'])}`"
            lines.append(f"- {told}{drawn}: {sides}")
    return lines


def _spread(lost: Sequence[tuple[Record, dict[str, str]]]) -> list[tuple[Record, dict[str, str]]]:
    """One of each drawn parameter, at most three."""
    found = {record["drawn"]: (record, row) for record, row in reversed(lost)}
    return list(found.values())[:MISSES]


def _short(text: str) -> str:
    flat = " ".join(text.replace("`", "'").split())
    return flat if len(flat) <= 70 else f"{flat[:34]} … {flat[-34:]}"
