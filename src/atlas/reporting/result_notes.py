"""Notes on results made elsewhere: what counts, what was left out, what their logs warn of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.presenting.wording import MAX_TEXT, thousands
from atlas.reporting.arms import Arm, repetitions_of
from atlas.reporting.report import Report
from atlas.reporting.verdicts import split_label
from atlas.store.manifests import Manifest
from atlas.terminal.visible_text import one_line


def result_cautions(arms: Sequence[Arm], report: Report) -> Iterator[str]:
    """What the verdicts rest on, and what the logs say about themselves."""
    if report.claims.trainings == "stated":
        yield (
            "That the results of an arm are of different trainings is stated by the author of this "
            "report (results_are=trainings). No log shows it."
        )
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


def _manifests(arms: Sequence[Arm]) -> list[Manifest]:
    """Those of results made elsewhere, each once."""
    found = {
        repetition.folder.name: repetition.folder.manifest
        for repetition in repetitions_of(arms)
        if "cautions" in repetition.folder.manifest.summary
    }
    return [*found.values()]
