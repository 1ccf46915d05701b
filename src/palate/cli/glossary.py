"""`palate words`: the glossary, one term or all of them."""

import textwrap
from difflib import get_close_matches

from palate.errors import UsageError


def words(*term: str) -> None:
    """What a word means here.

    Parameters
    ----------
    term:
        a word or several, such as gradient mass; all of them if it is left out
    """
    from palate.glossary import GLOSSARY

    if not term:
        for name, meaning in GLOSSARY.items():
            print(_entry(name, meaning))
        return
    wanted = " ".join(term).lower()
    known = {name.lower(): name for name in GLOSSARY}
    if wanted not in known:
        near = get_close_matches(wanted, known, 1)
        hint = f"Did you mean '{known[near[0]]}'?" if near else f"The words: {', '.join(GLOSSARY)}."
        raise UsageError(f"'{wanted}' is not in the glossary.", hint=hint)
    name = known[wanted]
    print(_entry(name, GLOSSARY[name]))


def _entry(name: str, meaning: str) -> str:
    indent = " " * 4
    body = textwrap.fill(meaning, 88, initial_indent=indent, subsequent_indent=indent)
    return f"{name}\n{body}"
