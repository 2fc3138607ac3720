"""Report -> document: what is said, in which order.

The page and the Markdown file are two forms of the same document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atlas.presenting.svg import Plot
from atlas.presenting.table import Table
from atlas.presenting.wording import join_words, p_text, points, points_interval, thousands
from atlas.reporting import tables, training_tables
from atlas.reporting.plots import (
    plot_arm_positions,
    plot_differences,
    plot_groups,
    plot_losses,
    plot_success,
)
from atlas.reporting.report import ArmComparison, Report
from atlas.reporting.verdicts import VERDICTS, split_label


@dataclass(frozen=True, slots=True)
class Tile:
    """The focus against the reference on one split, in large type.

    `low`, `estimate`, `high` and `zero` are places on the interval's bar, as shares of its width.
    """

    split: str
    value: str
    interval: str
    verdict: str
    tone: str
    p: str
    low: float
    estimate: float
    high: float
    zero: float = 0.5


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A part of the report: a lead in words, then plots and tables."""

    id: str
    title: str
    lead: str
    items: tuple[str, ...]
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """Everything that is shown."""

    report: Report
    tiles: tuple[Tile, ...]
    facts: str
    sections: tuple[ReportSection, ...]

    @property
    def plots(self) -> tuple[Plot, ...]:
        return tuple(plot for section in self.sections for plot in section.plots)


def write_document(report: Report) -> Document:
    """The document of a report; sections without content are left out."""
    sections = [section for write in SECTIONS if (section := write(report)).plots or section.tables]
    return Document(report, _tiles(report), _facts(report), tuple(sections))


def _tiles(report: Report) -> tuple[Tile, ...]:
    rows = [
        row for row in report.comparisons if row.family == "reference" and row.arm == report.focus
    ]
    limits = [abs(limit) for row in rows for limit in row.success_difference.limits or ()]
    reach = max([0.05, *limits]) * 1.1
    return tuple(_tile(row, reach) for row in rows)


def _tile(row: ArmComparison, reach: float) -> Tile:
    difference = row.success_difference
    tone = {"better": "good", "worse": "bad"}.get(row.verdict, "muted")

    def place(value: float | None) -> float:
        return 0.5 if value is None else 0.5 + value / (2 * reach)

    return Tile(
        split=split_label(row.split),
        value=points(difference),
        interval=points_interval(difference),
        verdict=VERDICTS[row.verdict],
        tone=tone,
        p=p_text(row.p_adjusted),
        low=place(difference.low),
        estimate=place(difference.value),
        high=place(difference.high),
    )


def _facts(report: Report) -> str:
    """One line: how much was measured."""
    episodes = sum(
        int(result.total.num_episodes.value or 0) for arm in report.arms for result in arm.results
    )
    seeds = sorted({arm.num_runs for arm in report.arms if arm.budget is not None})
    facts = [
        f"{len(report.arms)} {'arms' if len(report.arms) > 1 else 'arm'}",
        f"{len(report.splits)} {'splits' if len(report.splits) > 1 else 'split'}",
        f"{thousands(episodes)} episodes",
    ]
    if seeds:
        low, high = seeds[0], seeds[-1]
        number = low if low == high else f"{low} to {high}"
        facts.append(f"{number} training {'seed' if high == 1 else 'seeds'} per arm")
    return join_words(facts)


def _success(report: Report) -> ReportSection:
    several = any(arm.num_runs > 1 for arm in report.arms)
    return ReportSection(
        "success",
        "Success",
        "The environment decides whether an episode is a success. The rate is over valid "
        "episodes: a truncated one is not a success, one that broke is left out and counted under "
        "errors. Brackets hold intervals, in the unit of the number before them."
        + (
            " Where an arm has several training seeds, each task counts once, by its mean over "
            "them."
            if several
            else ""
        ),
        (),
        (plot_success(report),),
        (tables.main_table(report),),
    )


def _differences(report: Report) -> ReportSection:
    plot = plot_differences(report)
    return ReportSection(
        "differences",
        "Paired differences",
        "Every arm met the same tasks, so arms are compared task by task, which removes the "
        "difficulty of the tasks from the noise. Intervals and p-values come from "
        f"{thousands(report.resamples)} bootstrap resamples of the tasks"
        + (
            ", and of the runs of an arm that has several"
            if any(arm.num_runs > 1 for arm in report.arms)
            else ""
        )
        + ". The verdict follows the p-value that is adjusted for all comparisons of its table.",
        (),
        (plot,) if plot else (),
        tables.difference_tables(report),
    )


def _budgets(report: Report) -> ReportSection:
    return ReportSection(
        "budgets",
        "Arms and budgets",
        "What each arm was trained on. The loss was computed on supervised steps and tokens; the "
        "rest of each trajectory was context.",
        (),
        (),
        (training_tables.budget_table(report),),
    )


def _groups(report: Report) -> ReportSection:
    plots = [plot for split in report.splits if (plot := plot_groups(report, split)) is not None]
    return ReportSection(
        "groups",
        "Task groups",
        "The same success rates by group of tasks, the easiest for "
        f"{report.arm(report.reference).label} first. Few tasks per group make wide intervals, and "
        "nothing is tested here: this is for exploring, not for claims.",
        (),
        tuple(plots),
        tuple(
            table
            for split in report.splits
            if not (table := tables.group_table(report, split)).is_empty
        ),
    )


def _selections(report: Report) -> ReportSection:
    plot = plot_arm_positions(report)
    who, *arms = report.label_origin
    shown = (training_tables.kind_table(report), training_tables.position_table(report))
    return ReportSection(
        "selections",
        "Where the critical steps lie",
        who,
        tuple(arms),
        (plot,) if plot else (),
        tuple(table for table in shown if not table.is_empty),
    )


def _losses(report: Report) -> ReportSection:
    plot = plot_losses(report)
    lead = "Arms supervise different tokens, so a lower curve does not mean a better agent."
    return ReportSection("losses", "Training loss", lead, (), (plot,) if plot else (), ())


def _provenance(report: Report) -> ReportSection:
    versions = {training_tables.versions_text(run) for run in report.runs}
    return ReportSection(
        "provenance",
        "Provenance",
        "report.json holds every number of this report with the run, the file and the field that "
        f"it was computed from. Resampling used seed {report.seed}."
        + (f" All runs were made with {versions.pop()}." if len(versions) == 1 else ""),
        (),
        (),
        (training_tables.provenance_table(report),),
    )


SECTIONS: tuple[Callable[[Report], ReportSection], ...] = (
    _success,
    _differences,
    _budgets,
    _groups,
    _selections,
    _losses,
    _provenance,
)
