"""An optimiser step dealt out to ranks holds the same examples, however many there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atlas.training.optimizer_steps import OptimizerSteps, share_out
from tests.training.tiny_families import example


@given(
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=20),
    num_ranks=st.integers(1, 5),
    data=st.data(),
)
def test_every_example_has_one_rank_and_no_rank_more_than_its_part_and_one_example(
    lengths: list[int], num_ranks: int, data: st.DataObject
) -> None:
    step = data.draw(st.permutations(range(len(lengths))))
    shares = share_out(step, lengths, num_ranks)
    assert len(shares) == num_ranks
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    assert all(share == [index for index in step if index in share] for share in shares), (
        "in the order of the step"
    )
    most = max(sum(lengths[index] for index in share) for share in shares)
    assert most <= sum(lengths) / num_ranks + max(lengths)


def test_items_are_the_shares_of_each_step_rank_by_rank() -> None:
    examples = [example(seed, 4 + seed) for seed in range(5)]
    steps = OptimizerSteps([[one] for one in examples], [4, 3, 2, 1, 0], 2, num_ranks=2)
    assert [[one.trajectory_id for one in steps[index]] for index in range(len(steps))] == [
        ["t4"],
        ["t3"],
        ["t2"],
        ["t1"],
        ["t0"],
        [],
    ]
    assert steps.spare is examples[0]
