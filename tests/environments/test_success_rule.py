"""The success rule of worlds from outside."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from atlas.environments.success_rule import SuccessRule, is_true
from atlas.errors import EpisodeError


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (True, True),
        (np.bool_(True), True),
        (np.array([False]), False),
        (1, True),
        (1.0, True),
        (0, False),
        # A part of the task is not the task.
        (0.5, False),
        (-1, False),
        (None, False),
    ],
)
def test_a_detail_is_true_or_one(value: Any, truth: bool) -> None:
    assert is_true({"won": value}, "won") is truth


@pytest.mark.parametrize("value", ["False", "true", math.nan, np.zeros(2), [1], {}])
def test_a_detail_that_is_neither_true_nor_false_is_an_error(value: Any) -> None:
    with pytest.raises(EpisodeError, match="expected true or false"):
        is_true({"won": value}, "won")


@pytest.mark.parametrize(
    ("least", "total", "is_over", "success"),
    [
        (1.0, 1.0, False, True),
        (-13.0, -2.0, False, False),
        (-13.0, -13.0, True, True),
        (-13.0, -14.0, True, False),
        (0.0, 0.0, False, False),
    ],
)
def test_costs_that_are_not_yet_spent_are_no_success(
    least: float, total: float, is_over: bool, success: bool
) -> None:
    rule = SuccessRule(reward=least)
    assert rule.judge(total, {}, is_terminated=False, is_over=is_over) == (success, float(success))
