"""The main comparisons in large type: the primary one, else the focus against the reference."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.presenting.table import Tone
from atlas.presenting.wording import p_text, points, points_interval
from atlas.reporting.claims.headline import headline_rows
from atlas.reporting.claims.verdicts import split_label, verdict_tone
from atlas.reporting.claims.words import ABOUT, claim_text
from atlas.reporting.report import ArmComparison, ClaimKind, Report


@dataclass(frozen=True, slots=True)
class Tile:
    """One comparison on one scope.

    `low`, `estimate` and `high` are positions on the bar of the interval, `band` is half of the
    width of the margin; all are shares of the bar.
    """

    title: str
    arm: str
    against: str
    value: str
    interval: str
    about: str
    claim: ClaimKind
    verdict: str
    tone: Tone
    p: str
    low: float
    estimate: float
    high: float
    band: float


def write_tiles(report: Report) -> tuple[Tile, ...]:
    """A tile for each comparison of the headline."""
    rows = [row for row in headline_rows(report) if row.success_difference.value is not None]
    limits = [abs(limit) for row in rows for limit in row.success_difference.limits or ()]
    reach = max([0.05, report.claims.margin or 0.0, *limits]) * 1.1
    return tuple(_tile(row, report, reach) for row in rows)


def _tile(row: ArmComparison, report: Report, reach: float) -> Tile:
    difference = row.success_difference

    def place(value: float | None) -> float:
        return 0.5 if value is None else 0.5 + value / (2 * reach)

    scope = split_label(row.scope)
    return Tile(
        title=f"{scope}, primary comparison" if row.is_primary else scope,
        arm=report.arm(row.arm).label,
        against=report.arm(row.against).label,
        value=points(difference),
        interval=points_interval(difference),
        about=ABOUT[row.claim],
        claim=row.claim,
        verdict=claim_text(row, report),
        tone=verdict_tone(row),
        p=p_text(row.p_adjusted),
        low=place(difference.low),
        estimate=place(difference.value),
        high=place(difference.high),
        band=(report.claims.margin or 0.0) / (2 * reach),
    )
