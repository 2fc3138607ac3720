"""Run folders -> arms. All reading happens here, each file once; everything after it is pure.

Comparisons are paired, so the arms must have met the same tasks. An arm must be what its name says,
so each evaluation must be of the checkpoint of its training, and each training of the selection
that is still there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from atlas.errors import RunError
from atlas.records import Trajectory
from atlas.reporting.arms import Arm, Evaluation, RunFolder, SeedRun, Training, TrainingData
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.reporting.selections.read_selections import read_selections_of
from atlas.statistics.trajectory_summary import TrajectoryFacts
from atlas.store.readers import read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import Manifest, read_manifest


class _LossRow(BaseModel):
    """One row of a training's metrics.jsonl; the report ignores other columns."""

    model_config = ConfigDict(extra="ignore")
    step: int
    loss: float


@dataclass(frozen=True)
class _RunFiles:
    """The files of one run folder, each parsed at its first use."""

    path: Path
    manifest: Manifest

    @cached_property
    def episodes(self) -> dict[str, TrajectoryFacts]:
        episodes: dict[str, TrajectoryFacts] = {}
        for trajectory in read_trajectories(self.path):
            facts = TrajectoryFacts.of(trajectory)
            if facts.task_id in episodes:
                raise RunError(
                    f"{self.path} holds two episodes of task '{facts.task_id}', expected one each. "
                    "Give each repetition as a separate run."
                )
            episodes[facts.task_id] = facts
        return episodes

    @cached_property
    def training_steps(self) -> tuple[dict[str, frozenset[int]], frozenset[str]]:
        """The annotated steps by trajectory id, and the ids of the tasks."""
        annotated: dict[str, frozenset[int]] = {}
        task_ids = set()
        for trajectory in read_trajectories(self.path):
            annotated[trajectory.id] = _annotated_steps(trajectory)
            task_ids.add(trajectory.task.id)
        return annotated, frozenset(task_ids)

    @cached_property
    def losses(self) -> tuple[tuple[int, float], ...]:
        rows = read_records(self.path / "metrics.jsonl", _LossRow)
        return tuple((row.step, row.loss) for row in rows if math.isfinite(row.loss))


class _RunReader:
    """Run folders by path, so that arms that share a run read it once."""

    def __init__(self) -> None:
        self._files: dict[Path, _RunFiles] = {}
        self._data: dict[tuple[Path, Path], TrainingData] = {}

    def open(self, path: Path, commands: tuple[str, ...] = ()) -> _RunFiles:
        key = path.resolve()
        if key not in self._files:
            self._files[key] = _RunFiles(path, read_manifest(path, commands))
        return self._files[key]

    def read_training(self, name: str, path: Path) -> Training:
        files = self.open(path, ("train",))
        folder = RunFolder(f"{name}/train", path, files.manifest)
        inputs = files.manifest.inputs
        if "selection" not in inputs or "trajectories" not in inputs:
            return Training(folder, files.losses, None)
        selection = self._open_input(folder, "selection", f"{name}/select")
        trajectories = self._open_input(folder, "trajectories", f"{name}/trajectories")
        other = (
            self._open_input(selection, "of", f"{name}/select/of")
            if "of" in selection.manifest.inputs
            else None
        )
        annotated, task_ids = self.open(trajectories.path).training_steps
        key = (selection.path, trajectories.path)
        shared = self._data.get(key)
        selections = (
            read_selections_of(selection.path, trajectories.path)
            if shared is None
            else shared.selections
        )
        data = TrainingData(selection, trajectories, other, selections, annotated, task_ids)
        self._data[key] = data
        return Training(folder, files.losses, data)

    def _open_input(self, folder: RunFolder, key: str, name: str) -> RunFolder:
        """A run that `folder` was made from, unchanged since then."""
        given = folder.manifest.inputs[key]
        path = (folder.path.resolve() / given.path).resolve()
        manifest = self.open(path).manifest
        if given.digest is not None and given.digest != manifest.digest:
            raise RunError(
                f"{path} was made again after {folder.path} had been made from it, so it does not "
                f"say what that run saw. Run 'atlas {folder.manifest.command}' again into a new "
                f"folder, or restore the input '{key}'."
            )
        return RunFolder(name, path, manifest)


def read_arms(config: ReportConfig) -> tuple[Arm, ...]:
    """Every arm with its episodes, loss curves and selections, proven to be comparable.

    Raises:
        RunError: a run is missing or unfinished, arms were evaluated on different tasks or splits,
            or an arm mixes runs that do not belong together.
        DataError: a file of a run cannot be read.
    """
    reader = _RunReader()
    arms = tuple(
        Arm(
            arm,
            tuple(
                _read_run(reader, arm, run, f"{arm.name}/{number}")
                for number, run in enumerate(arm.runs, start=1)
            ),
        )
        for arm in config.arms
    )
    expected = next(arm for arm in arms if arm.name == config.reference).runs[0].evaluations
    return tuple(_align_arm(arm, config.reference, expected) for arm in arms)


def _read_run(reader: _RunReader, arm: ArmConfig, run: ArmRun, name: str) -> SeedRun:
    training = reader.read_training(name, run.training) if run.training else None
    evaluations = {}
    for split, path in run.evaluations.items():
        files = reader.open(path, ("evaluate",))
        folder = RunFolder(f"{name}/evaluate/{split}", path, files.manifest)
        evaluations[split] = Evaluation(folder, files.episodes)
        model = files.manifest.inputs.get("model")
        if training is None or model is None or model.digest is None:
            continue
        if model.digest != training.folder.manifest.digest:
            raise RunError(
                f"arm '{arm.name}', split '{split}': {path} did not evaluate the checkpoint of "
                f"{run.training}, but {model.path} (relative to it). Give the evaluation of this "
                "training, or evaluate it."
            )
    return SeedRun(training, evaluations)


def _annotated_steps(trajectory: Trajectory) -> frozenset[int]:
    return frozenset(
        index
        for index, step in enumerate(trajectory.steps)
        if step.annotation is not None and step.annotation.kinds
    )


def _align_arm(arm: Arm, reference: str, expected: dict[str, Evaluation]) -> Arm:
    """The same arm with every split's episodes in the order of the reference's tasks.

    Raises:
        RunError: it lacks a split, or its tasks are not those of the reference.
    """
    runs = []
    for number, run in enumerate(arm.runs, start=1):
        where = f"arm '{arm.name}'" + (f", run {number}" if len(arm.runs) > 1 else "")
        if run.evaluations.keys() != expected.keys():
            raise RunError(
                f"{where} was evaluated on {_quote(run.evaluations)}, arm '{reference}' on "
                f"{_quote(expected)}: expected the same splits. Evaluate it on the others too, or "
                "leave them out for all arms."
            )
        aligned = {
            split: _align_tasks(
                f"{where}, split '{split}'", run.evaluations[split], expected[split]
            )
            for split in expected
        }
        runs.append(SeedRun(run.training, aligned))
    return Arm(arm.config, tuple(runs))


def _align_tasks(where: str, evaluation: Evaluation, expected: Evaluation) -> Evaluation:
    extra = evaluation.episodes.keys() - expected.episodes.keys()
    missing = expected.episodes.keys() - evaluation.episodes.keys()
    if extra or missing:
        example = sorted(extra or missing)[0]
        raise RunError(
            f"{where}: {len(extra | missing)} tasks differ from those of {expected.folder.path} "
            f"({len(missing)} missing, {len(extra)} additional, such as '{example}'), so the arms "
            "cannot be compared task by task. Evaluate all arms with the same split, number of "
            "tasks and seed."
        )
    return Evaluation(
        evaluation.folder, {task: evaluation.episodes[task] for task in expected.episodes}
    )


def _quote(splits: Iterable[str]) -> str:
    return ", ".join(f"'{split}'" for split in splits)
