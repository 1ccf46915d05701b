"""Results as JSON lines: what was measured once is not measured again."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]


@dataclass(slots=True)
class Store:
    """A file of records, each with its own `key`.  A line that was cut by a kill is ignored."""

    path: Path
    records: dict[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                self.records[record["key"]] = record

    def get(self, key: str, make: Callable[[], Mapping[str, Any]]) -> Record:
        """The record of `key`, made and written down if it is not there."""
        if key not in self.records:
            record = {"key": key, **make()}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as out:
                if out.tell() and not self._ends_whole():
                    out.write("\n")
                out.write(json.dumps(record, ensure_ascii=False) + "\n")
            self.records[key] = record
        return self.records[key]

    def where(self, **wanted: Any) -> Iterator[Record]:
        """Records whose fields have these values, in the order of the file."""
        for record in self.records.values():
            if all(record.get(name) == value for name, value in wanted.items()):
                yield record

    def _ends_whole(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
