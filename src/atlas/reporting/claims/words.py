"""The claim of a comparison beside its numbers: what it is about, what it says, what it could see.

The two kinds of claims cannot be confused, with or without color. Only a claim about methods has
a color; one about checkpoints says so in its words.
"""

from __future__ import annotations

from atlas.presenting.table import Cell
from atlas.reporting.claims.verdicts import verdict_text, verdict_tone
from atlas.reporting.report import ArmComparison, ClaimKind, Report

ABOUT: dict[ClaimKind, str] = {
    "methods": "about the methods",
    "assumed": "about the methods, under an assumption",
    "checkpoints": "about these checkpoints only",
}


def claim_text(row: ArmComparison, report: Report) -> str:
    """`undecided (could have seen 9 points)`."""
    text = verdict_text(row, report.claims)
    if row.verdict == "no_difference":
        text = f"these checkpoints: {text}"
    seen = row.minimum_detectable
    if row.verdict not in ("undecided", "no_difference") or seen is None:
        return text
    could = f"could have seen {100 * seen:.0f} points" if seen < 1 else "could have seen nothing"
    return f"{text} ({could})"


def claim_cell(row: ArmComparison, report: Report) -> Cell:
    """The claim as a cell of a table."""
    return Cell(claim_text(row, report), tone=verdict_tone(row))
