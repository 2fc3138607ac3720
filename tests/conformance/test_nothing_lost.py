"""No format loses content in silence: a text that was read before a change of its surroundings is
read after it, or a problem or an unread path reports it.

Texts are found by trial: a leaf belongs to the content if another text in its place comes out.
Then every key above it is renamed, its field is moved, and parts of unknown types are put beside
it. The examples are those of tests/conformance/test_formats.py, and small logs of many kinds.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import AtlasError
from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT, FORMATS
from atlas.trajectories.formats.metadata import GENERIC_METADATA
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.conformance.test_formats import EXAMPLES, FILES, GOOD
from tests.format_examples.rich_chats import RICH
from tests.format_examples.session_logs import LOGS
from tests.source_files import detect_format

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases"
SENTINEL = "Zanzibar 271828"
# A leaf, by the keys and positions that lead to it.
Place = tuple[str | int, ...]


def test_every_format_reports_what_it_does_not_read(tmp_path: Path) -> None:
    """All formats of the table that read JSON: the examples are small."""
    silent: list[str] = []
    for name in FORMATS:
        if name in EXAMPLES:
            rows = [EXAMPLES[name](GOOD, 0)]
        elif name == "inspect":
            # An archive: inspect_ai refuses fields that it does not know.
            continue
        else:
            FILES[name](tmp_path / "example", [GOOD])
            rows = _values(tmp_path / "example")
        silent += [f"{name}: {fault}" for fault in _silent_losses(name, rows, tmp_path / "x")]
    assert silent == []


@pytest.mark.parametrize("name", RICH)
def test_chats_of_all_kinds_of_parts_lose_nothing_in_silence(name: str, tmp_path: Path) -> None:
    assert _silent_losses(name, [RICH[name]], tmp_path / "x") == []


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        pytest.param(name, rows, id=f"{name}-{number}")
        for name, logs in LOGS.items()
        for number, rows in enumerate(logs)
    ],
)
def test_logs_with_calls_results_and_reasoning_lose_nothing_in_silence(
    name: str, rows: list[Any], tmp_path: Path
) -> None:
    silent = _silent_losses(name, rows, tmp_path / "x")
    if name == "nemo_gym":
        # The data of an environment's task may stand under this key of a row.
        silent = [fault for fault in silent if not re.fullmatch(r"moved to 1 of .*\.text", fault)]
    assert silent == []


@pytest.mark.slow
@pytest.mark.skipif(not CASES.exists(), reason="the logs of ../shared/data are not here")
@pytest.mark.parametrize(
    "path", sorted(CASES.glob("*/*.json*")), ids=lambda path: path.stem if path else ""
)
def test_small_logs_of_many_kinds_lose_nothing_in_silence(path: Path, tmp_path: Path) -> None:
    assert _silent_losses(detect_format(path), _values(path), tmp_path / "x") == []


def _silent_losses(name: str, rows: list[Any], path: Path) -> list[str]:
    if name == "atlas":
        # Records refuse fields that they do not know.
        return []
    silent: list[str] = []
    found = False
    for place in list(_text_places(rows)):
        if place[-1] in GENERIC_METADATA or place[-1] in ("name", "callID"):
            continue
        marked = _with(rows, place, SENTINEL)
        if _reports(name, marked, path) != "read":
            continue
        found = True
        for what, changed in _changes(marked, place):
            if _reports(name, changed, path) == "silent":
                silent.append(f"{what} of {'.'.join(map(str, place))}")
    assert found, f"{name}: no text of the example is read"
    return silent


def _reports(name: str, rows: list[Any], path: Path) -> str:
    """What becomes of the sentinel: "read", "reported" or "silent"."""
    path.write_text("\n".join(map(json.dumps, rows)))
    try:
        with SourceFile(path) as source:
            items = list(FORMAT.make(Choice(name)).read(source))
    except AtlasError:
        return "reported"
    lines = [item.line for item in items if isinstance(item, TrajectoryLine)]
    lines += [item.model_dump_json().encode() for item in items if isinstance(item, Trajectory)]
    # Sources and ids hold metadata, not content.
    records = [json.loads(line) for line in lines]
    content = [[record[key] for record in records] for key in ("prompt", "steps", "tools")]
    content.append([record["final_observation"] for record in records])
    if SENTINEL in json.dumps(content):
        return "read"
    is_reported = any(
        isinstance(item, Problem) or (isinstance(item, TrajectoryLine) and item.unread)
        for item in items
    )
    return "reported" if is_reported or not items else "silent"


def _changes(rows: list[Any], place: Place) -> Iterator[tuple[str, list[Any]]]:
    """The rows after one change of the surroundings of a leaf."""
    for depth, key in enumerate(place):
        if isinstance(key, str):
            changed = copy.deepcopy(rows)
            holder = _at(changed, place[:depth])
            renamed = {(f"zz_{old}" if old == key else old): holder[old] for old in list(holder)}
            holder.clear()
            holder.update(renamed)
            yield f"key {depth} renamed", changed
        elif depth:
            changed = copy.deepcopy(rows)
            beside = _at(changed, place[:depth])
            value = _at(changed, place)
            _set(changed, place, "other words")
            beside.append({"type": "zz_unknown", "zz_text": value})
            yield f"moved to an unknown part at {depth}", changed
    if isinstance(place[-1], str):
        for depth in range(1, len(place) - 1):
            changed = copy.deepcopy(rows)
            holder, above = _at(changed, place[:-1]), _at(changed, place[:depth])
            if isinstance(above, dict) and place[-1] not in above:
                above[place[-1]] = holder.pop(place[-1])
                yield f"moved to {depth}", changed


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


def _values(path: Path) -> list[Any]:
    text = path.read_text()
    try:
        value = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return value if isinstance(value, list) and not _is_chat(value) else [value]


def _is_chat(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], dict) and bool({"role", "id"} & value[0].keys())
