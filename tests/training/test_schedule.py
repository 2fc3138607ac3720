"""An optimizer step dealt out to ranks holds the same examples, however many there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atlas.training.schedule import Schedule, share_out
from tests.training.tiny_families import example


@given(lengths=st.lists(st.integers(1, 500), min_size=1, max_size=20), num_ranks=st.integers(1, 5))
def test_every_example_has_one_rank_and_no_rank_more_than_its_part_and_one_example(
    lengths: list[int], num_ranks: int
) -> None:
    shares = share_out(lengths, num_ranks)
    assert len(shares) == num_ranks
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    assert all(share == sorted(share) for share in shares), "in the order of the step"
    most = max(sum(lengths[index] for index in share) for share in shares)
    assert most <= sum(lengths) / num_ranks + max(lengths)


def test_items_are_the_shares_of_each_step_rank_by_rank() -> None:
    groups = [(example(seed, 4 + seed),) for seed in (4, 3, 2, 1, 0)]
    dealt = Schedule.in_order(groups, 2).deal_out(2)
    assert [[one.trajectory_id for one in item] for item in dealt] == [
        ["t4"],
        ["t3"],
        ["t2"],
        ["t1"],
        ["t0"],
        [],
    ]
