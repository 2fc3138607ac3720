"""What a model says about tokens of an example: their loss, and what an objective silences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.token_ownership import TokenizedExample


@dataclass(frozen=True, slots=True)
class MeasuredTokens:
    """Measures of N tokens.

    Attributes:
        losses: shape [N]; −log π of each, in nats.
        silenced: shape [N]; whether an objective silences it; None without an objective.
    """

    losses: NDArray[np.float64]
    silenced: NDArray[np.bool_] | None = None


class Meter(Protocol):
    """Measures the tokens at the given positions of an example, none of which is the first.

    Raises:
        DataError: the model cannot read the example.
    """

    def __call__(
        self, example: TokenizedExample, positions: NDArray[np.integer], /
    ) -> MeasuredTokens: ...
