"""Trainings of an arm -> its budget, and where its selected steps lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.records import CRITICAL_KINDS, NO_KIND
from atlas.reporting.arms import Arm, Training, TrainingData
from atlas.reporting.measures.position_bins import count_positions
from atlas.reporting.measures.training_method import TrainingMethod
from atlas.reporting.report import Budget, SelectionProfile, Silencing, SourcedEstimate

RUN_MEAN = "mean over runs, with the smallest and the largest"
SINGLE = "as recorded"
# Settings of a selection that may differ between the arms of one curve.
VARIED = ("ratio", "seed")


def measure_budget(arm: Arm) -> Budget | None:
    """The budget and cost of an arm's trainings; None for the untuned model."""
    trainings = arm.trainings
    if not trainings:
        return None
    data = trainings[0].data
    known: dict[str, Any] = {
        "selector": next(iter(data.selections.values())).selector if data else "all",
        "ratio": _ratio(data) if data else None,
        "supervised_step_share": _over_runs(trainings, "num_supervised_steps", "num_steps"),
        "supervised_token_share": _over_runs(trainings, "num_supervised_tokens", "num_tokens"),
    }
    # The other numbers have the same names in the summary of a training.
    others = [name for name in Budget.model_fields if name not in known]
    return Budget(**known, **{name: _over_runs(trainings, name) for name in others})


def describe_method(arm: Arm) -> TrainingMethod | None:
    """How the steps of an arm's first training were selected and trained on; None if untuned."""
    trainings = arm.trainings
    if not trainings:
        return None
    manifest, data = trainings[0].folder.manifest, trainings[0].data
    selection = data.selection_folder.manifest.result_settings if data else {}
    model = manifest.inputs.get("model")
    return TrainingMethod(
        selector=next(iter(data.selections.values())).selector if data else "all",
        ratio=_ratio(data) if data else None,
        selection={name: value for name, value in selection.items() if name not in VARIED},
        training={k: value for k, value in manifest.result_settings.items() if k != "seed"},
        model=(model.digest or model.path) if model else "",
    )


def measure_silencing(arm: Arm) -> Silencing | None:
    """What the objective of an arm's trainings silenced; None without an objective."""
    trainings = arm.trainings
    if not any("silenced" in training.folder.manifest.summary for training in trainings):
        return None
    names = {"all": "silenced"} | {kind: f"silenced_{kind}" for kind in (*CRITICAL_KINDS, NO_KIND)}
    shares = {row: _over_runs(trainings, name) for row, name in names.items()}
    summary = trainings[0].folder.manifest.summary
    silencers = [str(summary.get("objective", "none"))]
    if "num_negative_steps" in summary:
        silencers = [*(name for name in silencers if name != "none"), "negative weights"]
    return Silencing(
        objective=", ".join(silencers),
        mean_factor=_over_runs(trainings, "mean_factor"),
        shares={row: share for row, share in shares.items() if share.value is not None},
    )


def profile_selection(arm: Arm) -> SelectionProfile | None:
    """Positions and kinds of the selected steps, over the arm's distinct selections.

    None if the arm has no selection.
    """
    given = [training.data for training in arm.trainings if training.data]
    data = {part.selection_folder.path.resolve(): part for part in given}.values()
    if not data:
        return None
    pairs = [
        (selection, part.annotated_steps[id_])
        for part in data
        for id_, selection in part.selections.items()
    ]
    bins = count_positions(selection for selection, _ in pairs)
    return SelectionProfile(
        num_trajectories=len(pairs),
        num_steps=sum(part.num_steps for part in bins),
        num_selected=sum(part.num_selected for part in bins),
        num_problems=sum(selection.problem is not None for selection, _ in pairs),
        num_annotated=sum(len(annotated) for _, annotated in pairs),
        num_selected_annotated=sum(
            len(annotated & selection.indices) for selection, annotated in pairs
        ),
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


def _ratio(data: TrainingData) -> float | None:
    """The share of steps that could be selected; None if the selector set its own budget."""
    if all(selection.budget == selection.num_steps for selection in data.selections.values()):
        return None
    ratio = (data.complement_of or data.selection_folder).manifest.config.get("ratio")
    return float(ratio) if isinstance(ratio, int | float) else None


def _over_runs(
    trainings: Sequence[Training], field: str, whole: str | None = None
) -> SourcedEstimate:
    """A number that the trainings recorded, possibly as a share of the number `whole`."""
    known = []
    for training in trainings:
        summary = training.folder.manifest.summary
        value, divisor = summary.get(field), summary.get(whole) if whole else 1
        if isinstance(value, int | float) and divisor:
            known.append(value / divisor if whole else value)
    sources = tuple(
        f"{training.folder.name}/manifest.json#summary.{name}"
        for training in trainings
        for name in (field, whole)
        if name
    )
    low, high = min(known, default=None), max(known, default=None)
    if low == high:
        return SourcedEstimate(value=low, method=SINGLE, sources=sources)
    mean = sum(known) / len(known)
    return SourcedEstimate(value=mean, low=low, high=high, method=RUN_MEAN, sources=sources)
