"""The command line: a thin user of `api`, and the only package that prints or exits.

Importing it imports neither torch nor pydantic; each command imports what it needs when it runs.
"""

import os
from collections.abc import Sequence

from palate.cli.app import app, usage
from palate.cli.failure import guarded

__all__ = ["app", "main", "run"]


def run(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; every error has become a line on stderr."""
    return guarded(lambda: usage(words))


def main() -> None:
    """The `palate` command.

    Threads of OpenMP that wait spin for a moment only: on a machine that has other work to do, long
    spinning makes a small model fifty times slower.  It is read when torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    raise SystemExit(run())
