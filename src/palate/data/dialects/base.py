"""What a dialect is: its fields and their shapes, the mapping in words, and a pure converter.

A converter is handed the dialect's own fields of one record, which have the right shapes.  It gives
records in palate's fields, or none; what is wrong goes to `Faults`, and so does what makes no row
by the dialect's rule.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from palate.data.decode import Record, kind
from palate.data.forms import Kind
from palate.errors import DataError, Problem

Values = Mapping[str, Any]
_HOLDS = {
    "sft": ("examples to imitate", "To imitate, use palate sft."),
    "pairs": ("pairs", "To prefer, use palate dpo."),
    "labelled": ("single verdicts", "To learn from verdicts, use palate dpo --objective kto."),
}
_IMITATE = {
    "pairs": "To imitate the chosen side: palate convert {path} pairs.jsonl,"
    " then palate sft --data pairs.jsonl --map completion=chosen.",
    "labelled": "Imitation would copy the bad ones too: palate convert {path} verdicts.jsonl,"
    " and keep the rows whose label is true.",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """A test of a field's value, and what it wants in words."""

    words: str
    fits: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Field:
    """A field under the first name it is found by; `must`: every record has it."""

    names: tuple[str, ...]
    shape: Shape
    must: bool = True

    def found(self, fields: Values) -> str | None:
        """What this record calls it."""
        return next((name for name in self.names if name in fields), None)


def needs(shape: Shape, *names: str) -> Field:
    """A field that every record has, under one of these names."""
    return Field(names, shape)


def may(shape: Shape, *names: str) -> Field:
    """A field that a record may have."""
    return Field(names, shape, must=False)


@dataclass(slots=True)
class Faults:
    """What is wrong with one record, and what of it makes no row by rule."""

    record: Record
    called: Mapping[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def add(self, name: str, what: str, todo: str) -> None:
        """Note one fault of a field, by the name that the file has for it."""
        called = self.called.get(name, name)
        self.problems.append(Problem(self.record.path, self.record.line, called, what, todo))

    def leave(self, why: str) -> None:
        """Note one thing that makes no row; it is counted and told by `why`."""
        self.aside.append(why)


Converter = Callable[[Values, Faults], Iterable[dict[str, Any]]]


def always(_: Values) -> bool:
    """No further signature."""
    return True


@dataclass(frozen=True, slots=True)
class Dialect:
    """One shape of another tool: `--format NAME`.

    A record with one of `lacks` is something else.  `sign` is what tells it apart beyond the
    fields' shapes, on a first record.  `says` is the mapping in words; `names` what a message calls
    palate's fields.  `also` converts to other kinds of row.  `refines`: one of palate's own forms
    with more to it, so it is never confused with that.  `prompt`: the field that is the prompt,
    also of a record whose answers make no row.
    """

    name: str
    title: str
    kind: Kind
    fields: tuple[Field, ...]
    says: str
    convert: Converter
    sign: Callable[[Values], bool] = always
    lacks: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[Kind, Converter] = field(default_factory=dict)
    refines: bool = False
    prompt: str = ""

    def named(self, fields: Values) -> bool:
        """Whether a record has the fields, whatever is in them."""
        there = all(one.found(fields) is not None for one in self.fields if one.must)
        return there and not self.lacks & fields.keys()

    def fits(self, fields: Values) -> bool:
        """Whether a first record has the signature."""
        found = [(one.shape, one.found(fields)) for one in self.fields]
        shaped = all(shape.fits(fields[name]) for shape, name in found if name is not None)
        return self.named(fields) and shaped and self.sign(fields)

    @property
    def known(self) -> frozenset[str]:
        """Every field that it reads."""
        return frozenset(name for one in self.fields for name in one.names)

    def refuse(self, asked: Kind, path: str) -> None:
        """Raise DataError if rows of this dialect cannot be what was asked for."""
        if asked in (self.kind, *self.also) or (asked, self.kind) == ("weighted", "sft"):
            return
        holds, todo = _HOLDS[self.kind]
        if asked == "sft":
            todo += " " + _IMITATE[self.kind].format(path=path)
        what = f"holds {holds}: it is read as {self.title} (--format {self.name})"
        raise DataError([Problem(path, 0, "", what, todo)])

    def read(self, record: Record, asked: Kind) -> tuple[list[dict[str, Any]], Faults]:
        """One record in palate's own fields, or what is wrong with it."""
        faults, values = Faults(record), {}
        found = {one.names[0]: one.found(record.fields) for one in self.fields}
        faults.called = {first: name for first, name in found.items() if name is not None}
        for one in self.fields:
            name = found[one.names[0]]
            if name is not None:
                values[one.names[0]] = record.fields[name]
                self._check(one, record.fields[name], faults)
            elif one.must:
                self._missing(one, faults)
        if faults.problems:
            return [], faults
        rows = list(self.also.get(asked, self.convert)(values, faults))
        return ([] if faults.problems else rows), faults

    def prompt_of(self, record: Record) -> Iterator[dict[str, Any]]:
        """The prompt of a record whose answers make no row, if a field of its own holds it."""
        for one in self.fields:
            name = one.found(record.fields)
            if one.names[0] == self.prompt and name is not None:
                yield {"prompt": record.fields[name]}

    def _check(self, one: Field, value: Any, faults: Faults) -> None:
        if not one.shape.fits(value):
            what = f"is {kind(value)}, expected {one.shape.words}"
            faults.add(one.names[0], what, f"The file is read as {self.title}; mend the row.")

    def _missing(self, one: Field, faults: Faults) -> None:
        there = ", ".join(map(str, faults.record.fields)) or "nothing"
        todo = f"The file is read as {self.title} (--format {self.name}); mend the row."
        faults.add(one.names[0], f"is missing (found: {there})", todo)
