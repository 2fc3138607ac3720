"""Rows of a Parquet file, batch by batch: `open file -> rows as JSON values`.

A column of structs has a null for every field that a row lacks. Such fields are dropped, so that a
row reads as it would in JSON.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from atlas.errors import DependencyError
from atlas.trajectories.formats.containers import FREE_BYTES, MAX_EXPANSION
from atlas.trajectories.formats.decoding import MAX_VALUES

BATCH_ROWS = 64
# Maximum bytes of the rows that are converted together. One row may be a whole row group.
BATCH_BYTES = 256 << 20
# Many nulls in a row take no bytes. Rows of real logs have text beside their nulls.
MAX_VALUES_PER_BYTE = 20


def read_parquet(file: BinaryIO) -> Iterator[Any]:
    """The rows of the file, each an object.

    Raises:
        DependencyError: the package pyarrow is not installed.
        ValueError: the file, or a part of it, is damaged.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DependencyError("pyarrow", "import") from None
    try:
        table = parquet.ParquetFile(file)
        groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
        _refuse_bomb(groups)
        for index, group in enumerate(groups):
            num_rows = BATCH_BYTES // max(1, group.total_byte_size)
            size = min(max(1, num_rows), BATCH_ROWS)
            for batch in table.iter_batches(batch_size=size, row_groups=[index]):
                yield from map(_plain, batch.to_pylist())
    except (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the parquet data is damaged: {first}") from None


def _refuse_bomb(groups: Sequence[Any]) -> None:
    """Raise ValueError if the columns expand as a decompression bomb does."""
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    packed = sum(column.total_compressed_size for column in columns)
    plain = sum(column.total_uncompressed_size for column in columns)
    values = sum(column.num_values for column in columns)
    if plain > max(FREE_BYTES, MAX_EXPANSION * packed) or values > max(
        MAX_VALUES, MAX_VALUES_PER_BYTE * packed
    ):
        raise ValueError(
            f"{packed:,} bytes of parquet data expand to {plain:,} bytes and {values:,} values, "
            "as a decompression bomb does. If it is a real log, convert it to JSON Lines"
        )


def _plain(value: Any) -> Any:
    """A value as JSON could hold it."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items() if not _is_missing(inner)}
        case list() if value and all(map(_is_entry, value)):
            return {key: _plain(inner) for key, inner in value}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case bytes():
            return _text(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return value.total_seconds()
        case decimal.Decimal():
            return float(value)
    return value


def _is_entry(pair: Any) -> bool:
    """Whether a value is an entry of a map."""
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(data).decode()
