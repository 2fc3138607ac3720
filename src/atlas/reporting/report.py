"""The records of report.json: every number has the run, file and field it was computed from.

A source is written `critical/1/evaluate/held_in/episodes.jsonl#outcome.status`: the name of a run,
which `Report.runs` resolves to a folder and a digest, then the file in it and the field.
"""

from __future__ import annotations

from typing import Literal

from atlas.records import CriticalKind, Record
from atlas.reporting.claims.settings import Average
from atlas.reporting.measures.failures import ScopeEndings
from atlas.reporting.measures.position_bins import PositionBin
from atlas.reporting.measures.training_method import TrainingMethod
from atlas.reporting.shown_episodes import EpisodesPage
from atlas.statistics.estimate import Estimate

REPORT_FILE = "report.json"
REPORT_VERSION: Literal[2] = 2

Role = Literal["base", "reference", "focus", "control"]
# The tables of comparisons; all of them are one family for the correction of p-values.
Block = Literal["primary", "reference", "focus", "base"]
# methods: at least three different trainings in a trained arm. assumed: fewer, and the setting
# `seed_sd` says how much seeds vary. checkpoints: only about the checkpoints that were played.
ClaimKind = Literal["methods", "assumed", "checkpoints"]
Verdict = Literal[
    # About methods, also if seeds vary as assumed.
    "better",
    "worse",
    "not_worse",
    "alike",
    "undecided",
    # About checkpoints.
    "differ",
    "no_difference",
    # No task has a valid episode in both arms.
    "untested",
]
WithinMargin = Literal["alike", "not_worse"]
RegistrationStatus = Literal["kept", "changed", "not_registered", "unchecked"]


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


class RepetitionFigures(Record):
    """What repeated episodes of the same tasks by the same checkpoint show.

    `pass_hat[k]` is the probability that k of k episodes of a task succeed (tau-bench).
    `flip_rate` is the probability that two episodes of a task end differently. Both are means over
    the tasks and trainings with at least two valid episodes.
    """

    num_repetitions: int
    num_tasks: int
    pass_hat: dict[int, SourcedEstimate]
    flip_rate: SourcedEstimate


class ScopeResult(Record):
    """The success of one arm on one scope.

    `rates` holds the rate by what counts alike; averages that mean nothing here are left out.
    `run_rates` holds the rate of each training, `seed_sd` the SD of the trainings' true rates, as
    far as the arm's own trainings show it: the noise of the tasks is taken out.
    """

    scope: str
    num_tasks: int
    rates: dict[Average, SourcedEstimate]
    run_rates: tuple[SourcedEstimate, ...]
    seed_sd: SourcedEstimate
    repetitions: RepetitionFigures | None = None


class Scope(Record):
    """What verdicts are about: one split, or all splits of one ring of a suite.

    `environments` and `groups` are the number of tasks of each.
    """

    name: str
    is_ring: bool
    splits: tuple[str, ...]
    num_tasks: int
    environments: dict[str, int]
    groups: dict[str, int]


class SeedNoise(Record):
    """How much training seeds vary on one scope, over the arms that are pooled."""

    scope: str
    seed_sd: SourcedEstimate
    degrees: int
    arms: tuple[str, ...]


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


class SkillResult(Record):
    """The accuracy of an arm on a standard task, and its difference from the untuned model.

    Both are means over the arm's runs. The difference is None without an untuned model; `claim`
    says what it is about.
    """

    task: str
    num_items: int
    accuracy: SourcedEstimate
    difference: SourcedEstimate | None = None
    claim: ClaimKind | None = None


class ArmReport(Record):
    """Everything about one arm.

    `num_runs` is the number of different trainings; the untuned model counts as one.
    """

    name: str
    label: str
    role: Role
    num_runs: int
    method: TrainingMethod | None = None
    budget: Budget | None
    silencing: Silencing | None = None
    results: tuple[SplitResult, ...]
    scopes: tuple[ScopeResult, ...]
    selection: SelectionProfile | None
    losses: tuple[LossCurve, ...]
    endings: tuple[ScopeEndings, ...] = ()
    skills: tuple[SkillResult, ...] = ()


class BrokenAsFailed(Record):
    """The same comparison, if episodes that broke count as failures.

    `is_decisive` says that the verdict would have been another one if they were only left out.
    """

    success_difference: SourcedEstimate
    p_value: float | None
    is_decisive: bool


class ArmComparison(Record):
    """Arm minus `against` on one scope.

    The verdict is one of the kind of `claim`. `success_difference` is the average that the verdict
    is about, with an interval at the report's confidence; `averages` has all of them.

    `p_value` is of "no difference", `p_mid` is McNemar's mid-p beside the exact one of two
    checkpoints. `p_adjusted` is corrected over everything that is printed as a verdict, and counts
    broken episodes both ways. `within_margin` is also given beside another verdict.

    `seed_sd` is the SD of seeds that the interval contains: estimated, or assumed (`claim`).
    `tipping_seed_sd` is the SD above which a difference of two checkpoints says nothing of methods.
    `minimum_detectable` is the difference that would be found in 80 % of such experiments.
    """

    arm: str
    against: str
    scope: str
    block: Block
    is_primary: bool
    claim: ClaimKind
    verdict: Verdict
    within_margin: WithinMargin | None
    average: Average
    success_difference: SourcedEstimate
    averages: dict[Average, SourcedEstimate]
    score_difference: SourcedEstimate
    p_value: float | None
    p_mid: float | None
    p_adjusted: float | None
    num_trainings: tuple[int, int]
    seed_sd: float | None
    tipping_seed_sd: float | None
    minimum_detectable: float | None
    num_tasks: int
    num_higher: int
    num_lower: int
    num_tied: int
    broken_as_failed: BrokenAsFailed | None


class UnitArm(Record):
    """One arm on one unit: its rate, and how it compares with the reference.

    `improvement` is the probability that a training of the arm has a higher rate than one of the
    reference; it is None with fewer than three trainings. `claim` says what the difference is
    about. All are None for the reference.
    """

    arm: str
    success_rate: SourcedEstimate
    difference: SourcedEstimate | None = None
    claim: ClaimKind | None = None
    improvement: SourcedEstimate | None = None


class UnitReport(Record):
    """All arms on one environment of a scope or, where a scope has only one, on one task group."""

    scope: str
    kind: Literal["environment", "group"]
    unit: str
    num_tasks: int
    arms: tuple[UnitArm, ...]


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
    wall_seconds: float | None


class Claims(Record):
    """What the report was set to claim, and whether that was fixed before the trainings.

    `margin` and `seed_sd` are rates, not points. `num_verdicts` is the size of the family over
    which p-values are corrected. `trainings` is how it is known which runs are different trainings:
    manifests record it, or it is stated or unknown for results made elsewhere.
    """

    margin: float | None
    seed_sd: float | None
    average: Average
    generalize_over: Literal["none", "group"]
    primary: tuple[str, str, str] | None
    registration: RegistrationStatus
    design_changes: tuple[str, ...] = ()
    num_verdicts: int
    trainings: Literal["recorded", "stated", "unknown"] = "recorded"


class Report(Record):
    """The whole report as data; the headline, findings and notes follow from the rest.

    `episodes` is the page that shows some of the episodes, if there is one.
    """

    version: Literal[2] = REPORT_VERSION
    title: str
    headline: str = ""
    findings: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    label_origin: tuple[str, ...]
    reference: str
    base: str | None
    focus: str | None
    splits: tuple[str, ...]
    scopes: tuple[Scope, ...]
    claims: Claims
    seed: int
    resamples: int
    confidence: float
    arms: tuple[ArmReport, ...]
    seed_noise: tuple[SeedNoise, ...]
    comparisons: tuple[ArmComparison, ...]
    units: tuple[UnitReport, ...] = ()
    runs: tuple[RunReport, ...]
    episodes: EpisodesPage | None = None

    def arm(self, name: str) -> ArmReport:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)
