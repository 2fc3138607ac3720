"""Report -> tables of what failed: how episodes ended, what is seen in them, examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from atlas.presenting.table import Cell, RowGroup, Table, TableRow, Tone
from atlas.presenting.wording import DASH, MAX_LABEL, share, thousands
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.measures.failures import (
    ENDING_KINDS,
    SIGNS,
    EndingKind,
    ScopeEndings,
    Sign,
    SignCount,
)
from atlas.reporting.page.episode_tables import links_by_episode
from atlas.reporting.page.tables import arm_rows
from atlas.reporting.report import ArmReport, Report
from atlas.terminal.visible_text import one_line

ENDING_LABELS: dict[EndingKind, str] = {
    "success": "Success",
    "failure": "Failure",
    "step_limit": "Step limit",
    "other_limit": "Other limit",
    "refused": "Declined to answer",
    "broke": "Broke",
    "unknown": "Not known",
}
SIGN_LABELS: dict[Sign, str] = {
    "invalid": "Invalid actions",
    "actionless": "No action",
    "repeated": "Repeated actions",
    "cut": "Answer cut off",
}
# Endings that say more than the table of endings does: the recorded reason and an example.
WITH_EXAMPLE: tuple[EndingKind, ...] = ENDING_KINDS[1:]
BROKEN: tuple[EndingKind, ...] = ("refused", "broke", "unknown")
MAX_PATH = 200
CellsOf = Callable[[ScopeEndings, ArmReport], tuple[Cell, ...]]


def ending_table(report: Report) -> Table:
    """How many episodes of each arm ended in which way, on each scope."""
    seen = {one.kind for _, found in _all(report) for one in found.endings}
    kinds = [kind for kind in ENDING_KINDS if kind in seen]

    def cells(found: ScopeEndings, arm: ArmReport) -> Iterator[Cell]:
        yield Cell(arm.label)
        yield Cell(thousands(found.num_episodes), tone="muted")
        for kind in kinds:
            number = found.count(kind)
            note = share(number, found.num_episodes) if number else ""
            tone: Tone = ""
            if not number or kind in BROKEN:
                tone = "caution" if number else "muted"
            yield Cell(thousands(number), note, tone)

    groups = _groups(report, lambda found, arm: tuple(cells(found, arm)))
    columns = ("Arm", "Episodes", *(ENDING_LABELS[kind] for kind in kinds))
    return Table("How the episodes ended", columns, groups)


def sign_table(report: Report) -> Table:
    """What is seen in the failed episodes of each arm; empty if nothing of it is recorded."""
    counts = [found.signs[sign] for _, found in _all(report) for sign in SIGNS]
    is_known = any(count.num_failed_known for count in counts)

    def cells(found: ScopeEndings, arm: ArmReport) -> tuple[Cell, ...]:
        signs = (_sign_cell(found.signs[sign]) for sign in SIGNS)
        return (Cell(arm.label), Cell(thousands(found.num_failed), tone="muted"), *signs)

    return Table(
        "What is seen in the failed episodes, and in successful ones",
        ("Arm", "Failed episodes", *SIGN_LABELS.values()),
        _groups(report, cells) if is_known else (),
    )


def example_table(report: Report) -> Table:
    """Each way in which episodes failed, with the recorded reason and an episode to look at."""
    paths = {name: run.path for run in report.runs for name in run.names}
    links = links_by_episode(report)

    def rows(found: ScopeEndings, place: int, arm: ArmReport) -> Iterator[TableRow]:
        for ending in found.endings:
            if ending.kind not in WITH_EXAMPLE:
                continue
            example = ending.example
            reason = ending.reason or DASH
            cells = (
                Cell(arm.label),
                Cell(ENDING_LABELS[ending.kind]),
                Cell(reason, tone="caution" if ending.kind in BROKEN else ""),
                Cell(thousands(ending.num_episodes)),
                Cell(one_line(paths[example.run], MAX_PATH)),
                Cell(
                    one_line(example.episode, MAX_LABEL),
                    link=links.get((example.run, example.episode), ""),
                ),
            )
            yield TableRow(cells, place)

    groups = [
        RowGroup(
            split_label(scope.name),
            tuple(
                row
                for place, arm in enumerate(report.arms)
                for row in rows(arm.endings[index], place, arm)
            ),
        )
        for index, scope in enumerate(report.scopes)
    ]
    # What the program of another log is called with, atlas does not know.
    how = " (atlas show RUN --trajectory ID)" if report.claims.trainings == "recorded" else ""
    return Table(
        f"Episodes to look at, the first of each kind{how}",
        ("Arm", "Ended", "Recorded reason", "Episodes", "Run", "Id"),
        tuple(groups),
        text_columns=frozenset({1, 2, 4, 5}),
        compact=True,
        is_detail=True,
    )


def _all(report: Report) -> Iterator[tuple[ArmReport, ScopeEndings]]:
    return ((arm, found) for arm in report.arms for found in arm.endings)


def _groups(report: Report, cells: CellsOf) -> tuple[RowGroup, ...]:
    return tuple(
        RowGroup(
            split_label(scope.name),
            arm_rows(cells(arm.endings[index], arm) for arm in report.arms),
        )
        for index, scope in enumerate(report.scopes)
    )


def _sign_cell(count: SignCount) -> Cell:
    if not count.num_failed_known:
        return Cell(DASH, tone="muted")
    text = share(count.num_failed, count.num_failed_known)
    beside = share(count.num_success, count.num_success_known)
    return Cell(text, f"{beside} of successes" if count.num_success_known else "")
