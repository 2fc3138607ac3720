"""The law that no format loses content in silence, for the rows of one file.

Texts are found by trial: a leaf belongs to the content if another text in its place comes out.
Then every key above it is renamed, its field is moved, and unknown parts and fields are put beside
it. The text comes through, or a problem, an unread path or a new remark reports it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.metadata import GENERIC_METADATA
from atlas.trajectories.formats.rows import Item
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine

SENTINEL = "Zanzibar 271828"
NEW_FIELDS = ("aside", "content_2")
# A leaf, by the keys and positions that lead to it.
Place = tuple[str | int, ...]


def silent_losses(name: str, rows: list[Any], path: Path) -> list[str]:
    """The changes after which a format loses a text of `rows` in silence; `path` is written.

    Raises:
        AssertionError: no text of the rows is read.
    """
    silent: list[str] = []
    found = False
    for place in _text_places(rows):
        if place[-1] in GENERIC_METADATA or place[-1] == "name":
            continue
        marked = _with(rows, place, SENTINEL)
        try:
            known = _remarks(items_of(name, marked, path))
        except AtlasError:
            continue
        if _outcome(name, marked, path, known) != "read":
            continue
        found = True
        for what, changed in _changes(marked, place):
            if _outcome(name, changed, path, known) == "silent":
                silent.append(f"{what} of {'.'.join(map(str, place))}")
    assert found, f"{name}: no text of the example is read"
    return silent


def items_of(name: str, rows: list[Any], path: Path) -> list[Item]:
    """What a format reads of rows, written to `path` as lines."""
    path.write_text("\n".join(map(json.dumps, rows)))
    with SourceFile(path) as source:
        return list(FORMAT.make(Choice(name)).read(source))


def contents_of(items: list[Item]) -> list[dict[str, Any]]:
    """What a model saw and wrote, of each trajectory; neither sources nor ids."""
    lines = [item.line for item in items if isinstance(item, TrajectoryLine)]
    lines += [item.model_dump_json().encode() for item in items if isinstance(item, Trajectory)]
    keys = ("prompt", "steps", "tools", "final_observation")
    return [{key: _without_ids(record[key]) for key in keys} for record in map(json.loads, lines)]


def _without_ids(value: Any) -> Any:
    """A value of a record without what pairs results with calls, which may be left out."""
    if isinstance(value, list):
        return [_without_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    names = ("id", "tool_call_id", *(["name"] if value.get("role") == "tool" else []))
    return {key: _without_ids(each) for key, each in value.items() if key not in names}


def values_of(path: Path) -> list[Any]:
    """The rows of a file; messages that are a JSON text are decoded, so that each can be tried."""
    text = path.read_text()
    try:
        value = json.loads(text)
        rows = value if isinstance(value, list) and not _is_chat(value) else [value]
    except ValueError:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [
        {**row, "messages": json.loads(row["messages"])}
        if isinstance(row, dict) and isinstance(row.get("messages"), str)
        else row
        for row in rows
    ]


def _is_chat(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], dict) and bool({"role", "id"} & value[0].keys())


def _outcome(name: str, rows: list[Any], path: Path, known: Collection[str]) -> str:
    """What becomes of the sentinel: "read", "reported" or "silent"."""
    try:
        items = items_of(name, rows, path)
    except AtlasError:
        return "reported"
    if SENTINEL in json.dumps(contents_of(items)):
        return "read"
    is_reported = any(
        isinstance(item, Problem) or (isinstance(item, TrajectoryLine) and item.unread)
        for item in items
    )
    return "reported" if is_reported or not items or _remarks(items) - {*known} else "silent"


def _remarks(items: list[Item]) -> set[str]:
    lines = [item for item in items if isinstance(item, TrajectoryLine)]
    return {text for line in lines for _, text in line.remarks}


def _changes(rows: list[Any], place: Place) -> Iterator[tuple[str, list[Any]]]:
    """The rows after one change of the surroundings of a leaf."""
    for depth, key in enumerate(place):
        if isinstance(key, str):
            yield from _renamings(rows, place[:depth], key)
        elif depth:
            changed = _with(rows, place, "other words")
            _at(changed, place[:depth]).append({"type": "zz_unknown", "zz_text": SENTINEL})
            yield f"moved to an unknown part at {depth}", changed
    key = place[-1]
    for depth in range(1, len(place) - 1) if isinstance(key, str) else ():
        changed = copy.deepcopy(rows)
        above = _at(changed, place[:depth])
        if isinstance(above, dict) and key not in above:
            above[key] = _at(changed, place[:-1]).pop(key)
            yield f"moved to {depth}", changed
    for new in NEW_FIELDS if key == "content" else ():
        changed = _with(rows, place, "other words")
        _at(changed, place[:-1])[new] = SENTINEL
        yield f"moved to the new field {new}", changed


def _renamings(rows: list[Any], owner: Place, key: str) -> Iterator[tuple[str, list[Any]]]:
    for new in (f"zz_{key}", f"{key}s"):
        changed = copy.deepcopy(rows)
        holder = _at(changed, owner)
        if new not in holder:
            renamed = {(new if old == key else old): value for old, value in holder.items()}
            holder.clear()
            holder.update(renamed)
            yield f"key {len(owner)} renamed to {new}", changed


def _text_places(value: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _text_places(child, (*place, key))


def _at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def _set(value: Any, place: Place, leaf: Any) -> None:
    _at(value, place[:-1])[place[-1]] = leaf


def _with(rows: list[Any], place: Place, leaf: str) -> list[Any]:
    changed = copy.deepcopy(rows)
    _set(changed, place, leaf)
    return changed
