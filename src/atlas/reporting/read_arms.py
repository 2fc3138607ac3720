"""Run folders -> arms. Only this module reads files, each one once.

Comparisons are paired, so all arms must have the same tasks. Each evaluation must be of the
checkpoint of its training, and each training must be of the current selection. A training may be
given once only: its repetitions would look like several seeds.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from atlas.errors import RunError
from atlas.records import Selection
from atlas.reporting.arms import (
    Arm,
    Evaluation,
    Repetition,
    RunFolder,
    SeedRun,
    Training,
    TrainingData,
)
from atlas.reporting.config import SKILLS_COMMAND, ArmConfig, ReportConfig
from atlas.reporting.identities import identities_of, refuse_same_trainings
from atlas.reporting.measures.read_skills import check_skills, read_skills
from atlas.reporting.report import LossCurve
from atlas.reporting.results.read_results import read_result_arms
from atlas.reporting.task_groups import share_groups
from atlas.statistics.trajectory_summary import TrajectoryFacts
from atlas.store.manifests import parse_manifest
from atlas.store.readers import read_selections, read_trajectories
from atlas.store.record_files import read_records
from atlas.store.run_folders import MANIFEST_FILE, read_manifest

# The command and the file of a run that played a suite, in whose folder its entries lie.
SUITE_COMMAND, SUITE_FILE = "evaluate --suite", "metrics.json"


class _LossRow(BaseModel):
    """The columns of a training's metrics.jsonl that a report shows."""

    step: int
    # A row of held-out loss has none.
    loss: float = math.nan


class _SuiteEntry(BaseModel):
    """What the figures of a suite say about an entry."""

    ring: str
    world: str


class _SuiteFigures(BaseModel):
    entries: dict[str, _SuiteEntry]


class _RunReader:
    """Reads each file of the runs once, however many arms share it."""

    def __init__(self, config: ReportConfig) -> None:
        self._config = config
        self.manifest = cache(read_manifest)
        self.suite = cache(_read_suite)
        self.episodes = cache(_read_episodes)
        self.annotations = cache(_read_annotations)
        self.selections = cache(_read_selections)

    def read_run(self, arm: ArmConfig, number: int) -> SeedRun:
        run, name = arm.runs[number - 1], f"{arm.name}/{number}"
        training = self._read_training(name, run.training) if run.training else None
        evaluations = {
            split: self._read_evaluation(arm, number, split, training) for split in run.evaluations
        }
        skills = None
        if run.skills is not None:
            manifest = self.manifest(run.skills, (SKILLS_COMMAND,))
            skills = read_skills(RunFolder(f"{name}/skills", run.skills, manifest), training)
        identities = identities_of(training, evaluations.values())
        return SeedRun(training, evaluations, identities, skills)

    def _read_evaluation(
        self, arm: ArmConfig, number: int, split: str, training: Training | None
    ) -> Evaluation:
        repetitions = []
        for name, path in self._config.named_folders(arm, number, split):
            folder = RunFolder(name, path, self.manifest(path, ("evaluate",)))
            repetitions.append(Repetition(folder, self.episodes(path)))
            model = folder.manifest.inputs.get("model")
            if training is None or model is None or model.digest is None:
                continue
            if model.digest != training.folder.manifest.digest:
                raise RunError(
                    f"arm '{arm.name}', split '{split}': {path} did not evaluate the checkpoint of "
                    f"{training.folder.path}, but {model.path} (relative to it). Give the "
                    "evaluation of this training, or evaluate it."
                )
        _refuse_same_episodes(f"arm '{arm.name}', split '{split}'", repetitions)
        first = repetitions[0].folder.path
        entry = self.suite(first.resolve().parent).get(first.resolve().name)
        return Evaluation(
            tuple(repetitions), entry.ring if entry else None, entry.world if entry else None
        )

    def _read_training(self, name: str, path: Path) -> Training:
        folder = RunFolder(f"{name}/train", path, self.manifest(path, ("train",)))
        loss = _read_losses(folder)
        selection = self._open_input(folder, "selection", f"{name}/select")
        trajectories = self._open_input(folder, "trajectories", f"{name}/trajectories")
        if selection is None or trajectories is None:
            return Training(folder, loss, None)
        data = TrainingData(
            selection,
            trajectories,
            self._open_input(selection, "of", f"{name}/select/of"),
            self.selections(selection.path, trajectories.path),
            *self.annotations(trajectories.path),
        )
        return Training(folder, loss, data)

    def _open_input(self, folder: RunFolder, key: str, name: str) -> RunFolder | None:
        """Open an input run of `folder`, which must be unchanged; None if there is none."""
        given = folder.manifest.inputs.get(key)
        if given is None:
            return None
        path = (folder.path.resolve() / given.path).resolve()
        manifest = self.manifest(path)
        if given.digest is not None and given.digest != manifest.digest:
            raise RunError(
                f"{path} was made again after {folder.path} had been made from it, so it does not "
                f"say what that run saw. Run 'atlas {folder.manifest.command}' again into a new "
                f"folder, or restore the input '{key}'."
            )
        return RunFolder(name, path, manifest)


def read_arms(config: ReportConfig) -> tuple[Arm, ...]:
    """Read and check every arm with its episodes, loss curves and selections.

    Raises:
        RunError: a run is missing or unfinished, arms were evaluated on different tasks or splits,
            an arm has a training twice, mixes runs that do not belong together, or has a task in
            another group than another one.
        DataError: a file of a run or result cannot be read.
        ConfigError: results made elsewhere need a setting (see `read_result_arms`).
    """
    return share_groups(read_result_arms(config) if config.arms[0].results else _read_runs(config))


def _read_runs(config: ReportConfig) -> tuple[Arm, ...]:
    reader = _RunReader(config)
    arms = []
    for arm in config.arms:
        runs = [reader.read_run(arm, number) for number in range(1, len(arm.runs) + 1)]
        refuse_same_trainings(arm.name, runs)
        arms.append(Arm(arm, tuple(runs)))
    check_skills(arms)
    expected = next(arm for arm in arms if arm.name == config.reference).runs[0].evaluations
    return tuple(_align_arm(arm, config.reference, expected) for arm in arms)


def _read_losses(training: RunFolder) -> LossCurve | None:
    logged = read_records(training.path / "metrics.jsonl", _LossRow)
    rows = [row for row in logged if math.isfinite(row.loss)]
    steps, losses = tuple(row.step for row in rows), tuple(row.loss for row in rows)
    source = f"{training.name}/metrics.jsonl#loss"
    curve = LossCurve(run=training.name, steps=steps, losses=losses, source=source)
    return curve if rows else None


def _read_selections(selection: Path, trajectories: Path) -> dict[str, Selection]:
    """All selections in memory, because several tables go through them."""
    return dict(read_selections(selection, trajectories))


def _read_episodes(path: Path) -> dict[str, TrajectoryFacts]:
    episodes: dict[str, TrajectoryFacts] = {}
    for trajectory in read_trajectories(path):
        facts = TrajectoryFacts.of(trajectory)
        if facts.task_id in episodes:
            raise RunError(
                f"{path} holds two episodes of task '{facts.task_id}', expected one each. "
                "Evaluate each repetition into a folder, and list the folders under the split."
            )
        episodes[facts.task_id] = facts
    return episodes


def _refuse_same_episodes(where: str, repetitions: list[Repetition]) -> None:
    """A copy of an evaluation is not a repetition."""
    by_digest: dict[str, Path] = {}
    for repetition in repetitions:
        folder = repetition.folder
        digest = folder.manifest.outputs.get("episodes.jsonl", folder.manifest.digest)
        earlier = by_digest.setdefault(digest, folder.path)
        if earlier != folder.path:
            raise RunError(
                f"{where}: {earlier} and {folder.path} hold the same episodes, so they are not two "
                "repetitions. Leave one out, or evaluate with another sampling_seed and a "
                "temperature above 0."
            )


def _read_suite(path: Path) -> dict[str, _SuiteEntry]:
    """The entries of the suite whose folder this is; empty for another folder."""
    file = path / MANIFEST_FILE
    if not file.is_file() or parse_manifest(file).command != SUITE_COMMAND:
        return {}
    read_manifest(path)
    try:
        return _SuiteFigures.model_validate_json((path / SUITE_FILE).read_bytes()).entries
    except (OSError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(
            f"{path / SUITE_FILE} cannot be read ({reason}): expected the ring and the world of "
            "each entry of the suite. Evaluate the suite again."
        ) from None


def _read_annotations(path: Path) -> tuple[dict[str, frozenset[int]], frozenset[str]]:
    annotated: dict[str, frozenset[int]] = {}
    task_ids = set()
    for trajectory in read_trajectories(path):
        annotated[trajectory.id] = frozenset(
            index
            for index, step in enumerate(trajectory.steps)
            if step.annotation is not None and step.annotation.kinds
        )
        task_ids.add(trajectory.task.id)
    return annotated, frozenset(task_ids)


def _align_arm(arm: Arm, reference: str, expected: dict[str, Evaluation]) -> Arm:
    """The arm with the episodes of every split in the order of the reference's tasks."""
    runs = []
    for number, run in enumerate(arm.runs, start=1):
        where = f"arm '{arm.name}'" + (f", run {number}" if len(arm.runs) > 1 else "")
        if run.evaluations.keys() != expected.keys():
            had, wanted = (str(list(of))[1:-1] for of in (run.evaluations, expected))
            raise RunError(
                f"{where} was evaluated on {had}, arm '{reference}' on {wanted}: expected the same "
                "splits. Evaluate it on the others too, or leave them out for all arms."
            )
        aligned = {
            split: _align_tasks(f"{where}, split '{split}'", run.evaluations[split], first)
            for split, first in expected.items()
        }
        runs.append(replace(run, evaluations=aligned))
    return Arm(arm.config, tuple(runs))


def _align_tasks(where: str, evaluation: Evaluation, expected: Evaluation) -> Evaluation:
    tasks = expected.task_ids
    aligned = []
    for repetition in evaluation.repetitions:
        extra = repetition.episodes.keys() - set(tasks)
        missing = set(tasks) - repetition.episodes.keys()
        if extra or missing:
            raise RunError(
                f"{where}: {len(extra | missing)} tasks differ from those of "
                f"{expected.folder.path} ({len(missing)} missing, {len(extra)} additional, such as "
                f"'{min(extra or missing)}'), so the arms cannot be compared task by task. "
                "Evaluate all arms with the same split, episodes, limit and seed."
            )
        episodes = {task: repetition.episodes[task] for task in tasks}
        aligned.append(replace(repetition, episodes=episodes))
    return replace(evaluation, repetitions=tuple(aligned))
