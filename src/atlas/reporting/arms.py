"""The data of each arm: its runs, their episodes, and what they were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from atlas.presenting.wording import MAX_LABEL
from atlas.records import Selection
from atlas.reporting.config import ArmConfig
from atlas.reporting.report import LossCurve
from atlas.statistics.trajectory_summary import TrajectoryFacts
from atlas.store.run_folders import Manifest
from atlas.terminal.visible_text import one_line

# How an identity begins that only a training has.
WEIGHTS_IDENTITY = "weights "


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder and its name in the report.

    `episodes_file` holds its episodes; None: `path` is a result made elsewhere, and holds them.
    """

    name: str
    path: Path
    manifest: Manifest
    episodes_file: str | None = "episodes.jsonl"

    @property
    def episodes_source(self) -> str:
        """The name of the episodes in sources."""
        return self.name if self.episodes_file is None else f"{self.name}/{self.episodes_file}"


@dataclass(frozen=True, slots=True)
class Repetition:
    """One play of a split; episodes by task id, in the order of the reference's first run."""

    folder: RunFolder
    episodes: dict[str, TrajectoryFacts]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one checkpoint did on a split, once or several times.

    For an entry of a suite, `ring` and `world` are those of the entry.
    """

    repetitions: tuple[Repetition, ...]
    ring: str | None = None
    world: str | None = None

    @property
    def task_ids(self) -> tuple[str, ...]:
        return tuple(self.repetitions[0].episodes)

    @property
    def folder(self) -> RunFolder:
        """The folder of the first repetition."""
        return self.repetitions[0].folder

    def played(self) -> Iterator[tuple[TrajectoryFacts, ...]]:
        """The episodes of each task, one per repetition."""
        for task in self.task_ids:
            yield tuple(repetition.episodes[task] for repetition in self.repetitions)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The trajectories of a training and the selection made from them, by trajectory id.

    For a complement, `complement_of` is the other selection. `annotated_steps` are the steps that
    the source marks as critical.
    """

    selection_folder: RunFolder
    trajectories_folder: RunFolder
    complement_of: RunFolder | None
    selections: dict[str, Selection]
    annotated_steps: dict[str, frozenset[int]]
    task_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Training:
    """A training: its loss curve if there is one, and its data."""

    folder: RunFolder
    loss: LossCurve | None
    data: TrainingData | None


@dataclass(frozen=True, slots=True)
class SkillScores:
    """The scores of a model on the items of standard tasks: {task: {item: score}}."""

    folder: RunFolder
    scores: dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class SeedRun:
    """One training of an arm with its evaluations by split; None for a model without a training.

    `identities` are what the checkpoint is known by: digests of the run, of its weights, of the
    model that was played. Two runs that share one of them are the same training.
    """

    training: Training | None
    evaluations: dict[str, Evaluation]
    identities: frozenset[str] = frozenset()
    skills: SkillScores | None = None

    @property
    def is_trained(self) -> bool:
        """Whether the checkpoint is known to be that of a training."""
        return self.training is not None or any(
            identity.startswith(WEIGHTS_IDENTITY) for identity in self.identities
        )


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm with its runs, one per training."""

    config: ArmConfig
    runs: tuple[SeedRun, ...]

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def label(self) -> str:
        """The name of the arm in the report, safe to show."""
        return one_line(self.config.label or self.name, MAX_LABEL)

    @property
    def trainings(self) -> tuple[Training, ...]:
        return tuple(run.training for run in self.runs if run.training is not None)

    @property
    def is_given_model(self) -> bool:
        """Whether it is a single model that was evaluated as it is, not a training of a method.

        It has no noise of training. Several models of an arm are taken as its trainings, and what
        results made elsewhere are of is for their author to say.
        """
        return len(self.runs) == 1 and not self.config.results and not self.runs[0].is_trained


def is_method(arm: Arm, base: str | None) -> bool:
    """Whether the checkpoints of an arm are trainings: those of `base` count as exact."""
    return arm.name != base and not arm.is_given_model


def evaluations_of(arms: Iterable[Arm]) -> Iterator[Evaluation]:
    """Every evaluation, in the order of the arms."""
    return (
        evaluation for arm in arms for run in arm.runs for evaluation in run.evaluations.values()
    )


def repetitions_of(arms: Iterable[Arm]) -> Iterator[Repetition]:
    """Every play of a split, in the order of the arms."""
    return (repetition for one in evaluations_of(arms) for repetition in one.repetitions)
