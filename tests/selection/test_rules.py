"""The rules take what the labels of a large language model showed, and nothing that people say."""

from __future__ import annotations

from atlas.records import Message, Selection, Step, ToolCall, Trajectory
from atlas.selection.selectors.rules import WORTH
from tests.conftest import make_trajectory
from tests.selection.configs import new_selector, select_config


def choose(trajectory: Trajectory, budget: int = 1) -> Selection:
    selection = new_selector(select_config("rules")).select(trajectory, budget)
    assert isinstance(selection, Selection)
    return selection


def story(goal: str, *turns: tuple[str, str], role: str = "user") -> Trajectory:
    """Each turn is an observation and the action after it."""
    steps = tuple(
        Step(
            observation=(Message(role=role, content=seen),),  # type: ignore[arg-type]
            response=Message(role="assistant", content=f"Action: {action}"),
            action=action,
        )
        for seen, action in turns
    )
    plain = make_trajectory(1)
    task = plain.task.model_copy(update={"goal": goal})
    return plain.model_copy(update={"steps": steps, "task": task, "final_observation": ()})


def test_the_step_that_brings_the_goal_into_view_is_taken() -> None:
    trajectory = story(
        "pick up the grey ball",
        ("Your goal: pick up the grey ball. You see a wall.", "turn left"),
        ("You see a red door.", "go to red door"),
        ("You see a red door ahead.", "open red door"),
        ("You see a grey ball.", "go to grey ball"),
        ("You see a grey ball ahead.", "look"),
    )
    [step] = choose(trajectory).critical_steps
    assert step.index == 2
    assert "brings into view" in str(step.reason)


def test_the_step_after_a_failure_is_taken_and_the_failed_step_never() -> None:
    trajectory = story(
        "find it",
        ("A room.", "go north"),
        ("Error: no way to the north.", "go north again"),
        ("Error: no way to the north.", "go south"),
        ("A hall.", "go on"),
        ("Another hall.", "go on further"),
    )
    chosen = choose(trajectory, 5).indices
    assert 2 in choose(trajectory).indices
    assert not chosen & {0, 1}


def test_a_step_that_changes_nothing_or_repeats_itself_is_not_taken() -> None:
    trajectory = story(
        "find it", ("A", "up"), ("A", "up"), ("A", "down"), ("B", "up"), ("A", "down"), ("C", "on")
    )
    assert not choose(trajectory, 6).indices & {0, 1, 4}


def test_what_a_person_says_is_no_error_where_the_agent_calls_tools() -> None:
    said = "I can't remember my order number. I could not find it, sorry, it failed."
    trajectory = story(
        "cancel the order", ("Hello.", "ask"), (said, "look it up"), ("Fine.", "done")
    )
    call = ToolCall(name="find_order", arguments="{}")
    steps = list(trajectory.steps)
    response = steps[0].response.model_copy(update={"tool_calls": (call,)})
    steps[0] = steps[0].model_copy(update={"response": response})
    talking = trajectory.model_copy(update={"steps": tuple(steps)})
    for one in (trajectory, talking):
        kinds = {kind for step in choose(one, 3).critical_steps for kind in step.kinds}
        assert "self_correction" not in kinds
        assert 0 in choose(one, 3).indices


def test_a_long_trajectory_of_one_situation_takes_linear_time() -> None:
    import time

    trajectory = story("x", *[("The same room.", f"go {index}") for index in range(5_000)])
    started = time.process_time()
    choose(trajectory, 100)
    assert time.process_time() - started < 5


def test_the_worth_is_said_at_every_use() -> None:
    selector = new_selector(select_config("rules"))
    assert all(f"{name} {kappa:.2f}" in selector.worth for name, kappa in WORTH.items())
