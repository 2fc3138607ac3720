"""Comparison of selections -> tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from atlas.presenting.markdown import escape_markdown, markdown_plot, markdown_table
from atlas.presenting.svg import Plot
from atlas.presenting.table import Table, terminal_table, text_table
from atlas.presenting.wording import DASH, KIND_LABELS, decimal, decimal_interval
from atlas.reporting.selections.selection_comparison import (
    ComparedSelection,
    KindOverlap,
    SelectionComparison,
    SelectionPair,
)
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import print_whole

NOTES = (
    "Kappa is Cohen's kappa over all steps pooled. 'By chance' is the exact mean of two random "
    "draws of as many steps from each trajectory; 'by position' is that of two selectors that know "
    "only where in a trajectory each selection tends to choose. 'Beyond chance' and 'beyond "
    "position' are (common − chance) / (most possible − chance): 0 is chance level, 1 is the "
    "maximum that the two budgets allow. No interval is given below 20 tasks. Precision "
    "is the share of the first selection's steps that the second also chose; recall is the share "
    "of the second's steps that the first also chose. Mean position is 0 at the start of a "
    "trajectory and 1 at its end; random draws have 0.5."
)
PAIR_COLUMNS = (
    *("first", "second", "tasks", "common", "by chance", "by position", "kappa", "by chance"),
    *("Jaccard", "by chance", "precision", "recall", "beyond chance", "beyond position"),
)


def comparison_tables(comparison: SelectionComparison) -> Iterator[Table]:
    """Tables of the selections, of the pairs, by position and, if kinds are given, by kind."""
    measure, pairs = comparison.measure, comparison.pairs
    shares = ("selected", "of steps", f"of {measure}", f"random: of {measure}")
    first = ("selection", "selector", "problems", *shares, "mean position")
    yield text_table("Selections", first, map(_selection_row, comparison.profiles))
    yield text_table("Agreement", PAIR_COLUMNS, map(_pair_row, pairs))
    columns = ("first", "second", *pairs[0].by_position)
    by_position = (
        (
            pair.first,
            pair.second,
            *(
                f"{_both(part.kappa)} ({_number(part.chance_kappa)})"
                for part in pair.by_position.values()
            ),
        )
        for pair in pairs
    )
    yield text_table("Kappa by position (by chance)", columns, by_position)
    by_kind = _kind_table(comparison)
    if not by_kind.is_empty:
        yield by_kind


def print_comparison(console: Console, comparison: SelectionComparison) -> None:
    """Print all tables, and notes on how to read them."""
    for table in comparison_tables(comparison):
        print_whole(console, terminal_table(table), num_names=2)
    console.print(Text(NOTES, style="dim"))


def comparison_markdown(comparison: SelectionComparison, plot: Plot | None = None) -> str:
    """All tables and the plot as a Markdown document, with notes on how to read them."""
    facts = (
        f"{len(comparison.profiles)} selections of {comparison.num_trajectories:,} trajectories "
        f"of {comparison.num_tasks:,} tasks with {comparison.num_steps:,} steps. In brackets: "
        f"{100 * comparison.confidence:g} % intervals of a jackknife over tasks."
    )
    lines = ["# Selections compared", "", facts, ""]
    for table in comparison_tables(comparison):
        lines += markdown_table(table)
    if plot is not None:
        lines += markdown_plot(plot.title, plot.caption, f"{plot.name}.svg")
    return "\n".join([*lines, escape_markdown(NOTES)]) + "\n"


def _kind_table(comparison: SelectionComparison) -> Table:
    found = {(row.kind, row.of, row.by): row for pair in comparison.pairs for row in pair.by_kind}
    names = [profile.name for profile in comparison.profiles]

    def cell(row: KindOverlap | None) -> str:
        if row is None:
            return DASH
        by_chance = _ratio(row.expected_found, row.num_steps)
        return f"{_ratio(row.num_found, row.num_steps)} ({by_chance})"

    rows = [
        (label, of.name, f"{num_steps:,}", *(cell(found.get((kind, of.name, by))) for by in names))
        for kind, label in KIND_LABELS.items()
        for of in comparison.profiles
        if (num_steps := of.kinds.get(kind))
    ]
    columns = ("kind", "as named by", "steps", *names)
    return text_table("Chosen too, by kind (by chance)", columns, rows)


def _selection_row(profile: ComparedSelection) -> tuple[str, ...]:
    return (
        profile.name,
        profile.selector,
        f"{profile.num_problems:,}",
        f"{profile.num_selected:,}",
        _ratio(profile.num_selected, profile.num_steps),
        _both(profile.supervised_share),
        _number(profile.random_supervised_share),
        _both(profile.mean_position),
    )


def _pair_row(pair: SelectionPair) -> tuple[str, ...]:
    agreement = pair.agreement
    by_position = agreement.expected_by_position
    return (
        pair.first,
        pair.second,
        f"{agreement.num_units:,}",
        f"{agreement.num_both:,}",
        f"{agreement.expected_both:,.1f}",
        DASH if by_position is None else f"{by_position:,.1f}",
        _both(agreement.kappa),
        _number(agreement.chance_kappa),
        _number(agreement.jaccard.value),
        _number(agreement.chance_jaccard),
        _number(agreement.precision.value),
        _number(agreement.recall.value),
        _both(agreement.beyond_chance),
        _both(agreement.beyond_position),
    )


def _both(number: Estimate) -> str:
    return f"{decimal(number, 2)} {decimal_interval(number, 2)}".strip()


def _number(value: float | None) -> str:
    return decimal(Estimate(value=value), 2)


def _ratio(part: float, whole: float) -> str:
    return _number(part / whole if whole else None)
