"""Comparison of selections -> tables, the same on a terminal and in Markdown."""

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
    SelectionComparison,
    SelectionPair,
)
from atlas.statistics.estimate import Estimate
from atlas.terminal.visible_text import print_whole

NOTES = (
    "Kappa is Cohen's, over all steps pooled. By chance: the exact mean of two blind draws of as "
    "many steps from each trajectory. Beyond chance is (common − chance) / (most possible − "
    "chance): 0 is chance, 1 the most that the two budgets allow. Precision is the share of the "
    "first selection's steps that the second chose too, recall the other way round. Blind draws "
    "have a mean position of 0.5 (0 is the start of a trajectory, 1 its end)."
)


def comparison_tables(comparison: SelectionComparison) -> Iterator[Table]:
    """Each selection, each pair, the pairs by position, and by kind where kinds are given."""
    measure, pairs = comparison.measure, comparison.pairs
    yield text_table(
        "Selections",
        (
            "selection",
            "selector",
            "problems",
            "selected",
            "of steps",
            f"of {measure}",
            f"random: of {measure}",
            "mean position",
        ),
        [_selection_row(profile) for profile in comparison.profiles],
        num_names=2,
    )
    yield text_table(
        "Agreement",
        (
            "first",
            "second",
            "trajectories",
            "common",
            "by chance",
            "kappa",
            "by chance",
            "Jaccard",
            "by chance",
            "precision",
            "recall",
            "beyond chance",
        ),
        [_pair_row(pair) for pair in pairs],
        num_names=2,
    )
    yield text_table(
        "Kappa by position",
        ("first", "second", *pairs[0].by_position),
        [
            (pair.first, pair.second, *(_both(part.kappa) for part in pair.by_position.values()))
            for pair in pairs
        ],
        num_names=2,
    )
    by_kind = _kind_table(comparison)
    if not by_kind.is_empty:
        yield by_kind


def print_comparison(console: Console, comparison: SelectionComparison) -> None:
    """All tables on a terminal, and how to read them."""
    for table in comparison_tables(comparison):
        print_whole(console, terminal_table(table))
    console.print(Text(NOTES, style="dim"))


def comparison_markdown(comparison: SelectionComparison, plot: Plot | None = None) -> str:
    """All tables and the plot as a Markdown document, and how to read them."""
    lines = [
        "# Selections compared",
        "",
        f"{len(comparison.profiles)} selections of {comparison.num_trajectories:,} trajectories "
        f"with {comparison.num_steps:,} steps. In brackets: {100 * comparison.confidence:g} % "
        "intervals of a bootstrap over trajectories.",
        "",
    ]
    for table in comparison_tables(comparison):
        lines += markdown_table(table)
    if plot is not None:
        lines += markdown_plot(plot.title, plot.caption, f"{plot.name}.svg")
    return "\n".join([*lines, escape_markdown(NOTES)]) + "\n"


def _kind_table(comparison: SelectionComparison) -> Table:
    """Of the steps to which one selection gives a kind, the share that each other one chose too."""
    found = {(row.kind, row.of, row.by): row for pair in comparison.pairs for row in pair.by_kind}
    names = [profile.name for profile in comparison.profiles]
    rows = []
    for kind, label in KIND_LABELS.items():
        for profile in comparison.profiles:
            num_steps = profile.kinds.get(kind)
            if not num_steps:
                continue
            others = (found.get((kind, profile.name, name)) for name in names)
            cells = (
                f"{_ratio(row.num_found, row.num_steps)} "
                f"({_ratio(row.expected_found, row.num_steps)})"
                if row
                else DASH
                for row in others
            )
            rows.append((label, profile.name, f"{num_steps:,}", *cells))
    return text_table(
        "Chosen too, by kind (by chance)",
        ("kind", "as named by", "steps", *names),
        rows,
        num_names=2,
    )


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
    return (
        pair.first,
        pair.second,
        f"{agreement.num_trajectories:,}",
        f"{agreement.num_both:,}",
        f"{agreement.expected_both:,.1f}",
        _both(agreement.kappa),
        _number(agreement.chance_kappa),
        _number(agreement.jaccard.value),
        _number(agreement.chance_jaccard),
        _number(agreement.precision.value),
        _number(agreement.recall.value),
        _both(agreement.beyond_chance),
    )


def _both(number: Estimate) -> str:
    """The number and its interval."""
    return f"{decimal(number, 2)} {decimal_interval(number, 2)}".strip()


def _number(value: float | None) -> str:
    return decimal(Estimate(value=value), 2)


def _ratio(part: float, whole: float) -> str:
    return _number(part / whole if whole else None)
