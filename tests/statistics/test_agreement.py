from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.statistics.agreement import Agreement, Overlap, expected_jaccard, measure_agreement


def measure(*pairs: tuple[set[int], set[int], int]) -> Agreement:
    return measure_agreement(
        Overlap(str(number), frozenset(a), frozenset(b), n)
        for number, (a, b, n) in enumerate(pairs)
    )


def drawn(seed: int, count: int = 200) -> list[tuple[set[int], set[int], int]]:
    rng = random.Random(seed)
    sizes = [rng.randint(3, 20) for _ in range(count)]
    return [
        (set(rng.sample(range(n), max(1, n // 3))), set(rng.sample(range(n), max(1, n // 3))), n)
        for n in sizes
    ]


@given(st.integers(1, 7), st.data())
def test_the_expected_jaccard_is_that_of_all_draws_counted_out(
    num_steps: int, data: st.DataObject
) -> None:
    a, b = data.draw(st.integers(0, num_steps)), data.draw(st.integers(1, num_steps))
    first = set(range(a))
    draws = [set(draw) for draw in combinations(range(num_steps), b)]
    counted = sum(Fraction(len(first & draw), len(first | draw)) for draw in draws) / len(draws)
    assert math.isclose(expected_jaccard(a, b, num_steps), counted, abs_tol=1e-12)


def test_kappa_is_that_of_the_textbook_table() -> None:
    both, only_first, only_second, neither = (
        set(range(20)),
        {20, 21, 22, 23, 24},
        set(range(25, 35)),
        15,
    )
    agreement = measure((both | only_first, both | only_second, 35 + neither))
    assert agreement.kappa.value == pytest.approx(0.4)
    assert (agreement.num_both, agreement.precision.value, agreement.recall.value) == (
        20,
        0.8,
        round(20 / 30, 6),
    )


def test_equal_selections_agree_wholly_and_disjoint_ones_less_than_by_chance() -> None:
    equal = measure(*((steps, steps, size) for steps, _, size in drawn(3, 40)))
    assert (equal.kappa.value, equal.jaccard.value, equal.beyond_chance.value) == (1.0, 1.0, 1.0)
    assert equal.is_better_than_chance
    apart = measure(*[({0, 3}, {1, 2}, 6)] * 8)
    assert (apart.jaccard.value, apart.num_both) == (0.0, 0)
    assert (apart.beyond_chance.value or 0) < 0
    assert not apart.is_better_than_chance


def test_blind_draws_are_at_chance_and_their_intervals_say_so() -> None:
    held = 0
    for seed in range(40):
        agreement = measure(*drawn(seed))
        low, high = agreement.beyond_chance.low, agreement.beyond_chance.high
        assert low is not None
        assert high is not None
        held += low <= 0 <= high
    assert held >= 34  # 95 % of 40 is 38


def test_the_mean_of_kappa_over_blind_draws_is_its_chance_kappa() -> None:
    agreements = [measure(*[({0}, {0}, 1), ({seed % 5}, {seed // 5 % 5}, 5)]) for seed in range(25)]
    mean = math.fsum(agreement.kappa.value or 0.0 for agreement in agreements) / 25
    assert agreements[0].chance_kappa == pytest.approx(mean, abs=1e-5)
    assert mean > 0


def test_a_smaller_selection_inside_a_larger_is_as_far_from_chance_as_it_can_be() -> None:
    agreement = measure(*[({0}, {0, 1, 2}, 9)] * 6, ({1}, {0, 1}, 4))
    assert agreement.beyond_chance.value == 1.0
    assert (agreement.kappa.value or 0) < 1


def test_few_units_are_never_called_better_than_chance() -> None:
    for number, expected in ((19, False), (20, True)):
        pairs = [(steps, steps, size) for steps, _, size in drawn(3, 60) if len(steps) < size]
        agreement = measure(*pairs[:number])
        assert agreement.is_better_than_chance == expected
    spread = measure(*drawn(4, 19))
    assert spread.beyond_chance.limits is None


def test_units_in_which_nothing_is_to_be_found_do_not_count() -> None:
    pairs = [({0, 1}, {0, 1}, 2)] * 30 + [({1}, {1}, 9)] * 5
    agreement = measure(*pairs)
    assert (agreement.num_units, agreement.num_informative) == (35, 5)
    assert not agreement.is_better_than_chance


def test_two_selections_that_take_the_last_step_know_nothing_but_its_position() -> None:
    agreement = measure(*(({size - 1}, {size - 1}, size) for _, _, size in drawn(5, 60)))
    assert agreement.beyond_chance.value == 1.0
    assert agreement.beyond_position.value is None
    assert not agreement.is_better_than_chance


def test_what_is_not_defined_is_none_and_not_zero() -> None:
    nothing = measure_agreement(())
    assert nothing.kappa.value is nothing.jaccard.value is nothing.precision.value is None
    everything = measure(({0, 1}, {0, 1}, 2))
    assert everything.kappa.value is everything.beyond_chance.value is None
    empty = measure((set(), set(), 4))
    assert empty.jaccard.value is empty.precision.value is None


def test_trajectories_of_one_task_are_one_unit() -> None:
    single = measure(*drawn(1, 40))
    pairs = [pair for pair in drawn(1, 40) for _ in range(5)]
    together = measure_agreement(
        Overlap(str(number // 5), frozenset(a), frozenset(b), n)
        for number, (a, b, n) in enumerate(pairs)
    )
    assert together.num_units == 40
    assert (together.beyond_chance.low, together.beyond_chance.high) == pytest.approx(
        (single.beyond_chance.low, single.beyond_chance.high), abs=1e-5
    )
