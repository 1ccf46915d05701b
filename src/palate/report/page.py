"""What every self-contained page shares: its parts in one file, figures as text, data made small.

Nothing is fetched: styles and scripts of this package stand inline under a policy that names their
hashes.  Data goes in as JSON in which no `<` is left, so no text of a user can end the script.
"""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from palate.errors import UsageError
from palate.runs import atomic

MINUS = "\N{MINUS SIGN}"
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_NO_NUMBER, _TINY, _LOWEST = 0x7FFF, 1e-23, -25


def render(skeleton: str, *, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """The page from the skeleton of that name; `style`, `script` and `policy` are filled in."""
    style, script = ("".join(map(part, names)) for names in (styles, scripts))
    return _ENVIRONMENT.get_template(skeleton).render(
        style=Markup(style), script=Markup(script), policy=policy(style, script), **values
    )


def check_place(out: Path, flag: str = "--html") -> None:
    """Raise UsageError if a page may not be written there: a folder, or a file that is no page."""
    if out.is_dir():
        raise UsageError(f"{flag} {out} is a folder.", hint=f"Name a file: {flag} page.html.")
    if out.exists():
        with out.open("rb") as file:
            if not file.read(512).lower().startswith(b"<!doctype html>"):
                raise UsageError(
                    f"{flag} {out} is there, and is no page: it is not overwritten.",
                    hint="Name another file.",
                )


def save(page: str, out: Path, flag: str = "--html") -> None:
    """Write a page, whole or not at all.  Raises DiskError, and UsageError as `check_place`."""
    check_place(out, flag)
    atomic.make_folder(out.parent)
    with atomic.disk_errors(out):
        atomic.write_file(out, page.encode())


def part(name: str) -> str:
    """A file of the folder `pages`, which is part of the package."""
    return files("palate.report").joinpath("pages", name).read_text(encoding="utf-8")


_ENVIRONMENT = Environment(
    loader=FunctionLoader(part), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def policy(style: str, script: str) -> str:
    """A content security policy under which only this style and this script count."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> Markup:
    """JSON for a script element: no sign in it can end the element or start another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.translate(_ESCAPED).encode("utf-8", "replace").decode())


def shown(value: float | None, *, sign: bool = False) -> str:
    """A figure as every page shows it: three digits, a real minus.  As `show` in marks.js."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{abs(value):#.3g}".rstrip(".")
    digits, _, exponent = text.partition("e")
    if value == 0:
        text = "0"
    elif exponent:
        power = int(exponent)
        text = f"{digits}e{MINUS}{-power}" if power < 0 else f"{float(text):.0f}"
    return (MINUS if value < 0 else "+" if sign and value > 0 else "") + text


def compact(value: float | None) -> float | None:
    """Five digits of a figure, such that three of them are those that `shown` would give."""
    if value is None or not math.isfinite(value):
        return None
    text = f"{value:.4e}"
    tie = text.partition("e")[0].endswith("50")
    return float(f"{value:.2e}" if tie else text)


def packed(values: Sequence[float | None]) -> str:
    """Figures of three digits, two bytes each, in base64: what `figures` in marks.js reads.

    Sign, five bits of decimal exponent, ten bits of mantissa (100 to 999): the digits are exactly
    those shown.  A sixth of the JSON.
    """
    numbers = np.array(values, dtype=np.float64).reshape(-1)
    size = np.abs(numbers)
    nonzero = np.isfinite(size) & (size >= _TINY)
    safe = np.where(nonzero, size, 1.0)
    exponent = np.floor(np.log10(safe)).astype(np.int64) - 2
    scaled = safe / 10.0**exponent
    mantissa = np.rint(scaled).astype(np.int64)
    for tie in np.flatnonzero(np.abs(scaled % 1 - 0.5) < 1e-6):  # as the digits of `shown` round
        mantissa[tie] = round(float(f"{safe[tie]:.2e}") / 10.0 ** exponent[tie])
    exponent += mantissa >= 1000
    mantissa = np.where(mantissa >= 1000, 100, mantissa)
    code = (numbers < 0) * 0x8000 + (exponent - _LOWEST) * 1024 + mantissa
    code = np.where(nonzero, code, 0)
    code = np.where(np.isfinite(size) & (exponent - _LOWEST < 31), code, _NO_NUMBER)
    return _base64(code.astype("<u2"))


def indices(values: Sequence[int], *, wide: bool) -> str:
    """Whole numbers, two bytes each or four, in base64."""
    return _base64(np.array(values, dtype="<u4" if wide else "<u2"))


def _base64(numbers: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode("ascii")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
