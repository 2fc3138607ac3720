"""Report -> document: the content of the report, in order.

The page and the Markdown file are two forms of the same document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.presenting.svg import Plot
from atlas.presenting.table import Table
from atlas.presenting.wording import join_words, thousands
from atlas.reporting.page.cost_plots import plot_cost, plot_curves
from atlas.reporting.page.cost_tables import cost_table, curve_table
from atlas.reporting.page.difference_tables import (
    BLOCKS,
    difference_tables,
    difference_words,
)
from atlas.reporting.page.episode_tables import difference_examples, training_examples
from atlas.reporting.page.failure_tables import ending_table, example_table, sign_table
from atlas.reporting.page.forest_plot import plot_forest
from atlas.reporting.page.paper_table import paper_table
from atlas.reporting.page.plots import plot_arm_positions, plot_losses, plot_success
from atlas.reporting.page.skill_table import skill_table
from atlas.reporting.page.tables import main_table, repetition_table, split_table, turn_table
from atlas.reporting.page.tiles import Tile, write_tiles
from atlas.reporting.page.training_tables import (
    budget_table,
    kind_table,
    position_table,
    provenance_table,
    silencing_table,
    versions_text,
)
from atlas.reporting.page.unit_plot import plot_units
from atlas.reporting.page.unit_tables import unit_table
from atlas.reporting.report import Report


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
    return Document(report, write_tiles(report), _facts(report), tuple(sections))


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
    yield from _results(report)
    yield from _costs(report)
    yield from _details(report)
    yield from _inputs(report)


def _results(report: Report) -> Iterator[ReportSection]:
    lead = (
        "The environment decides whether an episode is a success. The rate is over valid episodes: "
        "a truncated one is not a success, one that broke is left out and counted under errors. "
        "Brackets hold intervals, in the unit of the number before them. Where an arm has several "
        "trainings, each task counts once, by its mean, and the rate of each training is beside "
        "their number."
    )
    tables = (main_table(report), repetition_table(report))
    yield _section("success", "Success", lead, [plot_success(report)], tables)

    lead = (
        "Arms are compared on the same tasks, task by task. A claim about methods needs at least "
        "three different trainings in one of the two arms. Otherwise only the two checkpoints are "
        "compared: another training of the same method may come out the other way."
    )
    if (number := report.claims.num_verdicts) > 1:
        lead += f" The p-values are corrected for all {number} comparisons together."
    plots = [plot_forest(report, block) for block in BLOCKS if block != "base"]
    compared, words = difference_tables(report), difference_words(report)
    yield _section("differences", "Differences", lead, plots, compared, words)


def _costs(report: Report) -> Iterator[ReportSection]:
    lead = (
        "Whether less training is enough: what each training took beside what it reached. Shares "
        f"are of what {report.arm(report.reference).label} took."
    )
    yield _section("cost", "Cost beside success", lead, [plot_cost(report)], [cost_table(report)])

    lead = (
        "Arms with the same selector and settings that differ in the share of supervised steps "
        "are one curve. Nothing is corrected for the number of points."
    )
    plots, tables = [plot_curves(report)], [curve_table(report)]
    yield _section("curves", "Success over budget", lead, plots, tables)


def _details(report: Report) -> Iterator[ReportSection]:
    lead = (
        "The easiest for "
        f"{report.arm(report.reference).label} first. Few tasks make wide intervals, and nothing "
        "is corrected for the number of rows: this is for exploring, not for claims."
    )
    if any(one.improvement for unit in report.units for one in unit.arms):
        lead += (
            " The last column is the probability that a training of the arm has a higher rate than "
            f"one of {report.arm(report.reference).label}; it is there from three trainings on."
        )
    plots = [plot_units(report, scope) for scope in report.scopes]
    tables = [unit_table(report, scope) for scope in report.scopes]
    yield _section("units", "Environments and levels", lead, plots, tables)

    lead = (
        "What the episodes record about their ends. A sign is counted where at least half of the "
        "turns show it; for cut answers, where one does. A repeated action was taken earlier in "
        "the episode after the same observation. A sign is not a cause: it may stand beside the "
        "reason of the failure."
    )
    tables = [ending_table(report), sign_table(report), turn_table(report)]
    tables += [split_table(report), example_table(report)]
    yield _section("failures", "What failed, and why", lead, tables=tables)

    lead = (
        "Tasks that one arm of the main comparison solved and the other did not, both directions "
        "in turn, from the first training of each. They show what such episodes look like and "
        "are not a sample: the rates above say how often it happens. The training data have their "
        "selected steps lit."
    )
    tables = [difference_examples(report), training_examples(report)]
    yield _section("episodes", "Episodes to read", lead, tables=tables)

    lead = (
        "Standard questions, asked with atlas evaluate --skills: does a model still answer them "
        "after it was tuned as an agent? The differences are paired by item and are not corrected "
        "for their number."
    )
    yield _section("skills", "Base skills before and after", lead, tables=[skill_table(report)])

    lead = (
        "Arms whose selector and ratio are those of the paper. The paper has other models and "
        "environments, so the rates cannot be compared; the differences from training on all steps "
        "can, with care: those of the paper are differences of single runs."
    )
    yield _section("paper", "Beside the paper", lead, tables=[paper_table(report)])


def _inputs(report: Report) -> Iterator[ReportSection]:
    lead = (
        "What each arm was trained on. The loss was computed on supervised steps and tokens; the "
        "rest of each trajectory was context."
    )
    shown = [budget_table(report), silencing_table(report)]
    yield _section("budgets", "Arms and budgets", lead, tables=shown)

    lead, *items = report.label_origin or ("",)
    plots, tables = [plot_arm_positions(report)], (kind_table(report), position_table(report))
    yield _section("selections", "Where the critical steps lie", lead, plots, tables, items)

    lead = "Arms supervise different tokens, so a lower curve does not mean more success."
    yield _section("losses", "Training loss", lead, [plot_losses(report)])

    lead = (
        "report.json holds every number of this report with the run, the file and the field that "
        "it was computed from. The folder tables/ holds the same as CSV, with one row for each "
        f"number; episodes.csv has every episode. Resampling used seed {report.seed}."
    )
    versions = {versions_text(run) for run in report.runs}
    if len(versions) == 1 and (same := versions.pop()):
        lead += f" All runs were made with {same}."
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
    filled = tuple(table.without_unknown_columns() for table in tables if not table.is_empty)
    return ReportSection(id_, title, lead, tuple(items), drawn, filled)
