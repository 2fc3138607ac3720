"""How many steps of a trajectory may be selected: at most the share m of *that* trajectory's steps (ATLaS §3)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

Rounding = Literal["floor", "ceil", "nearest"]


def step_budget(num_steps: int, ratio: float, rounding: Rounding = "floor", min_steps: int = 1) -> int:
    """max(min_steps, ratio * num_steps rounded), never more than there are steps.

    The product is exact in the decimals of `ratio`: 0.29 of 100 steps is 29, though 0.29 * 100 is a bit less in floats.
    A half goes up under "nearest".

    >>> [step_budget(n, 0.3) for n in (0, 1, 3, 7, 10)]
    [0, 1, 1, 2, 3]
    """
    share = Fraction(str(ratio)) * num_steps
    rounded = {"floor": math.floor(share), "ceil": math.ceil(share), "nearest": math.floor(share + Fraction(1, 2))}[rounding]
    return min(num_steps, max(min_steps, rounded))
