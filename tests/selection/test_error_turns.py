from __future__ import annotations

import pytest

from atlas.errors import ConfigError
from atlas.records import Message, Trajectory
from atlas.selection.error_turns import MARKED, error_turns
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

    start = time.process_time()
    assert not flagged("swe", "a b (" * 300_000, "tool")
    assert time.process_time() - start < 1.0


TOOL_ERRORS = [
    "Exit code 1\nfoo",
    "exited with code 2",
    "<returncode>2</returncode>",
    "Command failed with exit code 3",
    "Command timed out after 120 seconds",
    "EXECUTION TIMED OUT",
    "ls: cannot access 'x': No such file or directory",
    "cat: /a/b: Permission denied",
    "/bin/sh: 1: foo: not found",
    "bash: line 3: foo: command not found",
    "fatal: not a git repository",
    "npm ERR! code E404",
    "ModuleNotFoundError: No module named 'x'",
    "404 Not Found",
    "Request failed with status code 500",
    "requests.exceptions.HTTPError: 404 Client Error",
    "MCP error -32603: failed",
    "The tool 'x' does not exist.",
    "Tool foo not found",
    "Unknown tool: foo",
    "<tool_use_error>File does not exist.</tool_use_error>",
    "No replacement was performed, old_str `x` did not appear verbatim",
    "Your proposed edit has introduced new syntax error(s). Please read it",
    '{"status": "error", "message": "x"}',
    '{"ok": false}',
    "{'success': False}",
    '{"result": null, "error": "boom"}',
    '{"content": "x", "isError": true}',
    '{"exit_code": 127, "output": ""}',
    *(
        SHELL_ERRORS := [
            "E: Unable to locate package foo",
            "curl: (7) Failed to connect to host",
            "panic: runtime error: index out of range",
            "thread 'main' panicked at src/main.rs:3:5:",
            "gcc: error: x.c: No such file",
            "make\na.c:3:5: error: expected ';'",
            "permission denied: ./x",
            "ValueError: bad",
            "<returncode>127</returncode><output>",
            "\x1b[1;31mError: no such option\x1b[0m",
        ]
    ),
]
NO_ERRORS = [
    "failed 0 tests",
    "Failed tests: 0\nPassed: 5",
    '{"error":0, "rows": 3}',
    '{"error": []}',
    "Errors: 0",
    "I can't remember my order number, sorry.",
    "42 files found",
    "exit code 0",
    '{"success": true, "error": null}',
    '{"status": "ok", "errors": []}',
    "404 rows",
    "Errors are discussed in chapter 3",
    "def f():\n    raise ValueError('x')",
    "No errors found.",
    "All 40 tests passed",
    "Killed it!",
]


@pytest.mark.parametrize("text", TOOL_ERRORS)
def test_rejections_of_common_tools_are_found(text: str) -> None:
    assert flagged("anything", text, "tool")


@pytest.mark.parametrize("text", SHELL_ERRORS)
def test_errors_of_programs_are_found_where_the_shell_is_the_user(text: str) -> None:
    assert flagged("swe", text)


@pytest.mark.parametrize("text", NO_ERRORS)
@pytest.mark.parametrize("role", ["user", "tool"])
def test_results_that_are_no_rejections_are_none(text: str, role: str) -> None:
    assert not flagged("anything", text, role)


def test_where_the_agent_calls_tools_the_user_is_a_person() -> None:
    said = Message(role="user", content="Error: you cannot be serious")
    talking = seeing("shop", [said]).model_copy(update={"tools": ({"name": "find"},)})
    assert error_turns(seeing("shop", [said])) != [None]
    assert error_turns(talking) == [None]


def test_what_the_source_marks_as_invalid_is_an_error() -> None:
    trajectory = seeing("x", [Message(role="user", content="fine")] * 2)
    steps = (trajectory.steps[0].model_copy(update={"is_invalid": True}), trajectory.steps[1])
    assert error_turns(trajectory.model_copy(update={"steps": steps})) == [MARKED, None]


def test_patterns_of_ones_own_are_added_or_are_all() -> None:
    seen = [
        Message(role="tool", content="state 7\nREJECTED by the robot"),
        Message(role="tool", content="Error: no"),
        Message(role="tool", content="fine"),
    ]
    trajectory = seeing("robot", seen)

    def kept(**settings: object) -> list[int]:
        selection = new_selector(select_config("errors", **settings)).select(trajectory, 1)
        return sorted(selection.indices)

    assert kept() == [0, 2]
    assert kept(patterns=("^REJECTED",)) == [2]
    assert kept(patterns=("^REJECTED",), known_patterns=False) == [1, 2]


@pytest.mark.parametrize("pattern", ["(", "a*"])
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="patterns"):
        select_config("errors", patterns=(pattern,))
