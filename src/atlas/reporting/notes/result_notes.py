"""Notes on results made elsewhere: what counts, what was left out, what their logs warn of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from atlas.presenting.wording import MAX_TEXT, thousands
from atlas.reporting.arms import Arm, SeedRun, repetitions_of
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.report import Report
from atlas.store.manifests import Manifest
from atlas.terminal.visible_text import one_line


def result_cautions(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    """What the verdicts rest on, and what the logs say about themselves."""
    if report.claims.trainings == "stated":
        yield (
            "That the results of an arm are of different trainings is stated by the author of this "
            "report (results_are=trainings). No log shows it."
        )
        yield from (text for arm in arms for text in _doubts(arm))
    for manifest in _manifests(arms):
        yield from (f"{one_line(text, MAX_TEXT)}." for text in manifest.summary["cautions"])


def result_infos(arms: Sequence[Arm]) -> Iterator[str]:
    """Which score counts, and which tasks are compared."""
    for split, evaluation in arms[0].runs[0].evaluations.items():
        summary = evaluation.folder.manifest.summary
        if "success" not in summary:
            continue
        yield f"On {split_label(split)}, {one_line(summary['success'], MAX_TEXT)}."
        if left := summary["left_out_tasks"]:
            yield (
                f"Only tasks that all results have are compared on {split_label(split)}: "
                f"{thousands(left)} {'is' if left == 1 else 'are'} left out (tasks=common)."
            )


def _doubts(arm: Arm) -> Iterator[str]:
    """What speaks against the statement that the results of an arm are of different trainings."""
    models = Counter(_model_of(run) for run in arm.runs)
    del models[None]
    alike = Counter(_endings_of(run) for run in arm.runs)
    name = arm.label
    advice = (
        "If they are of one training, the verdicts on methods do not hold: use "
        "results_are=repetitions."
    )
    for model, number in models.items():
        if number > 1:
            shown = one_line(str(model), MAX_TEXT)
            yield f"{number} results of {name} name the same model '{shown}'. {advice}"
    if (number := max(alike.values())) > 1:
        yield f"{number} results of {name} ended alike on every task, as copies do. {advice}"


def _model_of(run: SeedRun) -> str | None:
    models = {
        evaluation.folder.manifest.inputs["model"].path
        for evaluation in run.evaluations.values()
        if "model" in evaluation.folder.manifest.inputs
    }
    return ", ".join(sorted(models)) or None


def _endings_of(run: SeedRun) -> tuple[object, ...]:
    return tuple(
        (episode.status, episode.score)
        for evaluation in run.evaluations.values()
        for repetition in evaluation.repetitions
        for episode in repetition.episodes.values()
    )


def _manifests(arms: Sequence[Arm]) -> list[Manifest]:
    """Those of results made elsewhere, each once."""
    found = {
        repetition.folder.name: repetition.folder.manifest
        for repetition in repetitions_of(arms)
        if "cautions" in repetition.folder.manifest.summary
    }
    return [*found.values()]
