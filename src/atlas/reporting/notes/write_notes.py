"""Notes that a reader needs to judge the numbers: errors, budgets, unequal settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from atlas.presenting.wording import join_words
from atlas.reporting.arms import Arm, SeedRun
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.notes.claim_notes import claim_cautions, claim_infos
from atlas.reporting.notes.result_notes import result_cautions, result_infos
from atlas.reporting.report import ArmReport, Note, Report
from atlas.store.run_folders import Manifest
from atlas.terminal.visible_text import one_line

# The report warns if the supervised tokens of two partial arms differ by more than this share.
SAME_BUDGET = 0.05
# An arm with at least this share of its steps supervised is not compared by budget.
ALL_STEPS = 0.999
# The input of a training that holds its trajectories.
DATA = "trajectories"
# A setting and its values are cut to this length.
SETTING_CHARS = 40


def write_notes(arms: Sequence[Arm], report: Report) -> tuple[Note, ...]:
    """All notes, cautions first."""
    cautions = (
        *claim_cautions(arms, report),
        *_invalid_episodes(report.arms),
        *_trained_tasks(arms),
        *_limits(arms),
        *_unequal_settings(arms),
        *_unconfirmed_models(arms),
        *_unequal_budgets(report.arms),
        *_lost_steps(report.arms),
        *result_cautions(arms, report),
    )
    infos = (*claim_infos(arms, report), *report.label_origin[:1], *result_infos(arms))
    return (
        *(Note(level="caution", text=text) for text in cautions),
        *(Note(level="info", text=text) for text in infos),
    )


def _limits(arms: Sequence[Arm]) -> Iterator[str]:
    """Limits (`limit=N`) of the evaluations, and of what the arms were trained on."""
    played: set[str] = set()
    for arm in arms:
        for run in arm.runs:
            played |= {
                f"{split_label(split)}: {limit}"
                for split, evaluation in run.evaluations.items()
                for repetition in evaluation.repetitions
                if (limit := repetition.folder.manifest.summary.get("limit"))
            }
            limited = run.training and run.training.folder.manifest.summary.get("limited")
            if limited:
                yield f"{arm.label} was trained on a part of its data: {one_line(limited)}."
    if played:
        yield f"Only a part of the tasks was played ({join_words(sorted(played))})."


def _invalid_episodes(reports: Sequence[ArmReport]) -> Iterator[str]:
    found = []
    for report in reports:
        totals = [result.total for result in report.results]
        if invalid := sum(int(total.num_invalid.value or 0) for total in totals):
            episodes = sum(int(total.num_episodes.value or 0) for total in totals)
            found.append(f"{report.label} {invalid} of {episodes}")
    if found:
        yield (
            "Episodes that broke are left out and not counted as failures: "
            f"{join_words(found)}. Paired differences leave a task out in both arms when it is "
            "invalid in either. A verdict is given only where it stays the same if broken episodes "
            "count as failures."
        )


def _trained_tasks(arms: Sequence[Arm]) -> Iterator[str]:
    trained = frozenset[str]().union(
        *(training.data.task_ids for arm in arms for training in arm.trainings if training.data)
    )
    for split, evaluation in arms[0].runs[0].evaluations.items():
        seen = len(trained & set(evaluation.task_ids))
        if seen:
            yield (
                f"{seen} of the {len(evaluation.task_ids)} tasks of {split_label(split)} are "
                "also training tasks: success there may be memory."
            )


def _unequal_settings(arms: Sequence[Arm]) -> Iterator[str]:
    trainings = [training.folder.manifest for arm in arms for training in arm.trainings]
    # The seeds of an arm's trainings are meant to differ.
    if differing := _differing(trainings, except_for="seed"):
        yield f"The arms were not trained with the same settings: {differing}."
    if differing := _unequal_precisions(arms):
        yield f"The arms were not trained in the same precision: {differing}."
    for split in arms[0].runs[0].evaluations:
        evaluations = [run.evaluations[split] for arm in arms for run in arm.runs]
        folders = [one.folder for each in evaluations for one in each.repetitions]
        # Repetitions of an evaluation are sampled with different seeds.
        is_repeated = any(len(each.repetitions) > 1 for each in evaluations)
        manifests = [folder.manifest for folder in folders]
        if differing := _differing(manifests, except_for="sampling_seed" if is_repeated else ""):
            yield (
                "The arms were not evaluated with the same settings on "
                f"{split_label(split)}: {differing}."
            )
    if len({one.digest or one.path for run in trainings if (one := run.inputs.get(DATA))}) > 1:
        yield (
            "Not all trainings had the same trajectories: a difference may come from these and not "
            "from the selected steps."
        )
    models = [training.inputs["model"] for training in trainings]
    if len({model.digest or model.path for model in models}) > 1:
        yield "The arms were not trained from the same model."


def _unequal_precisions(arms: Sequence[Arm]) -> str:
    """What `precision: auto` stood for in each arm, if it was not the same for all."""
    found = {
        arm.label: {
            str(training.folder.manifest.summary.get("precision", "not recorded"))
            for training in arm.trainings
        }
        for arm in arms
    }
    if len(set[str]().union(*found.values())) < 2:
        return ""
    return join_words(
        [f"{label} {' and '.join(sorted(one))}" for label, one in found.items() if one]
    )


def _unconfirmed_models(arms: Sequence[Arm]) -> Iterator[str]:
    unproven = [arm.label for arm in arms if any(map(_is_unproven, arm.runs))]
    if unproven:
        yield (
            "It is not proven that the evaluated model was the trained checkpoint, because it "
            "was evaluated under a name without a digest (an endpoint, a hub id): "
            f"{join_words(unproven)}."
        )


def _is_unproven(run: SeedRun) -> bool:
    repetitions = (one for each in run.evaluations.values() for one in each.repetitions)
    models = [one.folder.manifest.inputs.get("model") for one in repetitions]
    return run.training is not None and any(model and model.digest is None for model in models)


def _unequal_budgets(reports: Sequence[ArmReport]) -> Iterator[str]:
    # Arms with different ratios are meant to differ.
    by_ratio: dict[float | None, list[tuple[float, str]]] = defaultdict(list)
    for report in reports:
        budget = report.budget
        if budget is None or (budget.supervised_step_share.value or 0) >= ALL_STEPS:
            continue
        if number := budget.num_supervised_tokens.value:
            by_ratio[budget.ratio].append((number, report.label))
    found = []
    for budgets in by_ratio.values():
        # The first of several equal arms.
        (least, fewer), (most, more) = (
            choose(budgets, key=lambda budget: budget[0]) for choose in (min, max)
        )
        if most / least - 1 > SAME_BUDGET:
            excess = 100 * (most / least - 1)
            found.append(f"{more} has {excess:.0f} % more supervised tokens than {fewer}")
    if found:
        yield (
            "Arms trained on the same share of the steps do not have the same budget of tokens: "
            f"{join_words(found)}, because selected steps differ in length."
        )


def _lost_steps(reports: Sequence[ArmReport]) -> Iterator[str]:
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


def _differing(runs: Sequence[Manifest], except_for: str = "") -> str:
    """The settings that affect the result and differ between the runs, with their values."""
    found = []
    for name in sorted(
        {name for run in runs for name in run.result_settings if name != except_for}
    ):
        values = sorted(
            {one_line(str(run.result_settings.get(name)), SETTING_CHARS) for run in runs}
        )
        if len(values) > 1:
            found.append(f"{one_line(name, SETTING_CHARS)} ({', '.join(values)})")
    return "; ".join(found)
