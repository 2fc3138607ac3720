"""The records of report.json: every number with the run, file and field that it was computed from.

A source reads `critical/1/evaluate/held_in/episodes.jsonl#outcome.status`: the name of a run, which `Report.runs` resolves to a
folder and a digest, then the file in it and the field.
"""

from __future__ import annotations

from typing import Literal

from atlas.records import CriticalKind, Record

Role = Literal["base", "reference", "focus", "control"]
Verdict = Literal["better", "worse", "not_corrected", "none", "untested"]


class Number(Record):
    """A number, its interval where it has one, how it was computed and from what; `value` is None where nothing is known."""

    value: int | float | None
    low: float | None = None
    high: float | None = None
    method: str
    sources: tuple[str, ...]


class EpisodeCounts(Record):
    """What a set of episodes of one arm shows. Counts are over all runs of the arm, means over its tasks."""

    num_episodes: Number
    num_valid: Number
    num_success: Number
    num_truncated: Number
    num_invalid: Number
    success_rate: Number
    mean_score: Number
    mean_steps: Number


class SplitResult(Record):
    """One arm on one split, whole and by task group."""

    split: str
    num_tasks: int
    total: EpisodeCounts
    groups: dict[str, EpisodeCounts]


class Budget(Record):
    """What a training was given and what it took; means over the arm's runs, with the smallest and largest where they differ."""

    selector: str
    ratio: float | None
    num_trajectories: Number
    num_examples: Number
    num_steps: Number
    num_supervised_steps: Number
    supervised_step_share: Number
    num_tokens: Number
    num_supervised_tokens: Number
    supervised_token_share: Number
    num_dropped_steps: Number
    optimizer_steps: Number
    train_seconds: Number
    final_loss: Number


class PositionBin(Record):
    """A stretch of the trajectory, [low, high) of its length, and how many steps with their middle in it were selected."""

    low: float
    high: float
    num_steps: int
    num_selected: int


class SelectionProfile(Record):
    """Where the selected steps of an arm lie and what kind they are."""

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
    """The training loss of one run at its optimiser steps."""

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
    budget: Budget | None
    results: tuple[SplitResult, ...]
    selection: SelectionProfile | None
    losses: tuple[LossCurve, ...]


class Comparison(Record):
    """Arm minus `against` on the tasks of one split. `p_adjusted` is Holm's over the comparisons of the same family."""

    arm: str
    against: str
    split: str
    family: Literal["reference", "base", "focus"]
    success_difference: Number
    score_difference: Number
    p_value: float | None
    p_adjusted: float | None
    num_tasks: int
    num_higher: int
    num_lower: int
    num_tied: int
    verdict: Verdict


class Note(Record):
    """Something a reader must know to judge the numbers."""

    level: Literal["caution", "info"]
    text: str


class RunReport(Record):
    """One run folder that the report was made from; `names` are what sources call it, `path` is seen from the report."""

    names: tuple[str, ...]
    command: str
    path: str
    digest: str
    model: str | None
    seed: int | None
    versions: dict[str, str]
    wall_seconds: float


class Report(Record):
    """The whole report as data."""

    version: Literal[1] = 1
    title: str
    headline: str
    findings: tuple[str, ...]
    notes: tuple[Note, ...]
    label_origin: tuple[str, ...]
    reference: str
    base: str | None
    focus: str | None
    splits: tuple[str, ...]
    seed: int
    resamples: int
    confidence: float
    arms: tuple[ArmReport, ...]
    comparisons: tuple[Comparison, ...]
    runs: tuple[RunReport, ...]

    def arm(self, name: str) -> ArmReport:
        return next(arm for arm in self.arms if arm.name == name)
