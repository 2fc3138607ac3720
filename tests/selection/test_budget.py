from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.selection.budget import step_budget

STEPS = st.integers(0, 500)
RATIOS = st.integers(1, 1000).map(lambda thousandths: thousandths / 1000)
ROUNDINGS = st.sampled_from(["floor", "ceil", "nearest"])
MIN_STEPS = st.integers(0, 5)


@given(STEPS, RATIOS, ROUNDINGS, MIN_STEPS)
def test_the_budget_is_within_the_steps_and_at_least_the_minimum(
    num_steps: int, ratio: float, rounding, min_steps: int
) -> None:
    budget = step_budget(num_steps, ratio, rounding, min_steps)
    assert min(num_steps, min_steps) <= budget <= num_steps


@given(STEPS, RATIOS, ROUNDINGS, MIN_STEPS)
def test_the_budget_grows_with_steps_and_ratio(
    num_steps: int, ratio: float, rounding, min_steps: int
) -> None:
    budget = step_budget(num_steps, ratio, rounding, min_steps)
    assert budget <= step_budget(num_steps + 1, ratio, rounding, min_steps)
    assert budget <= step_budget(num_steps, min(1.0, ratio + 0.001), rounding, min_steps)


@given(STEPS, RATIOS)
def test_the_floor_never_exceeds_the_share_and_the_roundings_are_in_order(
    num_steps: int, ratio: float
) -> None:
    floor, nearest, ceil = (
        step_budget(num_steps, ratio, rounding, 0) for rounding in ("floor", "nearest", "ceil")
    )
    assert floor <= Fraction(str(ratio)) * num_steps <= ceil
    assert floor <= nearest <= ceil <= floor + 1


@given(STEPS, ROUNDINGS)
def test_the_whole_ratio_is_every_step(num_steps: int, rounding) -> None:
    assert step_budget(num_steps, 1.0, rounding) == num_steps


@pytest.mark.parametrize(
    ("num_steps", "ratio", "rounding", "expected"),
    [
        (100, 0.29, "floor", 29),
        (30, 0.1, "ceil", 3),
        (10, 0.7, "ceil", 7),
        (5, 0.3, "nearest", 2),
        (5, 0.5, "nearest", 3),
        (10, 0.3, "floor", 3),
    ],
)
def test_the_product_is_exact_in_decimals(
    num_steps: int, ratio: float, rounding, expected: int
) -> None:
    assert step_budget(num_steps, ratio, rounding) == expected
