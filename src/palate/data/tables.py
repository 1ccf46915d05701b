"""CSV, Parquet and hub data sets: rows of named columns, a bounded batch at a time.

A CSV cell is text.  Parquet and hub columns may hold lists of messages.  A Parquet or hub row has
no line, so its 1-based row number stands in.  Nothing is downloaded but a data set asked for by id.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from palate.data.container import Lines
from palate.data.decode import FIELD_LIMIT, Found, Record, patient, too_wide, unfit
from palate.data.jsonl import SIZE_LIMIT
from palate.errors import DataError, Problem, UsageError

_BATCH = 256
_FILES = (".jsonl", ".json", ".csv", ".parquet")
_GROWTH, _FREE = 100, 64 * 1024 * 1024
_ROW_COST = 200  # bytes of a row without text: nulls take no room on disk
_LINES_OF_A_ROW = 10_000
_DELIMITERS = ",;\t"


def read_csv(path: Path) -> Iterator[Found]:
    """Rows of a CSV or TSV file with a header line; the delimiter is the header's most frequent."""
    return patient(str(path), _csv(path))


class _Feed:
    """Lines for `csv`; one that cannot be read is noted and stands as an empty one."""

    def __init__(self, path: Path) -> None:
        self.faults: list[Problem] = []
        self.row = 0
        self._lines = iter(Lines(path, SIZE_LIMIT))
        self._first: list[str] = []
        self.header = next(self, "")
        self._first = [self.header] if self.header else []

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        """The next line.  Raises csv.Error if one row takes too many."""
        if self._first:
            return self._first.pop()
        self.row += 1
        if self.row > _LINES_OF_A_ROW:
            raise csv.Error(f"a quoted cell goes on for more than {_LINES_OF_A_ROW:,} lines")
        line = next(self._lines)[1]
        if isinstance(line, str):
            return line
        self.faults.append(line)
        return "\n"

    def told(self) -> list[Problem]:
        """The faults since the last row; the next row begins."""
        told, self.faults, self.row = self.faults, [], 0
        return told


def _csv(path: Path) -> Iterator[Found]:
    feed = _Feed(path)
    delimiter = max(_DELIMITERS, key=feed.header.count)
    limit = csv.field_size_limit(SIZE_LIMIT)
    try:
        yield from _csv_rows(str(path), csv.reader(feed, delimiter=delimiter, strict=True), feed)
    finally:
        csv.field_size_limit(limit)


def _csv_rows(path: str, rows: Any, feed: _Feed) -> Iterator[Found]:
    header: list[str] = []
    line = 1
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield from feed.told()
            what = f"is not CSV: {error}"
            yield Problem(path, line, "", what, 'Close each quoted cell; write " inside as "".')
            return
        yield from feed.told()
        if cells is None:
            return
        if not header:
            header = cells
            if len(header) > FIELD_LIMIT or max(map(len, header), default=0) > FIELD_LIMIT:
                yield Problem(path, 1, *too_wide(header))
                return
            yield from _header_faults(path, header)
        elif len(cells) == len(header):
            yield from _checked(Record(path, line, dict(zip(header, cells))))
        elif cells:
            what = f"has {len(cells)} columns, the header has {len(header)}"
            todo = "Put quotes around a text that holds the delimiter."
            yield Problem(path, line, "", what, todo)
        line = rows.line_num + 1


def _header_faults(path: str, header: list[str]) -> Iterator[Problem]:
    for name, count in Counter(header).items():
        if count > 1:
            yield Problem(path, 1, name, "names two columns", "Rename one of them.")


def _checked(record: Record) -> Iterator[Found]:
    problems = [Problem(record.path, record.line, *fault) for fault in unfit(record.fields)]
    if problems:
        yield from problems
    else:
        yield record


def read_parquet(path: Path) -> Iterator[Found]:
    """Rows of a Parquet file, never more than 16 MB of text at a time.

    Its size on disk says little of its size as text: a file that grows a hundredfold is refused.
    """
    return patient(str(path), _parquet(path))


def _parquet(path: Path) -> Iterator[Found]:
    import pyarrow

    row, limit = 0, _GROWTH * path.stat().st_size + _FREE
    try:
        file = _opened(path, limit)
        if isinstance(file, Problem):
            yield file
            return
        with file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for part, size in _parts(batch):
                    limit -= size + part.num_rows * _ROW_COST
                    if limit < 0:
                        yield Problem(str(path), 0, "", *_grows(path))
                        return
                    for fields in _plain_rows(part, size):
                        row += 1
                        if isinstance(fields, str):
                            yield Problem(str(path), row, "", fields, "Mend or remove the row.")
                        else:
                            yield from _checked(Record(str(path), row, fields))
    except (pyarrow.ArrowException, OSError) as error:
        what = f"cannot be read as Parquet: {str(error).splitlines()[0]}"
        yield Problem(str(path), row + 1 if row else 0, "", what, "Copy the file again.")


def _opened(path: Path, limit: int) -> Any:
    """The file, its texts to be read as dictionaries so that a repeated one costs memory once."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        metadata, schema = file.metadata, file.schema
        columns = [schema.column(n) for n in range(len(schema))]
        if len(columns) > FIELD_LIMIT:
            return Problem(str(path), 0, *too_wide([column.path for column in columns]))
        groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
        size = sum(
            group.column(n).total_uncompressed_size for group in groups for n in range(len(columns))
        )
        if size + metadata.num_rows * _ROW_COST > limit:
            return Problem(str(path), 0, "", *_grows(path))
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    return pyarrow.parquet.ParquetFile(path, read_dictionary=texts)


def _grows(path: Path) -> tuple[str, str]:
    size = path.stat().st_size / 2**20
    what = f"({size:.1f} MB) grows to more than {_GROWTH} times its size and {_FREE >> 20} MB"
    return what, "Is this the right file? If so, write it as JSONL."


def _parts(batch: Any) -> Iterator[tuple[Any, int]]:
    """The batch in pieces of 16 MB of text at most, or of one row; each with its bytes."""
    size = sum(_weight(column) for column in batch.columns)
    if size <= SIZE_LIMIT or batch.num_rows <= 1:
        yield batch, size
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def _weight(values: Any) -> int:
    """Bytes of the values as text, before any of it is made."""
    import pyarrow.compute
    import pyarrow.types as types

    kind = values.type
    if types.is_dictionary(kind):
        if not (types.is_string(kind.value_type) or types.is_binary(kind.value_type)):
            return int(values.indices.nbytes)
        lengths = pyarrow.compute.binary_length(values.dictionary)
        return pyarrow.compute.sum(lengths.take(values.indices)).as_py() or 0
    if types.is_struct(kind):
        return sum(_weight(column) for column in values.flatten())
    if types.is_map(kind):
        return _weight(values.keys) + _weight(values.items)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _weight(values.flatten()) + int(values.nbytes) // max(len(values), 1)
    return int(values.nbytes)


def _plain_rows(part: Any, size: int) -> Iterator[dict[str, Any] | str]:
    """Rows as dictionaries, or what is wrong with one in words."""
    if size > SIZE_LIMIT:
        yield f"is {size / 2**20:.1f} MB (limit {SIZE_LIMIT / 2**20:.0f} MB)"
        return
    try:
        yield from part.to_pylist()
    except UnicodeDecodeError:
        if part.num_rows <= 1:
            yield "holds a text that is not UTF-8"
            return
        for n in range(part.num_rows):
            yield from _plain_rows(part.slice(n, 1), 0)


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
        if Path(name).is_dir():
            files = sorted(each.name for each in Path(name).iterdir() if each.suffix in _FILES)
            near = f" Such as {Path(name) / files[0]}." if files else ""
            raise DataError(f"{name} is a folder.", hint=f"Name a file of rows.{near}") from None
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
