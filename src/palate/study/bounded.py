"""A pattern of the user's on a text, with an end: a repeat inside a repeat can take for ever.

`re` cannot be told to stop, holds the interpreter's lock, and its work can double with each letter.
In the main thread a timer of the process's own computing ends it; in any other thread, where no
signal arrives, a process of its own does.  The limit is on computing, not on the clock, so a busy
machine changes nothing.
"""

import json
import math
import re
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Final, NoReturn

LIMIT: Final = 1.0  # seconds of computing for one pattern on one text; our default
_ALONE: Final = """\
import json, re, resource, sys
pattern, flags, text, seconds = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
print(int(re.compile(pattern, flags).search(text) is not None))
"""


class TooSlowError(Exception):
    """The limit was reached before there was an answer."""


def found(pattern: re.Pattern[str], text: str, *, seconds: float = LIMIT) -> bool:
    """Whether the pattern is found in the text.  Raises TooSlowError."""
    if threading.current_thread() is threading.main_thread():
        return _timed(pattern, text, seconds)
    return _apart(pattern, text, seconds)


def _timed(pattern: re.Pattern[str], text: str, seconds: float) -> bool:
    """Here, under a timer: `re` looks for signals while it works."""
    before = signal.signal(signal.SIGVTALRM, _ring)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            return pattern.search(text) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL if before is None else before)


def _ring(number: int, frame: FrameType | None) -> NoReturn:
    raise TooSlowError


def _apart(pattern: re.Pattern[str], text: str, seconds: float) -> bool:
    """In a process that the system stops."""
    told = json.dumps([pattern.pattern, pattern.flags, text, math.ceil(seconds)])
    command = [sys.executable, "-I", "-S", "-c", _ALONE]
    done = subprocess.run(command, input=told, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TooSlowError
    return done.stdout.strip() == "1"
