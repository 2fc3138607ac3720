"""Writes rows to one file atomically (JSON Lines, a JSON array or Parquet), and reads them back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from atlas.errors import DataError
from atlas.exporting.dialects.base import ExportRow
from atlas.exporting.dialects.parquet import import_arrow
from atlas.store.record_files import written_whole

ROWS_IN_A_GROUP = 1000
# These are legal in JSON, but readers that split lines at Unicode separators would split a row
# there.
_SEPARATORS = str.maketrans({"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


@runtime_checkable
class HasSchema(Protocol):
    """A dialect that writes parquet and therefore names its columns."""

    def schema(self) -> Any: ...


def write_rows(path: Path, rows: Iterable[ExportRow], dialect: object) -> int:
    """Write all rows to `path` in the format of its suffix, and return their number."""
    counted = count()
    rows = (row for row, _ in zip(rows, counted, strict=False))
    with written_whole(path) as file:
        if path.suffix == ".parquet":
            assert isinstance(dialect, HasSchema), "a dialect with the ending .parquet has a schema"
            _write_parquet(file, rows, dialect.schema())
        else:
            _write_json(file, rows, array=path.suffix == ".json")
    return next(counted)


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) for each row of a file that `write_rows` wrote, or that was changed since.

    Raises:
        DataError: the file is missing or does not have the format of its suffix.
    """
    unit, start = ("row", 0) if path.suffix in (".parquet", ".json") else ("line", 1)
    try:
        for number, row in enumerate(_parse(path), start=start):
            yield f"{path.name} {unit} {number}", row
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist, so there is nothing to check. Export without --check first."
        ) from None
    except (ValueError, TypeError) as error:
        # The errors of pyarrow are ValueErrors.
        raise DataError(
            f"{path} cannot be read as {path.suffix.removeprefix('.')}: {error}. Remove it and "
            "export again."
        ) from None


def _parse(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import_arrow()
        from pyarrow.parquet import ParquetFile

        for batch in ParquetFile(path).iter_batches(ROWS_IN_A_GROUP):
            yield from batch.to_pylist()
    elif path.suffix == ".json":
        yield from json.loads(path.read_bytes())
    else:
        with path.open("rb") as file:
            yield from map(json.loads, file)


def _write_json(file: BinaryIO, rows: Iterable[ExportRow], *, array: bool) -> None:
    start, between, end = ("[\n", ",\n", "\n]\n") if array else ("", "\n", "\n")
    texts = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
    file.write(start.encode())
    for number, text in enumerate(texts):
        before = between if number else ""
        file.write((before + text.translate(_SEPARATORS)).encode())
    file.write(end.encode())


def _write_parquet(file: BinaryIO, rows: Iterator[ExportRow], schema: Any) -> None:
    arrow = import_arrow()
    from pyarrow.parquet import ParquetWriter

    with ParquetWriter(file, schema) as writer:
        while group := list(islice(rows, ROWS_IN_A_GROUP)):
            writer.write_table(arrow.Table.from_pylist(group, schema=schema))
