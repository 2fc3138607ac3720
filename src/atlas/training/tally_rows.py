"""The rows of the tally of an objective: what it silences is counted by the kind of the step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.records import CRITICAL_KINDS, NO_KIND, Selection

# Kinds of critical steps; the last row is that of steps without a kind.
TALLY_ROWS = (*CRITICAL_KINDS, NO_KIND)


def silenced_shares(summary: Mapping[str, Any]) -> dict[str, float]:
    """The shares of silenced tokens in a training's summary, by kind of step, first of all steps.

    Kinds without a token are left out; without an objective there are none.
    """
    names = {"all steps": "silenced"} | {
        row.replace("_", " "): f"silenced_{row}" for row in TALLY_ROWS
    }
    return {label: summary[name] for label, name in names.items() if name in summary}


def kind_rows(selection: Selection) -> NDArray[np.int8]:
    """The row of each step of the trajectory, shape [S]: that of its first kind."""
    rows = np.full(selection.num_steps, len(TALLY_ROWS) - 1, np.int8)
    for step in selection.critical_steps:
        if step.kinds:
            rows[step.index] = TALLY_ROWS.index(step.kinds[0])
    return rows
