"""Run folders -> what the report knows of each arm. All reading happens here; everything after it is pure.

Comparisons are paired, so the arms must have met the same tasks; and an arm must be what its name says, so each
evaluation must be of the checkpoint of its training, and each training of the selection that is still there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from atlas.errors import RunError
from atlas.records import OutcomeStatus, Selection
from atlas.reporting.config import ArmConfig, ArmRun, ReportConfig
from atlas.store.readers import read_selections, read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import Manifest, read_manifest


@dataclass(frozen=True, slots=True)
class Episode:
    """What counts of one evaluated trajectory."""

    task_id: str
    group: str
    status: OutcomeStatus
    score: float | None
    num_steps: int
    is_valid: bool


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run folder under its name in the report."""

    name: str
    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One arm's run on one split; episodes by task id, in the order of the reference's first run."""

    folder: RunFolder
    episodes: dict[str, Episode]


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The trajectories of a training and the selection made from them."""

    selection_folder: RunFolder
    trajectories_folder: RunFolder
    complement_of: RunFolder | None  # the selection whose rest was drawn from, where there is one
    selections: dict[str, Selection]
    annotated_steps: dict[
        str, frozenset[int]
    ]  # by trajectory id: the steps that the source itself marks as critical
    task_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Training:
    """One training: its folder, its loss curve as (optimiser step, loss), and what it was trained on."""

    folder: RunFolder
    losses: tuple[tuple[int, float], ...]
    data: TrainingData | None


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One training seed of an arm; the untuned model has no training."""

    training: Training | None
    evaluations: dict[str, Evaluation]  # by split


@dataclass(frozen=True, slots=True)
class Arm:
    config: ArmConfig
    runs: tuple[SeedRun, ...]

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def trainings(self) -> tuple[Training, ...]:
        return tuple(run.training for run in self.runs if run.training is not None)


class _LossRow(BaseModel):
    """One row of a training's metrics.jsonl; other columns are not the report's business."""

    model_config = ConfigDict(extra="ignore")
    step: int
    loss: float


def read_arms(config: ReportConfig) -> tuple[Arm, ...]:
    """Every arm with its episodes, loss curves and selections, proven to be comparable.

    Raises:
        RunError: a run is missing or unfinished, arms were evaluated on different tasks or splits, or an arm mixes runs
            that do not belong together.
        DataError: a file of a run cannot be read.
    """
    arms = []
    for arm in config.arms:
        runs = []
        for number, run in enumerate(arm.runs, start=1):
            training = (
                _read_training(f"{arm.name}/{number}", run.training) if run.training else None
            )
            evaluations = {
                split: _read_evaluation(f"{arm.name}/{number}/evaluate/{split}", path)
                for split, path in run.evaluations.items()
            }
            _check_same_model(arm, run, training, evaluations)
            runs.append(SeedRun(training, evaluations))
        arms.append(Arm(arm, tuple(runs)))
    return _align_tasks(tuple(arms), config.reference)


def _read_evaluation(name: str, path: Path) -> Evaluation:
    manifest = read_manifest(path, ("evaluate",))
    episodes: dict[str, Episode] = {}
    for trajectory in read_trajectories(path):
        task, outcome = trajectory.task, trajectory.outcome
        if task.id in episodes:
            raise RunError(
                f"{path} holds two episodes of task '{task.id}', expected one each. Give each repetition as a run of its own."
            )
        episodes[task.id] = Episode(
            task.id,
            task.group,
            outcome.status,
            outcome.score,
            len(trajectory.steps),
            outcome.is_valid,
        )
    return Evaluation(RunFolder(name, path, manifest), episodes)


def _read_training(name: str, path: Path) -> Training:
    folder = RunFolder(f"{name}/train", path, read_manifest(path, ("train",)))
    rows = read_records(path / "metrics.jsonl", _LossRow)
    losses = tuple((row.step, row.loss) for row in rows if math.isfinite(row.loss))
    inputs = folder.manifest.inputs
    if "selection" not in inputs or "trajectories" not in inputs:
        return Training(folder, losses, None)
    selection = _input_folder(folder, "selection", f"{name}/select")
    trajectories = _input_folder(folder, "trajectories", f"{name}/trajectories")
    annotated, task_ids = {}, set()
    for trajectory in read_trajectories(trajectories.path):
        annotated[trajectory.id] = frozenset(
            index
            for index, step in enumerate(trajectory.steps)
            if step.annotation is not None and step.annotation.kinds
        )
        task_ids.add(trajectory.task.id)
    other = (
        _input_folder(selection, "of", f"{name}/select/of")
        if "of" in selection.manifest.inputs
        else None
    )
    selections = read_selections(selection.path, trajectories.path)
    return Training(
        folder,
        losses,
        TrainingData(selection, trajectories, other, selections, annotated, frozenset(task_ids)),
    )


def _input_folder(folder: RunFolder, key: str, name: str) -> RunFolder:
    """A run that `folder` was made from, unchanged since then."""
    given = folder.manifest.inputs[key]
    path = (folder.path.resolve() / given.path).resolve()
    manifest = read_manifest(path)
    if given.digest is not None and given.digest != manifest.digest:
        raise RunError(
            f"{path} was made again after {folder.path} had been made from it, so it does not say what that run saw. "
            f"Run 'atlas {folder.manifest.command}' again into a new folder, or restore the input '{key}'."
        )
    return RunFolder(name, path, manifest)


def _check_same_model(
    arm: ArmConfig, run: ArmRun, training: Training | None, evaluations: dict[str, Evaluation]
) -> None:
    for split, evaluation in evaluations.items():
        model = evaluation.folder.manifest.inputs.get("model")
        if (
            training is not None
            and model is not None
            and model.digest not in (None, training.folder.manifest.digest)
        ):
            raise RunError(
                f"arm '{arm.name}', split '{split}': {evaluation.folder.path} did not evaluate the checkpoint of {run.training}, but "
                f"{model.path} (seen from there). Give the evaluation of this training, or evaluate it."
            )


def _align_tasks(arms: tuple[Arm, ...], reference: str) -> tuple[Arm, ...]:
    """The same arms with every split's episodes in one order of tasks.

    Raises:
        RunError: an arm lacks a split, or its tasks are not those of the reference.
    """
    expected = next(arm for arm in arms if arm.name == reference).runs[0].evaluations
    aligned = []
    for arm in arms:
        runs = []
        for number, run in enumerate(arm.runs, start=1):
            where = f"arm '{arm.name}'" + (f", run {number}" if len(arm.runs) > 1 else "")
            if run.evaluations.keys() != expected.keys():
                raise RunError(
                    f"{where} was evaluated on {_list(run.evaluations)}, arm '{reference}' on {_list(expected)}: expected the same splits. "
                    f"Evaluate it on the others too, or leave them out for all arms."
                )
            runs.append(
                SeedRun(
                    run.training,
                    {
                        split: _align(where, run.evaluations[split], expected[split], split)
                        for split in expected
                    },
                )
            )
        aligned.append(Arm(arm.config, tuple(runs)))
    return tuple(aligned)


def _align(where: str, evaluation: Evaluation, expected: Evaluation, split: str) -> Evaluation:
    extra = evaluation.episodes.keys() - expected.episodes.keys()
    missing = expected.episodes.keys() - evaluation.episodes.keys()
    if extra or missing:
        example = sorted(extra or missing)[0]
        raise RunError(
            f"{where}, split '{split}': {len(extra | missing)} tasks differ from those of {expected.folder.path} "
            f"({len(missing)} missing, {len(extra)} of its own, such as '{example}'), so the arms cannot be compared task by task. "
            f"Evaluate all arms with the same split, number of tasks and seed."
        )
    return Evaluation(
        evaluation.folder, {task: evaluation.episodes[task] for task in expected.episodes}
    )


def _list(splits: dict[str, Evaluation]) -> str:
    return ", ".join(f"'{split}'" for split in splits)
