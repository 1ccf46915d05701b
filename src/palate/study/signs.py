"""Signs that nobody would take a text for an answer: shouting, mash, abuse, another language.

Plain rules on one pair, each with a weight; from `CARTOON` on in all the rejected answer is called
a cartoon.  What the chosen answer does as well is no sign: it may be the taste.  What a rule cannot
see (calm nonsense, praise, another topic in the same words) the model sees, if one is there.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from typing import Final

from palate.study.checks.facts import facts, ungrounded
from palate.study.checks.patterns import EMOJI
from palate.study.checks.words import normalised, words

CARTOON: Final = 0.5  # the sum of weights from which on anyone can tell; ours
MARK, CAPITALS = 0.15, 0.15  # weight of one more "!" or emoji; share of capitals that is loud
MUCH = 12  # words of matter: two answers to so much asked and said share some
BRIEF, BRUSHED = 0.15, 12  # a brush-off: shorter than this share of an answer of so many words
RUDE: Final = 6.0  # weight of abuse over its share of the words
_RUN = re.compile(r"[!?]{3,}")
_END = re.compile("[.!?…。！？\n]+(?=\\s|\\Z)")
_LOUD = re.compile(r"\b[^\W\d_a-z]{2,}\b")
_LETTERS = re.compile(r"[^\W\d_]+")
_LINK = re.compile(r"https?://|www\.")
_MASH = re.compile(
    r"asdf|sdfg|dfgh|fghj|hjkl|jklö|qwer|wert[zy]|zxcv|xcvb|lkj|([a-z])\1\1"
    r"|[bcdfghjklmnpqrstvwxz]{6}|^[bcdfghjklmnpqrstvwxz]{5,}$"
)
_ABUSE = """idiot idiots moron morons stupid dumb crap shit bullshit fuck fucking arse asshole
bitch loser losers pathetic garbage trash idk lol lmao meh whatever duh nope"""
_RUDE: Final = frozenset(_ABUSE.split())
_SPAM: Final = (
    *("click here", "buy now", "act now", "call now", "order now", "limited time", "for free"),
    *("subscribe", "winner", "guaranteed", "best ever", "once in a lifetime", "don't miss"),
)
_FUNCTION: Final = {
    language: frozenset(text.split())
    for language, text in {
        "English": "the of and is to that with for it this are you was not have in as on be by at"
        " did any there their from or can will would which has had were been no",
        "German": "der die das und ist nicht mit ein eine zu auf für sich von dem den im es wir",
        "French": "le la les des est et une pas pour dans que qui avec sur vous du un ce au",
        "Spanish": "el los las una es y por con para que del se en un la de está su al",
        "Italian": "il lo gli di che è un una per con non sono della del la nel alla anche",
        "Portuguese": "os um uma é não com para que do da em na por se ao dos das mais",
        "Dutch": "de het een en van niet met voor dat op zijn te aan er ook als bij maar",
    }.items()
}
_COMMON: Final = frozenset().union(*_FUNCTION.values())


@dataclass(frozen=True, slots=True)
class Sign:
    """One sign: its name, the sentence, and how much it weighs (1: enough twice over)."""

    name: str
    says: str
    weight: float


def signs(prompt: str, chosen: str, rejected: str) -> tuple[Sign, ...]:
    """What gives the rejected answer away, the heaviest first."""
    found = [
        _shouting(chosen, rejected),
        _mash(chosen, rejected),
        _again(chosen, rejected),
        _rude(prompt, chosen, rejected),
        _spam(prompt, chosen, rejected),
        _brief(prompt, chosen, rejected),
        _tongue(chosen, rejected),
        _topic(prompt, chosen, rejected),
        _echo(prompt, chosen, rejected),
    ]
    told = [each for each in found if each is not None and each.weight > 0]
    return tuple(sorted(told, key=lambda each: -each.weight))


def cartoonness(found: tuple[Sign, ...]) -> float:
    """The signs in one figure, 0 to 1; they add up."""
    return min(1.0, sum(each.weight for each in found))


# ---- how it is said


def _shouting(chosen: str, rejected: str) -> Sign | None:
    """Capitals, and exclamation marks or emoji by how many sentences have them."""
    loud = _loudness(rejected) - _loudness(chosen)
    marks, rate = _marks(rejected), _rate(rejected) - _rate(chosen)
    weight = 2 * loud if loud > CAPITALS else 0.0
    weight += max(0.0, min(MARK * marks, 0.8 * rate))
    weight += 2 * MARK if _RUN.search(rejected) and not _RUN.search(chosen) else 0.0
    return Sign("shouting", "the rejected answer shouts", min(weight, 1.0)) if weight else None


def _rate(text: str) -> float:
    """Exclamation marks and emoji per sentence, at most one."""
    ends = len(_END.findall(text)) or 1
    return min(1.0, _marks(text) / ends)


def _loudness(text: str) -> float:
    """Share of the letters that stand in words of capitals."""
    letters = sum(map(len, _LETTERS.findall(text)))
    loud = sum(len(word) for word in _LOUD.findall(text) if word.isupper())
    return loud / letters if letters > 4 else 0.0


def _marks(text: str) -> int:
    return text.count("!") + (0 if text.isascii() else len(EMOJI.findall(text)))


def _mash(chosen: str, rejected: str) -> Sign | None:
    rate = _mashed(rejected) - _mashed(chosen)
    if rate < 0.1:
        return None
    return Sign("mash", "the rejected answer is no language", min(2.5 * rate, 1.0))


def _mashed(text: str) -> float:
    """Share of the words that no hand wrote on purpose."""
    found = [word for word in words(text) if len(word) > 2]
    return sum(bool(_MASH.search(word)) for word in found) / max(len(found), 1)


def _again(chosen: str, rejected: str) -> Sign | None:
    """One word over and over."""
    if _dull(rejected) and not _dull(chosen):
        return Sign("repetition", "the rejected answer says one thing over and over", 0.7)
    return None


def _dull(text: str) -> bool:
    every = words(text)
    triples = zip(every, every[1:], every[2:], strict=False)
    if any(a == b == c and a.isalpha() and len(a) > 2 for a, b, c in triples):
        return True
    found = [word for word in every if word.isalpha() and len(word) > 2]
    counts = Counter(word for word in found if word not in _COMMON)
    most = counts.most_common(1)[0][1] if counts else 0
    return most >= 4 and 3 * most > len(found)


def _rude(prompt: str, chosen: str, rejected: str) -> Sign | None:
    hits = _RUDE.intersection(words(rejected)) - set(words(chosen)) - set(words(prompt))
    if not hits:
        return None
    dense = RUDE * len(hits) / len(words(rejected))
    return Sign("rude", "nobody would send the rejected answer", min(dense, 1.0))


def _spam(prompt: str, chosen: str, rejected: str) -> Sign | None:
    low, known = rejected.lower(), f"{prompt}\n{chosen}".lower()
    hits = sum(phrase in low and phrase not in known for phrase in _SPAM)
    hits += bool(_LINK.search(low)) and not _LINK.search(known)
    return Sign("spam", "the rejected answer reads like spam", min(0.3 * hits, 1.0))


# ---- what it says


def _brief(prompt: str, chosen: str, rejected: str) -> Sign | None:
    """A few words that take up nothing of what was asked, against a whole answer."""
    left, right = len(words(chosen)), len(words(rejected))
    if left < BRUSHED or right > max(3, BRIEF * left) or right > BRUSHED:
        return None
    if content(rejected) & (content(prompt) | content(chosen)):
        return None
    return Sign("brush-off", "a word or two against a whole answer", 0.6)


def _tongue(chosen: str, rejected: str) -> Sign | None:
    """Another script, or another language by its function words."""
    one, other = script(chosen), script(rejected)
    if one and other and one != other:
        return Sign("language", "the two answers are in different scripts", 0.8)
    left, right = language(chosen), language(rejected)
    if left and right and left != right:
        return Sign("language", f"the chosen answer is {left} and the rejected one {right}", 0.8)
    return None


def script(text: str) -> str | None:
    """The script of most letters ("LATIN", "CJK" ...), if six of ten are of one."""
    letters = [sign for sign in text if sign.isalpha()][:400]
    if len(letters) < 4:
        return None
    names = Counter(unicodedata.name(sign, "?").partition(" ")[0] for sign in letters)
    kana = {"HIRAGANA", "KATAKANA"}
    if kana & names.keys():  # Japanese mixes three
        names["CJK"] += sum(names.pop(each, 0) for each in kana)
    name, times = names.most_common(1)[0]
    return name if times >= 0.6 * len(letters) else None


def language(text: str) -> str | None:
    """One of seven languages by function words; None if it is not clear."""
    found = words(text)
    hits = {name: sum(word in known for word in found) for name, known in _FUNCTION.items()}
    (first, most), (_, second) = Counter(hits).most_common(2)
    clear = most >= 3 and most >= 0.15 * len(found) and most >= 1.5 * second
    return first if clear else None


def _topic(prompt: str, chosen: str, rejected: str) -> Sign | None:
    """No word of the prompt or of the chosen answer, or the facts of another prompt."""
    said, known = content(rejected), content(prompt) | content(chosen)
    if len(said) >= 3 and len(known) >= 4 and not said & known:
        weight = 0.7 if len(known) >= MUCH else 0.4
        return Sign("topic", "nothing in the rejected answer is about this prompt", weight)
    left, right = _grounds(prompt, chosen), _grounds(prompt, rejected)
    if left[0] >= 3 and left[0] >= 2 * left[1] and right[0] <= 1 and right[1] >= 3:
        return Sign("topic", "the rejected answer is about something else", 0.6)
    return None


def _grounds(prompt: str, text: str) -> tuple[int, int]:
    """Facts of a text that the prompt holds, and those that it does not."""
    new = len(ungrounded(text, prompt, _small(text)))
    return len(facts(text)) - new, new


def _small(text: str) -> frozenset[str]:
    return frozenset(word for word in _LETTERS.findall(text) if word.islower())


def content(text: str) -> frozenset[str]:
    """Words that carry matter, by their first five letters, so that forms of a word are one."""
    return frozenset(
        word[:5]
        for word in words(text)
        if word not in _COMMON and (len(word) > 3 or word.isdigit() or not word.isascii())
    )


def _echo(prompt: str, chosen: str, rejected: str) -> Sign | None:
    same = normalised(rejected) == normalised(prompt) != normalised(chosen)
    return Sign("echo", "the rejected answer only repeats the prompt", 0.6) if same else None
