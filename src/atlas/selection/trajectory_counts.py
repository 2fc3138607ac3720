"""Counts trajectories and steps of a run without validating its records."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from pydantic_core import from_json

from atlas.store.readers import TRAJECTORY_FILES
from atlas.store.run_folders import read_manifest


def count_trajectories(run: Path, limit: int | None = None) -> int:
    """The number of trajectories: the lines of their file, at most `limit`."""
    with _file(run).open("rb") as file:
        number = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    return number if limit is None else min(number, limit)


def count_steps(run: Path, done: Collection[str], limit: int | None = None) -> list[int]:
    """The number of steps of each of the first trajectories whose id is not in `done`.

    This parses the JSON of every line, so it is for selectors that take hours.
    """
    return [num_steps for id_, num_steps in read_sizes(run, limit) if id_ not in done]


def read_sizes(run: Path, limit: int | None = None) -> Iterator[tuple[str, int]]:
    """The id and the number of steps of each of the first trajectories."""
    with _file(run).open("rb") as file:
        for one in map(from_json, islice(file, limit)):
            yield one["id"], len(one["steps"])


def _file(run: Path) -> Path:
    return run / TRAJECTORY_FILES[read_manifest(run, tuple(TRAJECTORY_FILES)).command]
