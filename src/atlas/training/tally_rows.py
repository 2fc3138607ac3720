"""The rows of the tally of an objective: what it silences is counted by the kind of the step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.records import CRITICAL_KINDS, Selection

# Kinds of critical steps; the last row is that of steps without a kind.
TALLY_ROWS = (*CRITICAL_KINDS, "no_kind")


def kind_rows(selection: Selection) -> NDArray[np.int8]:
    """The row of each step of the trajectory, shape [S]: that of its first kind."""
    rows = np.full(selection.num_steps, len(TALLY_ROWS) - 1, np.int8)
    for step in selection.critical_steps:
        if step.kinds:
            rows[step.index] = TALLY_ROWS.index(step.kinds[0])
    return rows
