"""Trainings of an arm -> its budget, where its selected steps lie, and its loss curves."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.records import CRITICAL_KINDS
from atlas.reporting.arms import Arm, Training, TrainingData
from atlas.reporting.position_bins import count_positions
from atlas.reporting.report import (
    Budget,
    LossCurve,
    SelectionProfile,
    SourcedEstimate,
)

RUN_MEAN = "mean over runs, with the smallest and the largest"
SINGLE = "as recorded"


def measure_budget(arm: Arm) -> Budget | None:
    """What the arm's trainings were given and took; None for the untuned model."""
    trainings = arm.trainings
    if not trainings:
        return None
    data = trainings[0].data
    return Budget(
        selector=_selector(data) if data else "all",
        ratio=_ratio(data) if data else None,
        supervised_step_share=_share(trainings, "num_supervised_steps", "num_steps"),
        supervised_token_share=_share(trainings, "num_supervised_tokens", "num_tokens"),
        **{field: _recorded(trainings, field) for field in RECORDED},
    )


RECORDED = (
    "num_trajectories",
    "num_examples",
    "num_steps",
    "num_supervised_steps",
    "num_tokens",
    "num_supervised_tokens",
    "num_dropped_steps",
    "optimizer_steps",
    "train_seconds",
    "final_loss",
)


def profile_selection(arm: Arm) -> SelectionProfile | None:
    """Where the selected steps lie and of what kind they are.

    Counts are over the distinct selections of the arm; None where it has none.
    """
    data = list(
        {
            training.data.selection_folder.path.resolve(): training.data
            for training in arm.trainings
            if training.data
        }.values()
    )
    if not data:
        return None
    num_annotated = num_selected_annotated = 0
    for part in data:
        for selection in part.selections.values():
            annotated = part.annotated_steps.get(selection.trajectory_id, frozenset())
            num_annotated += len(annotated)
            num_selected_annotated += len(annotated & selection.indices)
    selections = [selection for part in data for selection in part.selections.values()]
    bins = count_positions(selections)
    return SelectionProfile(
        num_trajectories=len(selections),
        num_steps=sum(part.num_steps for part in bins),
        num_selected=sum(part.num_selected for part in bins),
        num_problems=sum(selection.problem is not None for selection in selections),
        num_annotated=num_annotated,
        num_selected_annotated=num_selected_annotated,
        bins=bins,
        kinds={kind: sum(part.kinds[kind] for part in bins) for kind in CRITICAL_KINDS},
        sources=tuple(
            source
            for part in data
            for source in (
                f"{part.selection_folder.name}/selections.jsonl#critical_steps",
                f"{part.trajectories_folder.name}#steps.annotation",
            )
        ),
    )


def loss_curves(arm: Arm) -> tuple[LossCurve, ...]:
    """The loss curve of each training of the arm that logged one."""
    return tuple(
        LossCurve(
            run=training.folder.name,
            steps=tuple(step for step, _ in training.losses),
            losses=tuple(loss for _, loss in training.losses),
            source=f"{training.folder.name}/metrics.jsonl#loss",
        )
        for training in arm.trainings
        if training.losses
    )


def _selector(data: TrainingData) -> str:
    """The selector as the selections themselves name it."""
    return next(iter(data.selections.values())).selector


def _ratio(data: TrainingData) -> float | None:
    """The share of steps that could be selected, None where the selector set its own budget."""
    if all(selection.budget == selection.num_steps for selection in data.selections.values()):
        return None
    ratio = (data.complement_of or data.selection_folder).manifest.config.get("ratio")
    return float(ratio) if isinstance(ratio, int | float) else None


def _recorded(trainings: Sequence[Training], field: str) -> SourcedEstimate:
    values = [training.folder.manifest.summary.get(field) for training in trainings]
    return _over_runs(
        values,
        tuple(f"{training.folder.name}/manifest.json#summary.{field}" for training in trainings),
    )


def _share(trainings: Sequence[Training], part: str, whole: str) -> SourcedEstimate:
    shares: list[float | None] = []
    for training in trainings:
        summary = training.folder.manifest.summary
        known = isinstance(summary.get(part), int | float) and bool(summary.get(whole))
        shares.append(summary[part] / summary[whole] if known else None)
    return _over_runs(
        shares,
        tuple(
            f"{training.folder.name}/manifest.json#summary.{field}"
            for training in trainings
            for field in (part, whole)
        ),
    )


def _over_runs(values: Sequence[object], sources: tuple[str, ...]) -> SourcedEstimate:
    known = [value for value in values if isinstance(value, int | float)]
    if not known:
        return SourcedEstimate(value=None, method=SINGLE, sources=sources)
    if min(known) == max(known):
        return SourcedEstimate(value=known[0], method=SINGLE, sources=sources)
    return SourcedEstimate(
        value=sum(known) / len(known),
        low=min(known),
        high=max(known),
        method=RUN_MEAN,
        sources=sources,
    )
