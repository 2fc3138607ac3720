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
from atlas.trajectories.formats.json_array import MAX_ROW_BYTES

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
        columns = map(table.schema.column, range(len(table.schema)))
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        # A text that is stored once may stand in each row; it is held once until it is measured.
        table = parquet.ParquetFile(file, metadata=table.metadata, read_dictionary=texts)
        groups = [table.metadata.row_group(index) for index in range(table.num_row_groups)]
        packed = _refuse_bomb(groups)
        num_bytes = 0
        for index, group in enumerate(groups):
            num_rows = BATCH_BYTES // max(1, group.total_byte_size)
            size = min(max(1, num_rows), BATCH_ROWS)
            for batch in table.iter_batches(batch_size=size, row_groups=[index]):
                for part in _parts_that_fit(batch):
                    num_bytes += _plain_size(part)
                    if num_bytes > max(FREE_BYTES, MAX_EXPANSION * packed):
                        raise ValueError(_describe_bomb(packed, f"{num_bytes:,} bytes and more"))
                    yield from map(_plain, part.to_pylist())
    except (pyarrow.ArrowException, OSError, OverflowError, UnicodeDecodeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"the parquet data is damaged: {first}") from None


def _parts_that_fit(batch: Any) -> Iterator[Any]:
    """A batch, or its rows one by one if it is large; raises ValueError for a row that is."""
    if _plain_size(batch) <= BATCH_BYTES:
        yield batch
        return
    for row in range(batch.num_rows):
        part = batch.slice(row, 1)
        if _plain_size(part) > MAX_ROW_BYTES:
            raise ValueError(f"a row of more than {MAX_ROW_BYTES >> 20} MiB")
        yield part


def _plain_size(data: Any) -> int:
    """The bytes of a batch or array whose texts are written out wherever they stand."""
    import pyarrow
    from pyarrow import compute, types

    if isinstance(data, pyarrow.RecordBatch):
        return sum(map(_plain_size, data.columns))
    if types.is_dictionary(data.type):
        dictionary = data.dictionary
        if not (types.is_string(dictionary.type) or types.is_binary(dictionary.type)):
            return int(data.nbytes)
        lengths = compute.binary_length(dictionary).cast("int64")
        return int(compute.sum(lengths.take(data.indices)).as_py() or 0)
    if types.is_map(data.type):
        start, end = data.offsets[0].as_py(), data.offsets[-1].as_py()
        inner = (data.keys, data.items)
        return sum(_plain_size(part.slice(start, end - start)) for part in inner)
    if types.is_struct(data.type):
        return sum(map(_plain_size, data.flatten()))
    is_list = types.is_list(data.type) or types.is_large_list(data.type)
    return _plain_size(data.flatten()) if is_list else int(data.nbytes)


def _refuse_bomb(groups: Sequence[Any]) -> int:
    """The compressed bytes; raises ValueError if they expand as a decompression bomb does."""
    columns = [group.column(index) for group in groups for index in range(group.num_columns)]
    packed = sum(column.total_compressed_size for column in columns)
    plain = sum(column.total_uncompressed_size for column in columns)
    values = sum(column.num_values for column in columns)
    if plain > max(FREE_BYTES, MAX_EXPANSION * packed) or values > max(
        MAX_VALUES, MAX_VALUES_PER_BYTE * packed
    ):
        raise ValueError(_describe_bomb(packed, f"{plain:,} bytes and {values:,} values"))
    return int(packed)


def _describe_bomb(packed: int, plain: str) -> str:
    return (
        f"{packed:,} bytes of parquet data expand to {plain}, as a decompression bomb does. "
        "If it is a real log, convert it to JSON Lines"
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
