"""Ctrl-C and SIGTERM: the first one asks, the second one ends the process at once.

The handler only sets a flag.  The loop polls `stop.requested`, saves, and exits with
`stop.exit_code`.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_WATCHED = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the process was asked to stop, and the exit code that says by what."""

    def __init__(self) -> None:
        self.requested = False
        self.exit_code = 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.exit_code = 128 + number
        self.requested = True


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within the block, the first SIGINT or SIGTERM sets the flag: exit code 130 or 143.

    A signal that the parent process told us to ignore (nohup, a shell's background job) stays
    ignored.  Python gives signals to the main thread alone: in another one the flag is never set.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in _WATCHED}
    ours = [number for number in _WATCHED if before[number] is not signal.SIG_IGN]
    for number in ours:
        signal.signal(number, stop._receive)
    try:
        yield stop
    finally:
        for number in ours:
            signal.signal(number, before[number])
