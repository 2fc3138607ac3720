"""The quality of a learned selector: `probabilities + labels of held-out tasks -> numbers`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.records import Selection, Trajectory
from atlas.selection.budget import best_indices
from atlas.selection.learned.model import HeldOutQuality
from atlas.statistics.agreement import Overlap, measure_agreement
from atlas.statistics.task_unit import task_of

BINS = 10
DIGITS = 6

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabeledTrajectory:
    """A trajectory, and the selection that labels its steps."""

    trajectory: Trajectory
    label: Selection

    @property
    def task(self) -> str:
        return self.trajectory.task.id

    @property
    def is_chosen(self) -> list[bool]:
        """One boolean per step."""
        return [index in self.label.indices for index in range(self.label.num_steps)]


def measure_quality(
    examples: Sequence[LabeledTrajectory], probabilities: Sequence[Sequence[float]]
) -> HeldOutQuality:
    """Measure on held-out trajectories, each at the budget that its labels had.

    Args:
        probabilities: for each step of each trajectory.
    """
    overlaps = []
    for one, given in zip(examples, probabilities, strict=True):
        best = frozenset(best_indices(given, one.label.budget))
        overlaps.append(Overlap(task_of(one.trajectory), best, one.label.indices, len(given)))
    agreement = measure_agreement(overlaps)
    predicted = np.concatenate(probabilities)
    labels = np.concatenate([example.is_chosen for example in examples]).astype(np.float64)
    share = agreement.num_second / agreement.num_steps
    return HeldOutQuality(
        agreement=agreement,
        brier=round(float(np.mean((predicted - labels) ** 2)), DIGITS),
        base_brier=round(share * (1 - share), DIGITS),
        calibration_error=round(_calibration_error(predicted, labels), DIGITS),
    )


def _calibration_error(predicted: Floats, labels: Floats) -> float:
    """Mean distance between predicted and observed shares over bins, weighted by their size."""
    bins = np.minimum((predicted * BINS).astype(np.int64), BINS - 1)
    return math.fsum(np.abs(np.bincount(bins, predicted - labels))) / len(predicted)
