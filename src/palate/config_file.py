"""`palate.toml`: both stages in one file; its keys are the flags of `palate sft` and `palate dpo`.

    [model]                    what both stages share: any key that both know
    model = "path/to/model"
    out = "runs/listings"      the stages write runs/listings/sft and runs/listings/dpo
    [sft]
    data = "examples.jsonl"
    [dpo]
    data = "pairs.jsonl"       without a model of its own, DPO starts from the SFT run

Paths are relative to the current directory, as they are on the command line.  Every wrong key and
value is reported at once, with its line.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from palate.config import DpoConfig, SftConfig, TrainConfig, complaint
from palate.errors import UsageError

Config = TypeVar("Config", bound=TrainConfig)
Table = Mapping[str, Any]
SHARED = "model"
STAGES: dict[str, type[TrainConfig]] = {"sft": SftConfig, "dpo": DpoConfig}
SHARED_KEYS = set(TrainConfig.model_fields) - {"data", "heldout"}


@dataclass(frozen=True, slots=True)
class Stages:
    """What the file asks for; a stage that it does not name is None."""

    sft: SftConfig | None
    dpo: DpoConfig | None


def load(path: Path) -> Stages:
    """Read and check a palate.toml.  Raises UsageError with every problem found."""
    text = _read(path)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}.") from None
    problems = _unknown(tables, _Lines(path, text))
    if problems:
        raise UsageError("\n".join(problems))
    return _Loader(tables, _Lines(path, text)).stages()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist.", hint="Name a palate.toml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}.") from None


class _Lines:
    """Where a key stands: its table's line, then the first line below it that sets the key."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._found: dict[tuple[str, str], int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), start=1):
            if header := re.match(r"\s*\[\s*([^\]]+?)\s*\]", line):
                table = header[1].strip("\"'")
                self._found.setdefault((table, ""), number)
            elif key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[.=]", line):
                self._found.setdefault((table, key[1]), number)

    def at(self, table: str, key: str = "") -> str:
        """`palate.toml:7`, or the table's line, or the file alone."""
        top = self._found.get(("", table))
        line = self._found.get((table, key)) or self._found.get((table, "")) or top
        return f"{self._path}:{line}" if line else str(self._path)

    def of_field(self, table: str, field: str) -> str:
        """The same for a field, which a file may write with hyphens."""
        spelt = field if (table, field) in self._found else field.replace("_", "-")
        return self.at(table, spelt)


def _unknown(tables: Table, lines: _Lines) -> list[str]:
    """Every table and key that means nothing here, with the nearest one that does."""
    known = {SHARED: SHARED_KEYS} | {name: set(kind.model_fields) for name, kind in STAGES.items()}
    problems = []
    for table, keys in tables.items():
        if table not in known:
            problems.append(f"{lines.at(table)}: unknown table [{table}].{_nearest(table, known)}")
        elif not isinstance(keys, dict):
            problems.append(f"{lines.at('', table)}: '{table}' is no table; write [{table}].")
        else:
            problems += [
                f"{lines.at(table, key)}: unknown key '{key}' in [{table}]."
                + _nearest(key.replace("-", "_"), known[table])
                for key in keys
                if key.replace("-", "_") not in known[table]
            ]
    return problems


def _nearest(word: str, known: Mapping[str, object] | set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), 1)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(sorted(known))}."


class _Loader:
    """Tables whose keys are known -> checked configs."""

    def __init__(self, tables: Table, lines: _Lines) -> None:
        self._tables = {name: _underscored(keys) for name, keys in tables.items()}
        self._lines = lines
        self._problems: list[str] = []

    def stages(self) -> Stages:
        if not STAGES.keys() & self._tables.keys():
            raise UsageError(f"{self._lines.at('')} has neither [sft] nor [dpo]: nothing to do.")
        sft = self._config("sft", SftConfig, {})
        after = {"model": str(sft.out)} if sft else {}
        if "sft" in self._tables and sft is None:
            after = {"model": "the run of [sft]"}  # not a second complaint about the first
        dpo = self._config("dpo", DpoConfig, after)
        if self._problems:
            raise UsageError("\n".join(dict.fromkeys(self._problems)))
        return Stages(sft, dpo)

    def _config(self, stage: str, kind: type[Config], after: dict[str, str]) -> Config | None:
        """The stage's own keys, over what the stage before gives, over what is shared."""
        if stage not in self._tables:
            return None
        shared = dict(self._tables.get(SHARED, {}))
        if isinstance(shared.get("out"), str):
            shared["out"] = str(Path(shared["out"]) / stage)
        try:
            return kind.model_validate(shared | after | self._tables[stage])
        except ValidationError as error:
            self._problems += [
                self._problem(stage, found) for found in error.errors(include_url=False)
            ]
            return None

    def _problem(self, stage: str, found: Any) -> str:
        field = str(found["loc"][0])
        table = stage if field in self._tables[stage] or found["type"] == "missing" else SHARED
        sentence = complaint(found, lambda name: f"{name} =")
        if found["type"] == "missing":
            sentence = f"[{stage}] needs {field} = ..."
        return f"{self._lines.of_field(table, field)}: {sentence}"


def _underscored(keys: Table) -> dict[str, Any]:
    return {key.replace("-", "_"): value for key, value in keys.items()}
