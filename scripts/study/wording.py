"""Words for the planters: ways to type a text again, padding, refusals, cartoons, other languages.

Everything is drawn from the generator that is handed in, so a text is a function of its seed.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence

# One word for another of the same meaning; read in both directions.
_SAME = (
    "small little|big large|near close to|beside next to|begin start|end finish|show display"
    "|help assist|buy purchase|get obtain|need require|use employ|make create|fast quick"
    "|also as well|about roughly|many several|begins starts|good fine|describe portray"
    "|home house|street road|month calendar month|sq square|important key"
    "|however still|because since|often frequently|maybe perhaps|people persons|answer reply"
    "|question query|information details|available on offer|includes contains|whole entire"
    "|inside within|comes arrives|has offers|plus along with|with including|there here"
    "|one a single|two 2|three 3|four 4|five 5|six 6|seven 7|eight 8|nine 9|ten 10"
    "|and as well as|can is able to|will is going to|must has to"
)
_PADDING = (
    "It is worth taking a moment to think this over.",
    "Everything above can be read again at leisure.",
    "As one might say, there is more to it, and there is less to it.",
    "That is how things stand, and that is how they are put here.",
    "To put the same thing in other words, it is as was said before.",
    "Of course much could be added, and in a way it has been.",
    "This is mentioned for the sake of being complete.",
    "All in all, this is what there is to say on the matter at hand.",
    "The reader is free to consider each part of it in turn.",
    "On the whole, and taken together, that is the general picture.",
    "In general, things like this tend to be the way they are.",
    "It should be noted that this was noted.",
    "With that in mind, we can move on to the next thing to keep in mind.",
    "There are, as ever, several sides to this, each with its own merits.",
)
_REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I cannot assist with this request.",
    "Unfortunately, I am unable to provide that.",
    "As an AI language model, I can't do that.",
    "I'd rather not answer this one, sorry.",
    "Sorry, that is not something I am able to write.",
    "I must decline to answer.",
    "This is outside of what I can help with.",
    "No, I won't be describing this.",
    "I apologise, but I have to refuse.",
)
_LANGUAGES: Mapping[str, str] = {
    "German": "Das ist eine schöne Sache, die man nicht vergessen sollte.|Hier finden Sie alles,"
    " was Sie brauchen, und noch etwas mehr.|Die Lage ist ruhig, aber der Weg in die Stadt ist"
    " kurz.|Bitte fragen Sie uns, wenn Sie etwas wissen möchten.|Es gibt zwei Zimmer und einen"
    " kleinen Garten.",
    "French": "C'est un endroit très agréable où il fait bon vivre.|Vous trouverez ici tout ce"
    " qu'il vous faut.|La réponse est simple, mais il faut y penser.|N'hésitez pas à nous poser"
    " vos questions.|Il y a deux chambres et un petit jardin.",
    "Spanish": "Es un lugar muy bonito para vivir con la familia.|Aquí tiene todo lo que"
    " necesita.|La respuesta es sencilla, pero hay que pensarlo bien.|Si tiene alguna pregunta,"
    " no dude en llamarnos.|Hay dos habitaciones y un pequeño jardín.",
    "Dutch": "Dit is een mooie plek om te wonen.|U vindt hier alles wat u nodig heeft.|Het"
    " antwoord is eenvoudig, maar men moet erover nadenken.|Er zijn twee kamers en een kleine"
    " tuin.",
    "Finnish": "Tämä on hyvä paikka asua.|Täältä löydät kaiken, mitä tarvitset.|Vastaus on"
    " yksinkertainen, mutta sitä pitää miettiä.|Asunnossa on kaksi huonetta ja pieni piha.",
    "Polish": "To jest bardzo ładne miejsce do życia.|Znajdziesz tu wszystko, czego"
    " potrzebujesz.|Odpowiedź jest prosta, ale trzeba się zastanowić.|Są dwa pokoje i mały ogród.",
    "Swahili": "Hii ni nyumba nzuri sana kwa familia.|Hapa utapata kila kitu unachohitaji.|Jibu"
    " ni rahisi, lakini lazima ufikirie.|Kuna vyumba viwili na bustani ndogo.",
}
_SPAM = (
    "BUY NOW!!! Limited offer, click http://win-big.example NOW",
    "FREE FREE FREE crypto!!! Send 0.1 BTC get 2 back $$$",
    "CONGRATULATIONS you are visitor 1000000!!! claim your prize",
    "hot deals hot deals hot deals >>> subscribe <<<",
)
_ABSURD = (
    "The moon is a retired dentist and it owes me eleven spoons.",
    "Bananas invented gravity on a Tuesday.",
    "I am a teapot, and teapots do not answer letters.",
    "All numbers are secretly the same goose.",
    "First you fold the ocean, then you feed it to the stairs.",
)
_RUDE = (
    "lol no idea who cares",
    "ur dumb go away",
    "this is the worst thing ever and so are you",
    "whatever idk google it",
)
_EMOJI = "😂🤣🔥💯🚀🤡👀💩🍌✨"


def sentences(text: str) -> list[str]:
    """Parts that end in `.`, `!` or `?`, with their mark; never empty for a text that is not."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def _pairs_of_words() -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in _SAME.split("|"):
        one, other = entry.split(" ", 1)
        found.setdefault(one, other)
        if " " not in other:
            found.setdefault(other, one)
    return found


SYNONYMS = _pairs_of_words()


def retyped(text: str, rng: random.Random) -> str:
    """The same request typed by someone else: two or three small changes, no other meaning."""
    ways: list[Callable[[str], str]] = [
        lambda given: given[0].lower() + given[1:],
        lambda given: given.rstrip(" .?!") + rng.choice(("", " .", "...", "?")),
        lambda given: given.replace(", ", " , ", 2),
        lambda given: "  ".join(given.split(" ", 2)),
        lambda given: rng.choice(("Please: ", "Hi, ", "Could you help? ", "Q: ")) + given,
        lambda given: given + rng.choice((" Thanks.", " Thank you!", " Please.")),
        lambda given: mistyped(given, rng),
        lambda given: given.replace("'", "’").replace('"', "”") + "\n",
    ]
    found = text
    while found.split() == text.split():
        for change in rng.sample(ways, rng.randint(2, 3)):
            found = change(found) if found.strip() else found
    return found


def mistyped(text: str, rng: random.Random) -> str:
    """Two neighbouring letters of one longer word exchanged."""
    words = text.split(" ")
    long = [n for n, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not long:
        return text
    place = rng.choice(long)
    word, at = words[place], rng.randrange(1, len(words[place]) - 2)
    words[place] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def paraphrased(text: str, rng: random.Random, strength: float) -> str:
    """Sentences in another order and words for words; `strength` is the share of both."""
    parts = sentences(text)
    if len(parts) > 2 and rng.random() < strength + 0.3:
        last = parts[1:]
        rng.shuffle(last)
        parts = [parts[0], *last]
    return " ".join(_reworded(part, rng, strength) for part in parts) or text


def _reworded(sentence: str, rng: random.Random, strength: float) -> str:
    def other(match: "re.Match[str]") -> str:
        word = match.group()
        new = SYNONYMS.get(word.lower())
        if new is None or rng.random() > strength + 0.4:
            return word
        return new[0].upper() + new[1:] if word[0].isupper() else new

    said = re.sub(r"(?<![\w.$])(?:[A-Za-z]+|\d+)(?!\w|\.\d)", other, sentence)
    if rng.random() < strength / 2:
        said = rng.choice(("Also, ", "In short: ", "And ")) + said[0].lower() + said[1:]
    return said


def padding(words: int, rng: random.Random) -> list[str]:
    """Sentences that say nothing, of `words` words or a few more."""
    found: list[str] = []
    while sum(len(each.split()) for each in found) < words:
        found.append(rng.choice(_PADDING))
    return found


def refusals(rng: random.Random) -> tuple[str, str]:
    """Two refusals in different words."""
    one, other = rng.sample(_REFUSALS, 2)
    return one, other


def foreign(language: str, words: int, rng: random.Random) -> str:
    """About `words` words in another language."""
    stock, found = _LANGUAGES[language].split("|"), ""
    while len(found.split()) < words:
        found = f"{found} {rng.choice(stock)}".strip()
    return found


LANGUAGES: Sequence[str] = tuple(_LANGUAGES)


# ------------------------------------------------------------------ cartoons


def _repeated(stock: Sequence[str], words: int, rng: random.Random) -> str:
    found = rng.choice(stock)
    while len(found.split()) < words:
        found += " " + rng.choice(stock)
    return found


def _mash(words: int, rng: random.Random) -> str:
    rows = ("asdfghjkl", "qwertyuiop", "zxcvbnm,.")
    return " ".join(
        "".join(rng.choice(rng.choice(rows)) for _ in range(rng.randint(3, 11)))
        for _ in range(max(words, 3))
    )


def _salad(text: str, rng: random.Random) -> str:
    words = text.split()
    mixed = rng.sample(words, len(words))
    return " ".join(mixed if mixed != words else words[::-1])


Style = Callable[[str, random.Random], str]
CARTOONS: Mapping[str, Style] = {
    "spam": lambda text, rng: _repeated(_SPAM, min(len(text.split()), 30), rng),
    "caps": lambda text, rng: re.sub(r"\.(?=\s|$)", "!!!", text.upper()),
    "mash": lambda text, rng: _mash(min(len(text.split()), 20), rng),
    "absurd": lambda text, rng: _repeated(_ABSURD, min(len(text.split()), 30), rng),
    "salad": _salad,
    "stuck": lambda text, rng: " ".join([text.split()[0]] * rng.randint(8, 30)),
    "emoji": lambda text, rng: "".join(rng.choice(_EMOJI) for _ in range(rng.randint(6, 30))),
    "rude": lambda text, rng: rng.choice(_RUDE),
    "noise": lambda text, rng: f"<div class='x{rng.randint(1, 99)}'>null undefined NaN</div>;;;",
}
