"""What every config is made of: frozen fields, words into tuples, a complaint as a sentence."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

NAMED_OPTIONS = ("beta", "label_smoothing", "sft_weight")


def frozen(default: Any, text: str, **limits: Any) -> Any:
    """A field that a resumed run must not change."""
    return Field(default, description=text, json_schema_extra={"resume": "frozen"}, **limits)


def free(default: Any, text: str, **limits: Any) -> Any:
    """A field that a resumed run may change: it cannot touch the result."""
    return Field(default, description=text, json_schema_extra={"resume": "free"}, **limits)


class Model(BaseModel):
    """Base of every config: immutable, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


def comma_separated(value: Any) -> Any:
    """`a,b` or `(a, b,c)` -> `(a, b, c)`; anything else is left for pydantic to refuse."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    return tuple(word.strip() for part in parts for word in part.split(",") if word.strip())


def named_once(words: tuple[str, ...]) -> tuple[str, ...]:
    """`NAME=VALUE` each, no name twice, none that has a flag of its own."""
    names = [word.partition("=")[0].strip() for word in words]
    for place, (name, word) in enumerate(zip(names, words, strict=True)):
        if not name or "=" not in word:
            raise ValueError(f"'{word}' is not NAME=VALUE")
        if name in (*NAMED_OPTIONS, *names[:place]):
            raise ValueError(f"{name} is given twice, or has a flag of its own")
    return words


def parted(words: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` words as a mapping."""
    parts = (word.partition("=") for word in words)
    return {name.strip(): value.strip() for name, _, value in parts}


def complaint(error: Any, name: Callable[[str], str]) -> str:
    """One entry of pydantic's `errors()` as a sentence; `name` says what the user calls a field."""
    field = name(str(error["loc"][0])) if error["loc"] else "this"
    if error["type"] == "missing":
        return f"{field} is needed."
    what = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not error["loc"]:
        return f"{what}."
    given = error["input"]
    shown = ",".join(map(str, given)) if isinstance(given, list | tuple) else str(given)
    return f"{field} {shown[:60]}: {what}."


def resume_rule(model: type[Model], field: str) -> str:
    """`frozen` or `free`, as the field says."""
    extra = model.model_fields[field].json_schema_extra
    assert isinstance(extra, dict), (
        f"{model.__name__}.{field} does not say what a resume may do with it"
    )
    return str(extra["resume"])
