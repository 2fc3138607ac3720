"""What a reader must know to judge the numbers: seeds, errors, budgets, unequal settings.

Each check is a function from the arms to cautions. `CHECKS` lists them in the order of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from atlas.presenting.wording import join_words
from atlas.reporting.arms import Arm
from atlas.reporting.config import ReportConfig
from atlas.reporting.report import ArmComparison, ArmReport, Note
from atlas.reporting.verdicts import split_label
from atlas.terminal.visible_text import one_line

# The supervised tokens of two partial arms may differ by this share before the report warns.
SAME_BUDGET = 0.05
# An arm with at least this share of its steps supervised has no budget to match.
ALL_STEPS = 0.999
# A setting and its values are cut there.
SETTING_CHARS = 40
# Settings that may differ between the compared runs. Seeds and models are compared separately, the
# others change how fast a run is and not its result.
FREE_IN_TRAINING = frozenset(
    {"seed", "model", "micro_batch_size", "engine", "save_every", "log_every", "report_to"}
)
FREE_IN_EVALUATION = frozenset({"model", "split", "batch_size"})


def write_notes(
    arms: Sequence[Arm],
    reports: Sequence[ArmReport],
    comparisons: Sequence[ArmComparison],
    origin: str,
    config: ReportConfig,
) -> tuple[Note, ...]:
    """All notes, cautions first; `origin` says how the critical steps were chosen."""
    cautions = (text for check in CHECKS for text in check(arms, reports))
    infos = (*_several_seeds(arms), origin, *_multiplicity(comparisons, config))
    return (
        *(Note(level="caution", text=text) for text in cautions),
        *(Note(level="info", text=text) for text in infos),
    )


def _several_seeds(arms: Sequence[Arm]) -> Iterator[str]:
    counts = [f"{arm.label} {len(arm.runs)}" for arm in arms if arm.trainings and arm.runs[1:]]
    if counts:
        yield (
            f"Training seeds: {join_words(counts)}. Where an arm has several, its intervals cover "
            "both the drawing of tasks and the noise of training, as far as so few seeds can show "
            "it."
        )


def _multiplicity(comparisons: Sequence[ArmComparison], config: ReportConfig) -> Iterator[str]:
    if len(comparisons) > 1:
        yield (
            f"The intervals are {100 * config.confidence:g} % each, not all at once. The p-values "
            "are adjusted within each table of differences (Holm), and the verdicts follow the "
            "adjusted ones. Differences between task groups are not tested: they are for "
            "exploring, not for claims."
        )


def _single_seeds(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    trained = [arm for arm in arms if arm.trainings]
    single = [arm.label for arm in trained if len(arm.runs) == 1]
    if single and len(single) == len(trained):
        yield (
            "There is one training seed per arm. The intervals cover the drawing of tasks, not the "
            "noise of training: with another seed the numbers will differ, and arms may come out "
            "in another order. Three seeds or more are needed before a difference can be "
            "attributed to the method."
        )
    elif single:
        yield (
            f"{join_words(single)} {'was' if len(single) == 1 else 'were'} trained once; intervals "
            "of differences to such an arm leave its training noise out."
        )


def _invalid_episodes(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    found = []
    for report in reports:
        invalid = sum(int(result.total.num_invalid.value or 0) for result in report.results)
        total = sum(int(result.total.num_episodes.value or 0) for result in report.results)
        if invalid:
            found.append(f"{report.label} {invalid} of {total}")
    if found:
        yield (
            "Episodes that broke are left out and not counted as failures: "
            f"{join_words(found)}. Paired differences leave a task out in both arms when it is "
            "invalid in either."
        )


def _trained_tasks(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    trained = frozenset[str]().union(
        *(training.data.task_ids for arm in arms for training in arm.trainings if training.data)
    )
    for split, evaluation in arms[0].runs[0].evaluations.items():
        seen = len(trained & evaluation.episodes.keys())
        if seen:
            yield (
                f"{seen} of the {len(evaluation.episodes)} tasks of {split_label(split)} are "
                "also training tasks: success there may be memory."
            )


def _unequal_settings(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    trainings = [training.folder.manifest.config for arm in arms for training in arm.trainings]
    if differing := _differing(trainings, FREE_IN_TRAINING):
        yield f"The arms were not trained with the same settings: {differing}."
    for split in arms[0].runs[0].evaluations:
        evaluations = [
            run.evaluations[split].folder.manifest.config for arm in arms for run in arm.runs
        ]
        if differing := _differing(evaluations, FREE_IN_EVALUATION):
            yield (
                "The arms were not evaluated with the same settings on "
                f"{split_label(split)}: {differing}."
            )
    models = {
        (given.digest or given.path)
        for arm in arms
        for training in arm.trainings
        if (given := training.folder.manifest.inputs.get("model")) is not None
    }
    if len(models) > 1:
        yield "The arms were not trained from the same model."


def _unconfirmed_models(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    unproven = [
        arm.label
        for arm in arms
        if any(
            run.training is not None
            and (given := evaluation.folder.manifest.inputs.get("model")) is not None
            and given.digest is None
            for run in arm.runs
            for evaluation in run.evaluations.values()
        )
    ]
    if unproven:
        yield (
            "It is not proven that the evaluated model was the trained checkpoint, because it "
            "was evaluated under a name without a digest (an endpoint, a hub id): "
            f"{join_words(unproven)}."
        )


def _unequal_budgets(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    budgets: dict[str, float] = {}
    for report in reports:
        tokens = report.budget.num_supervised_tokens.value if report.budget else None
        if (
            report.budget
            and tokens
            and (report.budget.supervised_step_share.value or 0) < ALL_STEPS
        ):
            budgets[report.label] = tokens
    if len(budgets) < 2:
        return
    least, most = min(budgets, key=budgets.__getitem__), max(budgets, key=budgets.__getitem__)
    excess = budgets[most] / budgets[least] - 1
    if excess > SAME_BUDGET:
        yield (
            "The arms trained on part of the steps do not have the same budget of tokens: "
            f"{most} has {100 * excess:.0f} % more supervised tokens than {least}, because "
            "selected steps differ in length."
        )


def _lost_steps(arms: Sequence[Arm], reports: Sequence[ArmReport]) -> Iterator[str]:
    for report in reports:
        dropped = report.budget.num_dropped_steps.value if report.budget else None
        if dropped:
            yield (
                f"{report.label}: {dropped:,.0f} selected steps were beyond the token limit "
                "and were not trained on."
            )
        if report.selection is not None and report.selection.num_problems:
            yield (
                f"{report.label}: the selector found no usable answer for "
                f"{report.selection.num_problems} of {report.selection.num_trajectories} "
                "trajectories."
            )


CHECKS: tuple[Callable[[Sequence[Arm], Sequence[ArmReport]], Iterator[str]], ...] = (
    _single_seeds,
    _invalid_episodes,
    _trained_tasks,
    _unequal_settings,
    _unconfirmed_models,
    _unequal_budgets,
    _lost_steps,
)


def _differing(configs: Sequence[Mapping[str, Any]], free: frozenset[str]) -> str:
    """The settings that differ between the configs, with their values; those in `free` may."""
    flat = [dict(_flatten(config)) for config in configs]
    keys = sorted({key for config in flat for key in config if key.split(".")[0] not in free})
    found = []
    for key in keys:
        values = sorted({one_line(str(config.get(key)), SETTING_CHARS) for config in flat})
        if len(values) > 1:
            found.append(f"{one_line(key, SETTING_CHARS)} ({', '.join(values)})")
    return "; ".join(found)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
