"""Finished run folders made by hand, for tests of whatever reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from atlas.config import Config
from atlas.records import Selection, Trajectory
from atlas.store.manifests import MANIFEST_FILE, Manifest, write_manifest
from atlas.store.readers import SELECTION_FILE, TRAJECTORY_FILES
from atlas.store.record_files import file_digest, read_records, write_records
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


def edit_manifest(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a finished manifest as its command would have written it, with digests that fit."""
    file = run / MANIFEST_FILE
    content = json.loads(file.read_text())
    edit(content)
    content["outputs"] = {name: file_digest(run / name) for name in content["outputs"]}
    write_manifest(file, Manifest.model_validate(content))


def selections_in(run: Path) -> list[Selection]:
    return list(read_records(run / SELECTION_FILE, Selection))


def write_selections(path: Path, selections: Iterable[Selection], trajectories: Path) -> Path:
    inputs = {"trajectories": run_input(trajectories, path)}
    with start_run(path, "select", NoSettings(), inputs) as run:
        write_records(path / SELECTION_FILE, selections)
        run.finish({})
    return path
