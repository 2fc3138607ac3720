"""The records of report.json: every number has the run, file and field it was computed from.

A source is written `critical/1/evaluate/held_in/episodes.jsonl#outcome.status`: the name of a run,
which `Report.runs` resolves to a folder and a digest, then the file in it and the field.
"""

from __future__ import annotations

from typing import Literal

from atlas.records import CriticalKind, Record
from atlas.reporting.failures import SplitEndings
from atlas.reporting.position_bins import PositionBin
from atlas.reporting.training_method import TrainingMethod
from atlas.statistics.estimate import Estimate

Role = Literal["base", "reference", "focus", "control"]
Family = Literal["reference", "base", "focus"]
ArmVerdict = Literal["better", "worse", "not_corrected", "none", "untested"]


class SourcedEstimate(Estimate):
    """An estimate with its method and sources."""

    method: str
    sources: tuple[str, ...]


class EpisodeCounts(Record):
    """Results of a set of episodes of one arm.

    Counts are over all runs of the arm, means over its tasks.
    """

    num_episodes: SourcedEstimate
    num_valid: SourcedEstimate
    num_success: SourcedEstimate
    num_truncated: SourcedEstimate
    num_invalid: SourcedEstimate
    success_rate: SourcedEstimate
    mean_score: SourcedEstimate
    mean_steps: SourcedEstimate
    invalid_step_share: SourcedEstimate
    actionless_step_share: SourcedEstimate
    repeated_step_share: SourcedEstimate
    cut_step_share: SourcedEstimate
    mean_input_tokens: SourcedEstimate
    mean_output_tokens: SourcedEstimate


class SplitResult(Record):
    """The results of one arm on one split, in total and by task group."""

    split: str
    num_tasks: int
    total: EpisodeCounts
    groups: dict[str, EpisodeCounts]


class Budget(Record):
    """The data and cost of a training.

    Numbers are means over the arm's runs, with minimum and maximum if they differ.
    """

    selector: str
    ratio: float | None
    num_trajectories: SourcedEstimate
    num_examples: SourcedEstimate
    num_steps: SourcedEstimate
    num_supervised_steps: SourcedEstimate
    supervised_step_share: SourcedEstimate
    num_tokens: SourcedEstimate
    num_supervised_tokens: SourcedEstimate
    supervised_token_share: SourcedEstimate
    num_dropped_steps: SourcedEstimate
    optimizer_steps: SourcedEstimate
    train_seconds: SourcedEstimate
    final_loss: SourcedEstimate


class Silencing(Record):
    """What objective and negative weights of a training silenced, by the kind of the step.

    `shares` has a row for all steps, for each kind and for steps without a kind, as far as there
    are such tokens.
    """

    objective: str
    mean_factor: SourcedEstimate
    shares: dict[str, SourcedEstimate]


class SelectionProfile(Record):
    """Positions and kinds of the selected steps of an arm."""

    num_trajectories: int
    num_steps: int
    num_selected: int
    num_problems: int
    num_annotated: int
    num_selected_annotated: int
    bins: tuple[PositionBin, ...]
    kinds: dict[CriticalKind, int]
    sources: tuple[str, ...]


class LossCurve(Record):
    """The training loss of one run at its optimizer steps."""

    run: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]
    source: str


class ArmReport(Record):
    """Everything about one arm."""

    name: str
    label: str
    role: Role
    num_runs: int
    method: TrainingMethod | None = None
    budget: Budget | None
    silencing: Silencing | None = None
    results: tuple[SplitResult, ...]
    selection: SelectionProfile | None
    losses: tuple[LossCurve, ...]
    endings: tuple[SplitEndings, ...] = ()


class ArmComparison(Record):
    """Arm minus `against` on the tasks of one split.

    `p_adjusted` is Holm's over the comparisons of the same family.
    """

    arm: str
    against: str
    split: str
    family: Family
    success_difference: SourcedEstimate
    score_difference: SourcedEstimate
    p_value: float | None
    p_adjusted: float | None
    num_tasks: int
    num_higher: int
    num_lower: int
    num_tied: int
    verdict: ArmVerdict


class Note(Record):
    """A note that a reader needs to judge the numbers."""

    level: Literal["caution", "info"]
    text: str


class RunReport(Record):
    """One run folder that the report was made from.

    `names` are used in sources. `path` is relative to the report.
    """

    names: tuple[str, ...]
    command: str
    path: str
    digest: str
    model: str | None
    seed: int | None
    versions: dict[str, str]
    wall_seconds: float


class Report(Record):
    """The whole report as data; the headline, findings and notes follow from the rest."""

    version: Literal[1] = 1
    title: str
    headline: str = ""
    findings: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    label_origin: tuple[str, ...]
    reference: str
    base: str | None
    focus: str | None
    splits: tuple[str, ...]
    seed: int
    resamples: int
    confidence: float
    arms: tuple[ArmReport, ...]
    comparisons: tuple[ArmComparison, ...]
    runs: tuple[RunReport, ...]

    def arm(self, name: str) -> ArmReport:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)
