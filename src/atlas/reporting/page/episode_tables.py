"""Report -> tables of episodes with links to the page that shows them; empty without a page."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.presenting.table import Cell, RowGroup, Table, TableRow, plain_table
from atlas.presenting.wording import MAX_LABEL, thousands
from atlas.records import OutcomeStatus
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.report import Report
from atlas.reporting.shown_episodes import ShownEpisode
from atlas.terminal.visible_text import one_line

OUTCOME_LABELS: dict[OutcomeStatus, str] = {
    "success": "success",
    "failure": "failure",
    "truncated": "cut off",
    "error": "broke",
    "unknown": "not known",
}


def difference_examples(report: Report) -> Table:
    """Tasks that one of two arms solved, with a link to the episode of each."""
    arms = [one for one in report.arms if any(one.name == shown.arm for shown in _shown(report))]
    by_task: dict[str, dict[str, dict[str, ShownEpisode]]] = {}
    for one in _shown(report):
        if one.split is not None and one.arm in {arm.name for arm in arms}:
            by_task.setdefault(one.split, {}).setdefault(one.task, {})[one.arm] = one

    def rows(tasks: dict[str, dict[str, ShownEpisode]]) -> Iterator[TableRow]:
        for task, played in tasks.items():
            cells = (_episode_cell(report, played.get(arm.name)) for arm in arms)
            yield TableRow((Cell(one_line(task, MAX_LABEL)), *cells))

    groups = tuple(RowGroup(split_label(name), tuple(rows(by_task[name]))) for name in by_task)
    columns = ("Task", *(arm.label for arm in arms))
    text_columns = frozenset(range(1, len(columns)))
    return Table("Tasks with another result", columns, groups, text_columns, compact=True)


def training_examples(report: Report) -> Table:
    """Trajectories of the training data, with the number of steps that each arm selected."""
    shown = [one for one in _shown(report) if one.arm is None]
    arms = [arm for arm in report.arms if any(arm.name in one.num_selected for one in shown)]

    def cells(one: ShownEpisode) -> Iterator[Cell]:
        yield Cell(one_line(one.episode, MAX_LABEL), link=link_to(report, one))
        yield Cell(thousands(one.num_steps), tone="muted")
        yield from (Cell(_number(one.num_selected.get(arm.name))) for arm in arms)

    return plain_table(
        "Trajectories of the training data, and how many steps each arm selected",
        ("Trajectory", "Steps", *(arm.label for arm in arms)),
        (TableRow(tuple(cells(one))) for one in shown),
        compact=True,
    )


def link_to(report: Report, one: ShownEpisode) -> str:
    """The address of a trajectory that the page shows."""
    assert report.episodes is not None
    return report.episodes.link(one)


def links_by_episode(report: Report) -> dict[tuple[str, str], str]:
    """The addresses by name of the run in the report and id of the episode."""
    return {
        (f"{one.arm}/1/evaluate/{one.split}", one.episode): link_to(report, one)
        for one in _shown(report)
        if one.arm is not None
    }


def _shown(report: Report) -> tuple[ShownEpisode, ...]:
    return report.episodes.shown if report.episodes is not None else ()


def _episode_cell(report: Report, one: ShownEpisode | None) -> Cell:
    if one is None:
        return Cell("")
    steps = "1 step" if one.num_steps == 1 else f"{thousands(one.num_steps)} steps"
    return Cell(OUTCOME_LABELS[one.status], steps, link=link_to(report, one))


def _number(number: int | None) -> str:
    return "" if number is None else thousands(number)
