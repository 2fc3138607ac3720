"""Report -> document: the content of the report, in order.

The page and the Markdown file are two forms of the same document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.presenting.svg import Plot
from atlas.presenting.table import Table
from atlas.presenting.wording import join_words, p_text, points, points_interval, thousands
from atlas.reporting.headline import headline_rows
from atlas.reporting.plots import (
    plot_arm_positions,
    plot_differences,
    plot_groups,
    plot_losses,
    plot_success,
)
from atlas.reporting.report import Report
from atlas.reporting.tables import difference_tables, group_table, main_table, turn_table
from atlas.reporting.training_tables import (
    budget_table,
    kind_table,
    position_table,
    provenance_table,
    silencing_table,
    versions_text,
)
from atlas.reporting.verdicts import split_label, verdict_text, verdict_tone


@dataclass(frozen=True, slots=True)
class Tile:
    """The focus compared with the reference on one split, in large type.

    `low`, `estimate` and `high` are positions on the bar of the interval, as shares of its width.
    """

    split: str
    arm: str
    against: str
    value: str
    interval: str
    verdict: str
    tone: str
    p: str
    low: float
    estimate: float
    high: float


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A part of the report: introductory text, then items, plots and tables."""

    id: str
    title: str
    lead: str
    items: tuple[str, ...]
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The whole content of the report."""

    report: Report
    tiles: tuple[Tile, ...]
    facts: str
    sections: tuple[ReportSection, ...]

    @property
    def plots(self) -> tuple[Plot, ...]:
        return tuple(plot for section in self.sections for plot in section.plots)


def write_document(report: Report) -> Document:
    """The document of a report; sections without content are left out."""
    sections = (section for section in _sections(report) if section.plots or section.tables)
    return Document(report, _tiles(report), _facts(report), tuple(sections))


def _tiles(report: Report) -> tuple[Tile, ...]:
    rows = [row for row in report.comparisons if row in headline_rows(report)]
    limits = [abs(limit) for row in rows for limit in row.success_difference.limits or ()]
    reach = max([0.05, *limits]) * 1.1

    def place(value: float | None) -> float:
        return 0.5 if value is None else 0.5 + value / (2 * reach)

    return tuple(
        Tile(
            split=split_label(row.scope),
            arm=report.arm(row.arm).label,
            against=report.arm(row.against).label,
            value=points(difference),
            interval=points_interval(difference),
            verdict=verdict_text(row, report.claims),
            tone=verdict_tone(row),
            p=p_text(row.p_adjusted),
            low=place(difference.low),
            estimate=place(difference.value),
            high=place(difference.high),
        )
        for row in rows
        for difference in (row.success_difference,)
    )


def _facts(report: Report) -> str:
    totals = [result.total for arm in report.arms for result in arm.results]
    episodes = sum(int(total.num_episodes.value or 0) for total in totals)
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


def _sections(report: Report) -> Iterator[ReportSection]:
    has_several_seeds = any(arm.num_runs > 1 for arm in report.arms)
    lead = (
        "The environment decides whether an episode is a success. The rate is over valid episodes: "
        "a truncated one is not a success, one that broke is left out and counted under errors. "
        "Brackets hold intervals, in the unit of the number before them."
    )
    if has_several_seeds:
        lead += " Where an arm has several training seeds, each task counts once, by its mean."
    turns = turn_table(report)
    shown = [main_table(report), *(() if turns.is_empty else (turns,))]
    if not turns.is_empty:
        lead += (
            " A repeated action was taken earlier in the episode after the same observation. An "
            "answer is cut off when it reaches the token limit."
        )
    yield _section("success", "Success", lead, [plot_success(report)], shown)

    lead = (
        "Every arm met the same tasks, so arms are compared task by task, which removes the "
        "difficulty of the tasks from the noise. The verdict follows the p-value that is adjusted "
        "for all verdicts of the report."
    )
    plots, tables = [plot_differences(report)], difference_tables(report)
    yield _section("differences", "Paired differences", lead, plots, tables)

    lead = (
        "What each arm was trained on. The loss was computed on supervised steps and tokens; the "
        "rest of each trajectory was context."
    )
    silenced = silencing_table(report)
    shown = [budget_table(report), *(() if silenced.is_empty else (silenced,))]
    yield _section("budgets", "Arms and budgets", lead, tables=shown)

    lead = (
        "The same success rates by group of tasks, the easiest for "
        f"{report.arm(report.reference).label} first. Few tasks per group make wide intervals, and "
        "nothing is tested here: this is for exploring, not for claims."
    )
    plots = [plot_groups(report, split) for split in report.splits]
    yield _section(
        "groups",
        "Task groups",
        lead,
        plots,
        [group_table(report, split) for split in report.splits],
    )

    lead, *items = report.label_origin
    plots, tables = [plot_arm_positions(report)], (kind_table(report), position_table(report))
    yield _section("selections", "Where the critical steps lie", lead, plots, tables, items)

    lead = "Arms supervise different tokens, so a lower curve does not mean more success."
    yield _section("losses", "Training loss", lead, [plot_losses(report)])

    lead = (
        "report.json holds every number of this report with the run, the file and the field that "
        f"it was computed from. Resampling used seed {report.seed}."
    )
    versions = {versions_text(run) for run in report.runs}
    if len(versions) == 1:
        lead += f" All runs were made with {versions.pop()}."
    yield _section("provenance", "Provenance", lead, tables=[provenance_table(report)])


def _section(
    id_: str,
    title: str,
    lead: str,
    plots: Sequence[Plot | None] = (),
    tables: Sequence[Table] = (),
    items: Sequence[str] = (),
) -> ReportSection:
    """A section without its missing plots and its empty tables."""
    drawn = tuple(plot for plot in plots if plot is not None)
    filled = tuple(table for table in tables if not table.is_empty)
    return ReportSection(id_, title, lead, tuple(items), drawn, filled)
