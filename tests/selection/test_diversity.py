from __future__ import annotations

import pytest

from atlas.records import Message, Selection, Step, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import make_selector
from tests.conftest import make_trajectory

pytest.importorskip("sklearn", reason="the select extra is not installed")


def saying(goal: str, *responses: str) -> Trajectory:
    steps = tuple(Step(observation=(), response=Message(role="assistant", content=text)) for text in responses)
    trajectory = make_trajectory(1)
    return trajectory.model_copy(update={"steps": steps, "task": trajectory.task.model_copy(update={"goal": goal})})


def take(trajectory: Trajectory, budget: int) -> Selection:
    selection = make_selector(SelectConfig(selector="diversity")).select(trajectory, budget)  # type: ignore[union-attr]
    assert isinstance(selection, Selection)
    return selection


def test_the_first_step_taken_is_the_one_most_like_the_goal() -> None:
    trajectory = saying("open the golden chest", "walk north", "look at the sky", "open golden chest", "wait")
    assert take(trajectory, 1).indices == {2}


def test_a_step_that_says_the_same_again_is_passed_over_for_another() -> None:
    trajectory = saying("open the golden chest with a key", "open golden chest", "open golden chest", "take the key", "wait")
    assert take(trajectory, 2).indices == {0, 2}


def test_of_equal_steps_the_earlier_is_taken_and_the_budget_is_used_up() -> None:
    assert take(saying("sing", "wait", "wait", "wait"), 2).indices == {0, 1}


def test_texts_without_a_word_are_no_error() -> None:
    assert len(take(saying("…", "!", "?"), 1).indices) == 1


def test_the_task_seen_by_the_first_step_does_not_make_it_relevant() -> None:
    trajectory = make_trajectory(1)
    goal = Message(role="user", content="Your goal: fetch the silver lamp from the cellar")
    steps = (
        Step(observation=(goal,), response=Message(role="assistant", content="wait")),
        Step(observation=(), response=Message(role="assistant", content="fetch the silver lamp")),
    )
    trajectory = trajectory.model_copy(update={"prompt": (), "steps": steps})
    assert take(trajectory, 1).indices == {1}
