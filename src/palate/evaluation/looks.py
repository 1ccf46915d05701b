"""How often a held-out set has been looked at: one line per look, in palate's cache folder.

Who looks at a set often, and keeps what did best on it, has trained on it by hand.  A look is one
set and one question: the same command again, which finds the same, is not another one.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from palate.engine.identity import cache_folder
from palate.runs.atomic import make_folder
from palate.runs.lock import now


def look(digest: str, asked: Mapping[str, Any]) -> int:
    """Note this look down, and say how many there were, this one included.

    Best effort: a read-only cache counts this one alone.
    """
    path = cache_folder() / "looks" / f"{digest[:32]}.jsonl"
    entry = json.dumps(dict(asked), sort_keys=True)
    with suppress(OSError):
        make_folder(path.parent)
        with path.open("a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = _known(file.readlines())
            if entry not in known:
                file.write(json.dumps({"when": now(), "asked": entry}) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return len(known | {entry})
    return 1


def _known(lines: list[str]) -> set[str]:
    """What was asked of this set; a torn line is no look."""
    found = set()
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            found.add(str(json.loads(line)["asked"]))
    return found
