"""Where the rows of a file differ from the rows that an export writes, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from atlas.exporting.dialects.base import ExportRow

# The position of a row in the file, and the row.
PlacedRow = tuple[str, Any]
_SHOWN = 60


def row_differences(found: Sequence[PlacedRow], made: Sequence[ExportRow]) -> Iterator[str]:
    """The first difference of each row, as texts that follow the id of the trajectory.

    A field that is null is the same as none: tables have all fields in each row.
    """
    for (where, row), written in zip(found, made, strict=True):
        for path, there, here in islice(_differences(row, written, ""), 1):
            yield f": {where}, {path}: {_show(there)} in the file, {_show(here)} is exported"


def _differences(there: Any, here: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in [*here, *(key for key in there if key not in here)]:
            place = f"{path}.{key}" if path else str(key)
            yield from _differences(there.get(key), here.get(key), place)
    elif _is_list(there) and _is_list(here) and len(there) == len(here):
        for index, (one, other) in enumerate(zip(there, here, strict=True)):
            yield from _differences(one, other, f"{path}[{index}]")
    elif _is_list(here) and _is_list(there):
        yield path, f"{len(there)} entries", f"{len(here)} entries"
    elif there != here:
        yield path, there, here


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _show(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"
