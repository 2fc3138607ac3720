"""Finished run folders made by hand, for tests of whatever reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from atlas.config import Config
from atlas.records import Selection, Trajectory
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES
from atlas.store.record_files import read_records, write_records
from atlas.store.run_folders import run_input, start_run


class NoSettings(Config):
    pass


def write_trajectories(
    path: Path, trajectories: Iterable[Trajectory], command: str = "collect"
) -> Path:
    with start_run(path, command, NoSettings()) as run:
        write_records(path / TRAJECTORY_FILES[command], trajectories)
        run.finish({})
    return path


def selections_in(run: Path) -> list[Selection]:
    return list(read_records(run / SELECTION_FILE, Selection))


def write_selections(path: Path, selections: Iterable[Selection], trajectories: Path) -> Path:
    inputs = {"trajectories": run_input(trajectories, path)}
    with start_run(path, "select", NoSettings(), inputs) as run:
        write_records(path / SELECTION_FILE, selections)
        run.finish({})
    return path
