"""Adjusted p-values of a family keep the probability of any false rejection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.statistics.verdict_family import adjust_family

P = st.floats(1e-6, 1.0)


@given(st.lists(P, min_size=1, max_size=12))
def test_one_hypothesis_each_gives_holm(p_values: list[float]) -> None:
    adjusted = adjust_family([[p] for p in p_values])
    order = np.argsort(p_values, kind="stable")
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - rank)))
        assert adjusted[index][0] == pytest.approx(running)


def test_one_hypothesis_each_gives_the_published_values() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    found = adjust_family([[0.01], [0.04], [0.03], [0.005]])
    assert [one for (one,) in found] == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.tuples(P, P, P), min_size=1, max_size=6), st.integers(1, 9))
def test_adjusted_values_are_not_below_their_own_and_keep_the_order(
    comparisons: list[tuple[float, float, float]], weight: int
) -> None:
    adjusted = adjust_family(comparisons, [float(weight)] + [1.0] * (len(comparisons) - 1))
    for given_p, found in zip(comparisons, adjusted, strict=True):
        for p, p_adjusted in zip(given_p, found, strict=True):
            assert p_adjusted is not None
            assert p <= p_adjusted + 1e-12
            assert p_adjusted <= 1
        # Smaller stays smaller within a comparison.
        places = sorted(range(3), key=lambda place: given_p[place])
        values = [found[place] or 0.0 for place in places]
        assert values == sorted(values)


def test_a_comparison_without_a_test_is_not_counted() -> None:
    assert adjust_family([[0.02], [None], [0.5]]) == ((0.04,), (None,), (0.5,))


def test_a_margin_does_not_count_beside_its_comparison() -> None:
    assert adjust_family([[0.3, 0.02, 0.9], [0.5]])[0][1] == pytest.approx(0.04)
    # A comparison that is decided but for its margins counts half.
    assert adjust_family([[0.001, 0.9, 0.9], [0.03, 0.9, 0.9]])[1][0] == pytest.approx(0.045)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 1.0], [float("nan"), 1.0]])
def test_weights_that_say_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        adjust_family([[0.1], [0.2]], weights)


@pytest.mark.parametrize("has_primary", [False, True])
@pytest.mark.parametrize("effect", [0.0, 0.05, 1.0])
def test_the_probability_of_any_false_rejection_is_at_most_nominal(
    effect: float, has_primary: bool
) -> None:
    """Normal differences with a margin of 0.05; three comparisons have the effect, two have 0.

    At an effect of the margin itself, "within the margin" is false by as little as possible.
    """
    rng = np.random.default_rng(3)
    margin, error, repetitions = 0.05, 0.01, 4000
    truth = np.array([effect, effect, effect, 0.0, 0.0])
    from scipy.special import ndtr

    found = truth + error * rng.normal(size=(repetitions, 5))
    p_equal = 2 * ndtr(-np.abs(found) / error)
    p_worse = np.minimum(1, 2 * ndtr(-(found + margin) / error))
    p_better = np.minimum(1, 2 * ndtr(-(margin - found) / error))
    weights = [4.0, 1, 1, 1, 1] if has_primary else None
    any_false = 0
    for row in range(repetitions):
        family = [
            (p_equal[row, place], p_worse[row, place], p_better[row, place]) for place in range(5)
        ]
        adjusted = np.array(adjust_family(family, weights)) < 0.05
        false = adjusted[:, 0] & (truth == 0)
        false |= adjusted[:, 2] & (truth >= margin)
        false |= adjusted[:, 1] & (truth <= -margin)
        any_false += bool(false.any())
    assert any_false / repetitions <= 0.05 + 0.01


def test_a_margin_is_never_decided_where_the_interval_leaves_it_open() -> None:
    """Half of the count would turn a two-sided 0.08 into 0.04."""
    ((_, p_worse, p_better),) = adjust_family([[0.001, 0.0001, 0.08]])
    assert p_better == 0.08
    assert p_worse == pytest.approx(0.0001)
