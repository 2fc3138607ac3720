"""Comparison -> tables, for a terminal and as Markdown: the same rows in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from atlas.records import CRITICAL_KINDS
from atlas.reporting.selections.comparison import Comparison, Pair, Profile
from atlas.statistics.agreement import Estimate
from atlas.terminal.visible_text import print_whole

DASH = "–"
NOTES = (
    "Kappa is Cohen's, over all steps pooled. By chance: the exact mean of two blind draws of as many steps from each trajectory. "
    "Beyond chance is (common − chance) / (most possible − chance): 0 is chance, 1 the most that the two budgets allow. "
    "Precision is the share of the first selection's steps that the second chose too, recall the other way round. "
    "Blind draws lie at a mean position of 0.5 (0 is the start of a trajectory, 1 its end)."
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are finished text; the first `num_names` columns are flush left, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_names: int = 1


def comparison_tables(comparison: Comparison) -> Iterator[Table]:
    """Each selection by itself, each pair, the pairs by position, and by kind where a selection gives kinds."""
    measure = comparison.measure
    yield Table(
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
        tuple(_profile_row(profile) for profile in comparison.profiles),
        num_names=2,
    )
    yield Table(
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
        tuple(_pair_row(pair) for pair in comparison.pairs),
        num_names=2,
    )
    yield Table(
        "Kappa by position",
        ("first", "second", *next(iter(comparison.pairs)).by_position),
        tuple(
            (
                pair.first,
                pair.second,
                *(_estimate(part.kappa) for part in pair.by_position.values()),
            )
            for pair in comparison.pairs
        ),
        num_names=2,
    )
    yield from _kind_table(comparison)


def print_comparison(console: Console, comparison: Comparison) -> None:
    for table in comparison_tables(comparison):
        shown = RichTable(
            title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD, title_style="bold"
        )
        for place, column in enumerate(table.columns):
            shown.add_column(Text(column), justify="left" if place < table.num_names else "right")
        for row in table.rows:
            shown.add_row(*map(Text, row))
        print_whole(console, shown)
    console.print(Text(NOTES, style="dim"))


def write_markdown(comparison: Comparison) -> str:
    confidence = f"{100 * comparison.confidence:g} %"
    lines = [
        "# Selections compared",
        "",
        f"{len(comparison.profiles)} selections of {comparison.num_trajectories:,} trajectories with {comparison.num_steps:,} steps. "
        f"In brackets: {confidence} intervals of a bootstrap over trajectories.",
    ]
    for table in comparison_tables(comparison):
        alignment = [
            "---" if place < table.num_names else "---:" for place in range(len(table.columns))
        ]
        lines += [
            "",
            f"## {table.title}",
            "",
            _line(table.columns),
            _line(alignment),
            *map(_line, table.rows),
        ]
    return "\n".join([*lines, "", NOTES]) + "\n"


def _kind_table(comparison: Comparison) -> Iterator[Table]:
    """Of the steps to which one selection gives a kind, the share that each other one chose too, and the share by chance."""
    found = {(row.kind, row.of, row.by): row for pair in comparison.pairs for row in pair.by_kind}
    names = [profile.name for profile in comparison.profiles]
    rows = []
    for kind in CRITICAL_KINDS:
        for profile in comparison.profiles:
            if profile.kinds.get(kind):
                others = (found.get((kind, profile.name, name)) for name in names)
                cells = (
                    f"{_ratio(row.num_found, row.num_steps)} ({_ratio(row.expected_found, row.num_steps)})"
                    if row
                    else DASH
                    for row in others
                )
                rows.append(
                    (kind.replace("_", " "), profile.name, f"{profile.kinds[kind]:,}", *cells)
                )
    if rows:
        yield Table(
            "Chosen too, by kind (by chance)",
            ("kind", "as named by", "steps", *names),
            tuple(rows),
            num_names=2,
        )


def _profile_row(profile: Profile) -> tuple[str, ...]:
    return (
        profile.name,
        profile.selector,
        f"{profile.num_problems:,}",
        f"{profile.num_selected:,}",
        _ratio(profile.num_selected, profile.num_steps),
        _estimate(profile.supervised_share),
        _number(profile.random_supervised_share),
        _estimate(profile.mean_position),
    )


def _pair_row(pair: Pair) -> tuple[str, ...]:
    agreement = pair.agreement
    return (
        pair.first,
        pair.second,
        f"{agreement.num_trajectories:,}",
        f"{agreement.num_both:,}",
        f"{agreement.expected_both:,.1f}",
        _estimate(agreement.kappa),
        _number(agreement.chance_kappa),
        _number(agreement.jaccard.value),
        _number(agreement.chance_jaccard),
        _number(agreement.precision.value),
        _number(agreement.recall.value),
        _estimate(agreement.beyond_chance),
    )


def _estimate(number: Estimate) -> str:
    if number.low is None or number.high is None:
        return _number(number.value)
    return f"{_number(number.value)} [{_number(number.low)}, {_number(number.high)}]"


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}".replace("-", "−")


def _ratio(part: float, whole: float) -> str:
    return _number(part / whole if whole else None)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/').replace(chr(10), ' ') for cell in cells)} |"
