"""CSV, Parquet and hub data sets: rows of named columns, a bounded batch at a time.

A CSV cell is text.  Parquet and hub columns may hold lists of messages.  A Parquet or hub row has
no line, so its 1-based row number stands in.  Nothing is downloaded but a data set asked for by id.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palate.data.container import Lines
from palate.data.decode import Found, Record, unfit_text
from palate.data.jsonl import SIZE_LIMIT
from palate.errors import DataError, Problem, UsageError

_BATCH = 256
_DELIMITERS = ",;\t"


def read_csv(path: Path) -> Iterator[Found]:
    """Rows of a CSV or TSV file with a header line; the delimiter is the header's most frequent."""
    faults: list[Problem] = []
    lines = _texts(path, faults)
    header = next(lines, "")
    delimiter = max(_DELIMITERS, key=header.count)
    limit = csv.field_size_limit(SIZE_LIMIT)
    try:
        rows = csv.reader(_again(header, lines), delimiter=delimiter, strict=True)
        yield from _csv_rows(str(path), rows)
    finally:
        csv.field_size_limit(limit)
    yield from faults


def _again(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _texts(path: Path, faults: list[Problem]) -> Iterator[str]:
    """The lines; one that cannot be read is noted and stands as an empty one."""
    for _, line in Lines(path, SIZE_LIMIT):
        if isinstance(line, Problem):
            faults.append(line)
        yield "\n" if isinstance(line, Problem) else line


def _csv_rows(path: str, rows: Any) -> Iterator[Found]:
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            what = f"is not CSV: {error}"
            yield Problem(path, line, "", what, 'Close each quoted cell; write " inside as "".')
            return
        if cells is None:
            return
        if not header:
            header = cells
            yield from _header_faults(path, header)
        elif len(cells) == len(header):
            yield from _checked(Record(path, line, dict(zip(header, cells))))
        elif cells:
            what = f"has {len(cells)} columns, the header has {len(header)}"
            yield Problem(
                path, line, "", what, "Put quotes around a text that holds the delimiter."
            )
        line = rows.line_num + 1


def _header_faults(path: str, header: list[str]) -> Iterator[Problem]:
    for name in {name for name in header if header.count(name) > 1}:
        yield Problem(path, 1, name, "names two columns", "Rename one of them.")


def _checked(record: Record) -> Iterator[Found]:
    faults = [unfit_text(name, value) for name, value in record.fields.items()]
    problems = [Problem(record.path, record.line, *fault) for fault in faults if fault]
    if problems:
        yield from problems
    else:
        yield record


def read_parquet(path: Path) -> Iterator[Found]:
    """Rows of a Parquet file, 256 at a time: its size on disk says little of its size as text."""
    import pyarrow
    import pyarrow.parquet

    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for fields in batch.to_pylist():
                    row += 1
                    yield from _checked(Record(str(path), row, fields))
    except pyarrow.ArrowException as error:
        what = f"cannot be read as Parquet: {str(error).splitlines()[0]}"
        yield Problem(str(path), row + 1 if row else 0, "", what, "Copy the file again.")


def read_hub(source: str) -> Iterator[Found]:
    """Rows of `id`, `id:split` or `id:config:split` (split `train` if left out), or of a folder."""
    name, config, split = _address(source)
    for row, fields in enumerate(_load(name, config, split), start=1):
        yield from _checked(Record(source, row, dict(fields)))


def _address(source: str) -> tuple[str, str | None, str]:
    name, *rest = [source] if Path(source).is_dir() else source.split(":")
    if len(rest) > 2:
        raise UsageError(
            f"'{source}' has too many colons.", hint="Write id:split or id:config:split."
        )
    return name, rest[0] if len(rest) == 2 else None, rest[-1] if rest else "train"


def _load(name: str, config: str | None, split: str) -> Any:
    """The data set.  Whatever `datasets` raises becomes one DataError."""
    try:
        import datasets
    except ImportError:
        what = f"'{name}' is no file, and reading it as a hub data set needs the package datasets."
        raise DataError(what, hint="pip install 'palate[hub]', or give a file.") from None
    datasets.disable_progress_bars()
    try:
        if (Path(name) / "state.json").exists() or (Path(name) / "dataset_dict.json").exists():
            loaded = datasets.load_from_disk(name)
            return loaded if isinstance(loaded, datasets.Dataset) else loaded[split]
        return datasets.load_dataset(name, config, split=split)
    except KeyError:
        found = ", ".join(sorted(loaded))
        raise DataError(f"'{name}' has no split '{split}' (found: {found}).") from None
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "Check the id and the split (id:split or id:config:split), or give a file."
        raise DataError(f"'{name}' cannot be loaded as a data set: {reason}.", hint=hint) from error
