"""Small runs for tests of the viewer, written as commands write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from atlas.records import (
    CriticalKind,
    CriticalStep,
    Message,
    Outcome,
    OutcomeStatus,
    Selection,
    Source,
    Step,
    Task,
    Trajectory,
)
from atlas.store.manifests import MANIFEST_FILE, Input, Manifest, relative_path, write_manifest
from atlas.store.readers import TRAJECTORY_FILES
from atlas.store.record_files import file_digest, write_records
from atlas.viewing.web.library import Library
from atlas.viewing.web.sources import open_sources


def make_episode(
    name: str,
    *,
    task: str | None = None,
    outcome: OutcomeStatus = "success",
    num_steps: int = 3,
    group: str = "easy",
    goal: str | None = None,
    words: str = "I look around.",
    score: float | None = None,
) -> Trajectory:
    steps = tuple(
        Step(
            observation=(Message(role="user", content=f"You see ball {index}."),),
            response=Message(role="assistant", content=f"{words} {index}"),
            action="look",
        )
        for index in range(num_steps)
    )
    return Trajectory(
        id=name,
        task=Task(id=task or name, environment="world", group=group, goal=goal),
        steps=steps,
        outcome=Outcome(status=outcome, score=score),
        source=Source(name="test"),
    )


def write_run(
    folder: Path,
    trajectories: Iterable[Trajectory],
    command: str = "collect",
    inputs: dict[str, Input] | None = None,
) -> Path:
    """A finished run of trajectories."""
    folder.mkdir(parents=True)
    name = TRAJECTORY_FILES[command]
    write_records(folder / name, trajectories)
    _finish(folder, command, name, inputs or {})
    return folder


def write_partial(folder: Path, lines: bytes, command: str = "evaluate") -> Path:
    """A run that is being written."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(folder / MANIFEST_FILE, Manifest(command=command, config={}))
    (folder / f"{TRAJECTORY_FILES[command]}.partial").write_bytes(lines)
    return folder


def seal_partial(folder: Path, command: str = "evaluate") -> None:
    """The end of a run that was being written."""
    name = TRAJECTORY_FILES[command]
    (folder / f"{name}.partial").rename(folder / name)
    _finish(folder, command, name, {})


def write_selection(
    folder: Path,
    run: Path,
    chosen: dict[str, Sequence[int]],
    kind: CriticalKind | None = None,
    num_steps: int = 3,
) -> Path:
    """A finished selection of a run; `chosen` has the steps by trajectory."""
    folder.mkdir(parents=True)
    selections = [
        Selection(
            trajectory_id=name,
            selector="test",
            num_steps=num_steps,
            budget=num_steps,
            critical_steps=tuple(
                CriticalStep(index=index, kinds=(kind,) if kind else ()) for index in steps
            ),
        )
        for name, steps in chosen.items()
    ]
    write_records(folder / "selections.jsonl", selections)
    manifest = Manifest.model_validate_json((run / MANIFEST_FILE).read_text(encoding="utf-8"))
    made_from = Input(path=relative_path(run, folder), digest=manifest.digest)
    _finish(folder, "select", "selections.jsonl", {"trajectories": made_from})
    return folder


def open_library(folder: Path, *paths: Path) -> Library:
    """The library of these runs, with its index in `folder`."""
    return Library(open_sources(paths), folder / "index")


def _finish(folder: Path, command: str, name: str, inputs: dict[str, Input]) -> None:
    manifest = Manifest(command=command, config={}, inputs=inputs)
    finished = manifest.with_outputs(folder, {name: file_digest(folder / name)})
    write_manifest(folder / MANIFEST_FILE, finished)
