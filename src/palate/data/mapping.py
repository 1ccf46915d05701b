"""What `--map` and `--format` may say, checked before a file is opened."""

import difflib
import itertools
from collections.abc import Iterable, Mapping

from palate.data.dialects.table import AUTO, FORMATS
from palate.data.proposals import FIELDS
from palate.errors import UsageError


def parse_map(flags: Iterable[str]) -> dict[str, str]:
    """`prompt=mr,completion=human` to a mapping from palate's field to the file's.  UsageError."""
    mapping: dict[str, str] = {}
    for part in itertools.chain.from_iterable(flag.split(",") for flag in flags):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not (name and equals and column):
            raise UsageError(f"--map '{part}' is not FIELD=COLUMN.", hint="As in prompt=mr.")
        if mapping.setdefault(name, column) != column:
            raise UsageError(f"--map names {name} twice: {mapping[name]} and {column}.")
    check_map(mapping)
    return mapping


def check_map(mapping: Mapping[str, str]) -> None:
    """Every renamed field must be one that palate knows.  Raises UsageError."""
    for name in mapping:
        if name not in FIELDS:
            near = difflib.get_close_matches(name, FIELDS, 1)
            swapped = f" Did you mean {mapping[name]}={name}?" if mapping[name] in FIELDS else ""
            guess = f" Did you mean {near[0]}?" if near and not swapped else swapped
            hint = f"The fields are {', '.join(FIELDS)}.{guess}"
            raise UsageError(f"--map: '{name}' is no field of palate.", hint=hint)


def check_format(name: str, mapping: Mapping[str, str]) -> None:
    """The format must be in the table, and not stand beside a `--map`.  Raises UsageError."""
    if name not in FORMATS:
        near = difflib.get_close_matches(name.lower(), FORMATS, 1)
        guess = f" Did you mean {near[0]}?" if near else ""
        hint = f"The formats are {', '.join(FORMATS)}.{guess}"
        raise UsageError(f"--format: '{name}' is no format of palate.", hint=hint)
    if mapping and name != AUTO:
        hint = "--map names the fields itself. Leave one of the two out."
        raise UsageError(f"--format {name} has no effect beside --map.", hint=hint)
