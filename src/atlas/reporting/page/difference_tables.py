"""Report -> tables of differences: the claim of each comparison, and other averages."""

from __future__ import annotations

from atlas.presenting.table import Cell, RowGroup, Table, TableRow
from atlas.presenting.wording import (
    DASH,
    PERCENT,
    decimal,
    decimal_interval,
    p_text,
    points,
    points_interval,
)
from atlas.reporting.claims.settings import Average
from atlas.reporting.claims.verdicts import split_label
from atlas.reporting.claims.words import claim_cell
from atlas.reporting.page.tables import AVERAGE_LABELS
from atlas.reporting.report import ArmComparison, Block, Report
from atlas.statistics.estimate import Estimate

BLOCKS: tuple[Block, ...] = ("primary", "reference", "focus", "base")


def difference_tables(report: Report) -> tuple[Table, ...]:
    """The differences of each block with their claims, and other averages if there are any."""
    return (*(_difference_table(report, block) for block in BLOCKS), _average_table(report))


def difference_words(report: Report) -> tuple[str, ...]:
    """What the words in the cells mean, as far as they are used."""
    verdicts = {row.verdict for row in report.comparisons}
    words = []
    if verdicts & {"undecided", "no_difference"}:
        words.append(
            "“Could have seen 9 points”: a true difference of 9 points would be found in 80 % of "
            "such experiments. A smaller one may well be there."
        )
    if "differ" in verdicts:
        words.append(
            "SD of seeds, “must be < 5”: if the success of a method varies by more than 5 points "
            "between its trainings, the difference may be chance."
        )
    return tuple(words)


def block_title(report: Report, block: Block) -> str:
    """What the comparisons of a block have in common."""
    one = {"reference": report.reference, "focus": report.focus, "base": report.base}.get(block)
    name = report.arm(one).label if one else ""
    return {
        "primary": "The primary comparison",
        "reference": f"Each arm minus {name}",
        "focus": f"{name} minus each control",
        "base": f"Each arm minus {name}",
    }[block]


def pair_label(report: Report, row: ArmComparison) -> str:
    """The arm that a row of a block is about; both arms for the primary comparison."""
    arm, against = report.arm(row.arm).label, report.arm(row.against).label
    if row.block == "primary":
        return f"{arm} − {against}"
    return against if row.block == "focus" else arm


def _difference_table(report: Report, block: Block) -> Table:
    places = {arm.name: place for place, arm in enumerate(report.arms)}
    rows = [row for row in report.comparisons if row.block == block]

    def table_row(row: ArmComparison) -> TableRow:
        success, score = row.success_difference, row.score_difference
        cells = (
            Cell(pair_label(report, row), "primary" if row.is_primary else ""),
            Cell(points(success), points_interval(success)),
            claim_cell(row, report),
            Cell(_noise(row)),
            Cell(p_text(row.p_adjusted), _raw_p(row)),
            Cell(f"{row.num_higher} / {row.num_lower} / {row.num_tied}"),
            Cell(decimal(score, 2, sign=True), decimal_interval(score, 2, sign=True)),
        )
        return TableRow(cells, places[row.against if block == "focus" else row.arm])

    has_mid = any(row.p_mid is not None for row in rows)
    p_column = "p adjusted (p, mid\u2011p)" if has_mid else "p adjusted (p)"
    return Table(
        caption=f"{block_title(report, block)}, on the same tasks",
        columns=(
            *("Against" if block == "focus" else "Arm", "Success, points", "What it says"),
            *("SD of seeds, points", p_column, "Higher / lower / same", "Score"),
        ),
        groups=tuple(
            RowGroup(
                split_label(scope.name),
                tuple(table_row(row) for row in rows if row.scope == scope.name),
            )
            for scope in report.scopes
        ),
        text_columns=frozenset({2, 3}),
        compact=True,
    )


def _raw_p(row: ArmComparison) -> str:
    """The p-values before the correction; mid-p where the test is exact."""
    return ", ".join(p_text(p) for p in (row.p_value, row.p_mid) if p is not None)


def _noise(row: ArmComparison) -> str:
    """The SD of seeds that the claim contains, or the one that would explain the difference."""
    if row.claim != "checkpoints":
        return DASH if row.seed_sd is None else f"{100 * row.seed_sd:.1f}"
    if row.verdict == "differ" and row.tipping_seed_sd is not None:
        return _tipping(100 * row.tipping_seed_sd)
    return DASH


def _tipping(sd: float) -> str:
    return f"must be < {sd:.1f}".replace(" ", "\u00a0") if round(sd, 1) else "must be 0"


def _average_table(report: Report) -> Table:
    """The differences from the reference, averaged in each way; empty if there is only one."""
    rows = [row for row in report.comparisons if row.block == "reference"]
    averages = [name for name in AVERAGE_LABELS if any(name in row.averages for row in rows)]
    places = {arm.name: place for place, arm in enumerate(report.arms)}

    def cells(row: ArmComparison) -> tuple[Cell, ...]:
        return (Cell(pair_label(report, row)), *(_cell(row, average) for average in averages))

    groups = tuple(
        RowGroup(
            split_label(scope.name),
            tuple(TableRow(cells(row), places[row.arm]) for row in rows if row.scope == scope.name),
        )
        for scope in report.scopes
    )
    return Table(
        f"The same differences in other averages, points with {100 * report.confidence:g}{PERCENT} "
        f"intervals; verdicts are about “{AVERAGE_LABELS[report.claims.average].lower()}”",
        ("Arm", *(AVERAGE_LABELS[average] for average in averages)),
        groups if len(averages) > 1 else (),
        is_detail=True,
    )


def _cell(row: ArmComparison, average: Average) -> Cell:
    difference = row.averages.get(average, Estimate())
    return Cell(points(difference), points_interval(difference))
