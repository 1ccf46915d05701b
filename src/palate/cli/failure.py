"""From an exception to one message and an exit code.

    0  done                        4  numerics
    2  usage, data or a model      5  disk
    3  a run that cannot continue  6  memory
    130, 143  stopped by Ctrl-C or SIGTERM
    1  a bug in palate: a traceback, and what to do with it

Nothing else in palate catches an error in order to print it.
"""

import difflib
import errno
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cyclopts import CycloptsError, MissingArgumentError, UnusedCliTokensError

from palate.cli.words import safe
from palate.errors import DiskError, Interrupted, MemoryLimitError, PalateError, UsageError

RED = "\x1b[31m{}\x1b[0m"


def guarded(work: Callable[[], int]) -> int:
    """Run `work`; whatever it raises becomes a message on stderr and an exit code."""
    try:
        return work()
    except KeyboardInterrupt:
        _say("stopped:", "nothing more was written.")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        known = understood(error)
        if known is None:
            traceback.print_exception(error)
            _say("error:", "this is a bug in palate: please report it, with the lines above")
            return 1
        _say("stopped:" if isinstance(known, Interrupted) else "error:", str(known).rstrip())
        return known.exit_code


def understood(error: Exception) -> PalateError | None:
    """The error as a user can act on it; None if it is a bug."""
    if isinstance(error, PalateError):
        return error
    if isinstance(error, CycloptsError):
        return UsageError(_usage_text(error), hint=_help_hint(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskError(f"no room left on the disk: {error}.", hint="Free some and run it again.")
    if _is_out_of_memory(error):
        return MemoryLimitError(
            "no memory left: " + (str(error).splitlines() or ["allocation failed"])[0],
            hint="Try a smaller --token-budget, --grad-checkpoint, or LoRA instead of --full.",
        )
    return None


def flag(field: str) -> str:
    """`batch_size` -> `--batch-size`."""
    return "--" + field.replace("_", "-")


def _usage_text(error: CycloptsError) -> str:
    """What is wrong with the words, in palate's: all missing and invalid flags at once."""
    if isinstance(error, UnusedCliTokensError):
        return f"Unexpected: {' '.join(error.unused_tokens or ())}."
    if isinstance(error, MissingArgumentError) and error.keyword:
        return f"{error.keyword} needs a value."
    if mistyped := _mistyped(error):
        return " ".join(mistyped)
    if hasattr(error.__cause__, "errors"):
        return _complaints(error.__cause__)
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        return f"{name if name.startswith('-') else name.upper()} is needed."
    return str(error)


def _mistyped(error: CycloptsError) -> list[str]:
    """Flags that this command does not have, each with the nearest one."""
    if not isinstance(error, MissingArgumentError) or error.app is None:
        return []
    found = error.app.assemble_argument_collection()
    known = [name for each in found for name in each.names if name not in each.negatives]
    words = [word.partition("=")[0] for word in error.unused_tokens or () if word[:2] == "--"]
    return [
        f"Unknown option: {word}.{_nearest(word, known)}" for word in words if word not in known
    ]


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def _complaints(cause: Any) -> str:
    """Everything pydantic found wrong, in the words of the command line."""
    from palate.config import complaint

    return " ".join(complaint(error, flag) for error in cause.errors(include_url=False))


def _help_hint(error: CycloptsError) -> str:
    words = " ".join(("palate", *(error.command_chain or ())))
    return f"See `{words} --help`."


def _is_out_of_memory(error: Exception) -> bool:
    """torch's own class by name: this module never imports torch."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    told = ("can't allocate memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in told)


def _say(mark: str, text: str) -> None:
    shown = RED.format(mark) if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else mark
    with suppress(OSError):
        sys.stdout.flush()
    print(shown, safe(text), file=sys.stderr, flush=True)
