"""The law that nothing is lost in silence, for one value: a renamed key is read or reported."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from atlas.kinds import Choice
from atlas.records import Problem
from atlas.trajectories.formats import base
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine


def losses_by_renaming(
    format_name: str, value: Any, texts: Sequence[str], folder: Path
) -> list[str]:
    """The keys that cost one of `texts` in silence when they have another name."""
    path = folder / "renamed.json"
    found: list[str] = []
    for place in _places(value):
        path.write_text(json.dumps(_renamed(value, place)))
        with SourceFile(path) as source:
            items = list(base.FORMAT.make(Choice(format_name)).read(source))
        if any(isinstance(item, Problem) for item in items):
            continue
        lines = [item for item in items if isinstance(item, TrajectoryLine)]
        said = "".join(line.line.decode() for line in lines)
        missing = [text for text in texts if text not in said]
        if missing and not any(line.unread or line.remarks for line in lines):
            found.append(f"{'.'.join(map(str, place))}: {', '.join(missing)}")
    return found


def _places(value: Any) -> Iterator[tuple[Any, ...]]:
    """The paths of all keys."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield (key,)
            yield from ((key, *below) for below in _places(child))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from ((index, *below) for below in _places(child))


def _renamed(value: Any, place: tuple[Any, ...]) -> Any:
    made = copy.deepcopy(value)
    holder = made
    for key in place[:-1]:
        holder = holder[key]
    renamed = {(f"new_{k}" if k == place[-1] else k): child for k, child in holder.items()}
    holder.clear()
    holder.update(renamed)
    return made
