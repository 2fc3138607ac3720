from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from atlas.errors import ConfigError, RunError
from atlas.records import CriticalKind, CriticalStep, Selection
from tests.conftest import make_trajectory
from tests.selection.configs import new_selector, select_config

TRAJECTORY = make_trajectory(6)


def choosing(
    scores: dict[int, float | None],
    problem: str | None = None,
    kinds: tuple[CriticalKind, ...] = (),
) -> Selection:
    steps = tuple(
        CriticalStep(index=index, score=score, kinds=kinds)
        for index, score in sorted(scores.items())
    )
    return Selection(
        trajectory_id="t",
        selector=f"s{len(scores)}",
        num_steps=6,
        budget=6,
        critical_steps=steps,
        problem=problem,
    )


def vote(*given: Selection, budget: int = 6, voting: str = "majority") -> Selection:
    return ask([{"t": selection} for selection in given], budget, voting)


def ask(runs: list[dict[str, Selection]], budget: int, voting: str = "majority") -> Selection:
    """What a vote selects where the runs in `of` hold these selections."""
    config = select_config("vote", of=[str(number) for number in range(len(runs))], voting=voting)
    with patch("atlas.selection.other_selection.read_selections", side_effect=runs):
        selector = new_selector(config)
    selection: Selection = selector.select(TRAJECTORY, budget)
    return selection


def test_a_majority_takes_the_steps_that_more_than_half_chose() -> None:
    plan = choosing({0: None, 1: None, 4: None}, kinds=("plan_creation",))
    selection = vote(
        plan, choosing({1: None, 4: None}, kinds=("critical_action",)), choosing({1: None, 5: None})
    )
    assert sorted(selection.indices) == [1, 4]
    assert [step.score for step in selection.critical_steps] == [1.0, 0.666667]
    assert selection.critical_steps[0].kinds == ("plan_creation", "critical_action")
    assert selection.critical_steps[1].reason == "2 of 3: s3, s2"


def test_half_is_no_majority() -> None:
    assert not vote(choosing({0: None}), choosing({1: None})).indices


def test_a_tight_budget_keeps_the_most_votes_and_of_equals_the_earlier_step() -> None:
    voters = [
        choosing({2: None, 3: None, 5: None}),
        choosing({2: None, 3: None, 5: None}),
        choosing({5: None}),
    ]
    assert sorted(vote(*voters, budget=1).indices) == [5]
    assert sorted(vote(*voters, budget=2).indices) == [2, 5]


def test_a_weighted_vote_goes_by_ranks_so_that_scales_do_not_matter() -> None:
    one, other = choosing({0: 0.9, 1: 0.8, 2: 0.1}), choosing({3: -2.0, 1: -1.0, 0: -900.0})
    big = choosing({0: 900.0, 1: 800.0, 2: 100.0})
    assert (
        vote(one, other, voting="weighted").critical_steps
        == vote(big, other, voting="weighted").critical_steps
    )
    assert sorted(vote(one, other, budget=1, voting="weighted").indices) == [1]
    assert sorted(vote(one, other, voting="weighted").indices) == [0, 1, 2, 3]


@pytest.mark.parametrize("voting", ["majority", "weighted"])
def test_the_order_of_the_voters_does_not_matter(voting: str) -> None:
    voters = [
        choosing({0: 0.1, 1: 0.3, 2: 0.7}),
        choosing({1: 0.2, 2: None}),
        choosing({2: 5.0, 4: 5.0}),
    ]
    assert (
        vote(*voters, budget=2, voting=voting).indices
        == vote(*reversed(voters), budget=2, voting=voting).indices
    )


def test_a_selection_with_a_problem_abstains_and_a_vote_without_voters_is_a_problem() -> None:
    broken = choosing({}, problem="refused")
    assert sorted(vote(broken, choosing({3: None})).indices) == [3]
    selection = vote(broken, broken)
    assert not selection.indices
    assert "refused" in (selection.problem or "")


def test_a_trajectory_that_nobody_selected_from_is_named() -> None:
    with pytest.raises(RunError, match="trajectory 't'"):
        ask([{}, {}], 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"selector": "vote"}, r"of' is required \(the selection runs that vote, two or more\)"),
        ({"selector": "vote", "of": ["a"]}, "two or more"),
        ({"selector": "vote", "of": ["a", "a"]}, "twice"),
        ({"selector": "complement", "of": ["a", "b"]}, "of' is .*a valid string"),
        ({"selector": "random", "of": ["a", "b"]}, "leave it out"),
    ],
)
def test_as_many_selections_are_given_as_are_read(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_config(**values)
