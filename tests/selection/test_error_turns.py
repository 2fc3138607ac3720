from __future__ import annotations

import pytest

from atlas.records import Message, Trajectory
from atlas.selection.error_turns import error_turns
from tests.conftest import make_trajectory
from tests.selection.configs import new_selector, select_config


def seeing(environment: str, after: list[Message]) -> Trajectory:
    """A trajectory whose step i was followed by `after[i]`."""
    trajectory = make_trajectory(len(after))
    steps = [trajectory.steps[0]]
    steps += [
        step.model_copy(update={"observation": (seen,)})
        for step, seen in zip(trajectory.steps[1:], after[:-1], strict=True)
    ]
    task = trajectory.task.model_copy(update={"environment": environment})
    return trajectory.model_copy(
        update={"steps": tuple(steps), "final_observation": (after[-1],), "task": task}
    )


def flagged(environment: str, text: str, role: str = "user") -> bool:
    [error] = error_turns(seeing(environment, [Message(role=role, content=text)]))  # type: ignore[arg-type]
    return error is not None


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ("babyai", "That action is not possible: you do not see red ball 1. You see no objects."),
        ("babyai", "The action is not recognized. Please check valid actions."),
        ("babyai", "There is a barrier in front of you, you can't move forward."),
        ("textcraft", "Could not execute Task Completed"),
        ("textcraft", "Instruction:\nCould not find planks"),
        ("sciworld", "No known action matches that input."),
        ("alfworld", "Nothing happens."),
        ("wordle", "invalid word"),
        ("weather", "Observation: ERROR | ConnectionError(HTTPSConnectionPool)"),
        ("anything", '{"error": "The id 99 is not valid."}'),
        ("anything", "HTTP/1.1 503 Service Unavailable"),
        ("anything", "running\nTraceback (most recent call last):\n  File ..."),
        ("anything", "Error: Only one 'Action' is allowed per response."),
        ("anything", "bash: frobnicate: command not found"),
    ],
)
def test_reports_of_errors_are_found(environment: str, text: str) -> None:
    assert flagged(environment, text)


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ("babyai", "You see a red ball 1 (2 ahead). You face a wall."),
        ("textcraft", "Instruction:\nInventory: You are not carrying anything."),
        ("story", "Nothing happens. The night is long."),
        (
            "anything",
            "The manual has a chapter on errors: how to fix an error, and why a build failed.",
        ),
        ("anything", '{"error": null, "rows": [1]}'),
        ("anything", "HTTP/1.1 200 OK"),
        ("anything", ""),
    ],
)
def test_what_only_speaks_of_errors_is_none(environment: str, text: str) -> None:
    assert not flagged(environment, text)


def test_words_of_a_tool_result_are_no_error_in_a_users_mouth() -> None:
    assert flagged("airline", "Error: not enough seats on flight", "tool")
    assert flagged("swe", "<returncode>1</returncode>\nnothing found", "tool")
    assert not flagged("swe", "<returncode>0</returncode>\nfine", "tool")
    assert flagged("swe", "failed to open", "tool")
    assert not flagged("swe", "failed tests are the issue here")


def test_errors_takes_every_step_but_those_that_failed_under_a_budget_of_its_own() -> None:
    fine, bad = (
        Message(role="user", content="You open the door."),
        Message(role="user", content="That action is not possible: no."),
    )
    selection = new_selector(select_config(selector="errors")).select(
        seeing("babyai", [fine, bad, bad, fine, bad]), 1
    )  # type: ignore[union-attr]
    assert sorted(selection.indices) == [0, 3]  # type: ignore[union-attr]
    assert selection.budget == 2  # type: ignore[union-attr]


def test_a_last_step_that_nothing_was_seen_after_is_no_error() -> None:
    assert error_turns(make_trajectory(3)) == [None, None, None]


def test_a_megabyte_of_observation_costs_little() -> None:
    import time

    start = time.perf_counter()
    assert not flagged("swe", "a b (" * 300_000, "tool")
    assert time.perf_counter() - start < 1.0
