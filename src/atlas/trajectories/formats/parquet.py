"""Rows of a Parquet file, batch by batch: `open file -> rows as JSON values`.

A column of structs has a null for every field that a row lacks. Such fields are dropped, so that a
row reads as it would in JSON.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

from atlas.errors import DependencyError

BATCH_ROWS = 64


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
        for batch in table.iter_batches(batch_size=BATCH_ROWS):
            yield from map(_plain, batch.to_pylist())
    except (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the parquet data is damaged: {first}") from None


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
