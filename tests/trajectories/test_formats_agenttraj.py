from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.conventions import environment_of_item
from atlas.trajectories.react_turns import parse_action
from tests.selection.configs import new_selector, select_config
from tests.source_files import read_file

OK = "OK. I'll follow your instructions and try my best to solve the task."


def row(*turns: tuple[str, bool | None, str], item_id: Any = "babyai_7") -> dict[str, Any]:
    return {
        "conversations": [
            {"from": who, "loss": loss, "value": value} for who, loss, value in turns
        ],
        "item_id": item_id,
    }


def human(value: str) -> tuple[str, None, str]:
    return "human", None, value


def agent(value: str) -> tuple[str, bool, str]:
    return "gpt", True, value


GOOD = row(
    human("Play."),
    ("gpt", False, OK),
    human("A door."),
    agent("Thought:\nopen it\n\nAction:\nopen door 1\n"),
    human("A room."),
    agent("Action: go"),
)


def read_one(tmp_path: Path, value: Any) -> Trajectory | Problem:
    path = tmp_path / "file.json"
    path.write_text(json.dumps([value]))
    [item] = read_file("agenttraj", path)
    return item


def test_the_acknowledgement_is_prompt_and_every_trained_turn_is_a_verbatim_step(
    tmp_path: Path,
) -> None:
    trajectory = read_one(tmp_path, GOOD)
    assert isinstance(trajectory, Trajectory)
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("user", "Play."),
        ("assistant", OK),
    ]
    assert [step.observation[0].content for step in trajectory.steps] == ["A door.", "A room."]
    assert [step.response.content for step in trajectory.steps] == [
        "Thought:\nopen it\n\nAction:\nopen door 1\n",
        "Action: go",
    ]
    assert [step.action for step in trajectory.steps] == ["open door 1", "go"]
    assert (trajectory.task.id, trajectory.task.environment, trajectory.outcome.status) == (
        "babyai_7",
        "babyai",
        "unknown",
    )
    assert trajectory.id.startswith("babyai_7-")
    assert (trajectory.source.name, trajectory.source.path, trajectory.source.row) == (
        "agenttraj",
        "file.json",
        0,
    )
    assert [message.content for message in trajectory.messages] == [
        turn["value"] for turn in GOOD["conversations"]
    ]


def test_without_an_acknowledgement_the_first_human_turn_is_an_observation(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, row(human("Play."), agent("go")))
    assert isinstance(trajectory, Trajectory)
    assert (trajectory.prompt, len(trajectory.steps), trajectory.steps[0].action) == ((), 1, None)


def test_a_last_human_turn_is_the_final_observation(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, row(human("Play."), agent("go"), human("Done.")))
    assert isinstance(trajectory, Trajectory)
    assert [message.content for message in trajectory.final_observation] == ["Done."]


def test_a_row_may_be_named_by_id_as_in_agentinstruct_or_not_at_all(tmp_path: Path) -> None:
    turns = row(human("a"), agent("b"))["conversations"]
    trajectory = read_one(
        tmp_path, {"conversations": turns, "id": "mind2web_4", "reward": 0.5, "success": True}
    )
    assert isinstance(trajectory, Trajectory)
    assert (trajectory.task.id, trajectory.task.environment) == ("mind2web_4", "mind2web")
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("success", 0.5)
    nameless = read_one(tmp_path, {"conversations": turns, "item_id": None})
    assert isinstance(nameless, Trajectory)
    assert nameless.id == nameless.task.id


def masked(acknowledgement: str, *flags: bool) -> dict[str, Any]:
    turns = [human("Play."), ("gpt", False, acknowledgement)]
    for index, flag in enumerate(flags):
        turns += [human(f"see {index}"), ("gpt", flag, f"do {index}")]
    return row(*turns)


@pytest.mark.parametrize(
    ("given", "prompt", "marks"),
    [
        (masked(OK, True, False, True), 2, [True, False, True]),
        (masked("I've understood your instruction, start please.", False, True), 2, [False, True]),
        (masked("OK.", False, False), 2, [False, False]),
        (masked("Let us begin.", True, True), 2, None),
        (masked("open door", True, False), 0, [False, True, False]),
        (row(human("a"), agent("b"), human("c"), ("gpt", False, "d")), 0, [True, False]),
        (row(human("a"), agent("b"), human("c"), agent("d")), 0, None),
    ],
)
def test_a_masked_export_gives_its_selection_back(
    tmp_path: Path, given: Any, prompt: int, marks: list[bool] | None
) -> None:
    trajectory = read_one(tmp_path, given)
    assert isinstance(trajectory, Trajectory)
    assert len(trajectory.prompt) == prompt
    annotations = [step.annotation for step in trajectory.steps]
    if marks is None:
        assert annotations == [None] * len(annotations)
    else:
        assert [note and note.is_marked for note in annotations] == marks
        chosen = new_selector(select_config()).select(trajectory, len(marks))
        assert chosen.indices == {index for index, mark in enumerate(marks) if mark}


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ({"item_id": "babyai_0"}, "row 0", "no 'conversations'"),
        ({"item_id": "babyai_0", "conversations": None}, "row 0", "evaluation tasks"),
        ({"item_id": "babyai_0", "conversations": []}, "row 0", "evaluation tasks"),
        (row(human("a"), agent("b"), item_id=[1]), "row 0", "expected a text or a whole number"),
        ([1], "row 0", "no 'conversations'"),
        (
            row(human("a"), ("gpt", False, "OK.")),
            "row 0",
            "no assistant message besides the prompt",
        ),
        (row(human("a")), "row 0", "no assistant message besides the prompt"),
        (row(agent("b"), human("a")), "message 0", "role 'gpt' where 'human' was expected"),
        (row(human("a"), agent("b"), agent("c")), "message 2", "role 'gpt' where 'human'"),
        (row(human("a"), human("b")), "message 1", "role 'human' where 'gpt'"),
        (row(human("a"), ("gpt", None, "b")), "message 1", "loss is None on a gpt turn"),
        (row(("human", True, "a"), agent("b")), "message 0", "loss is True on a human turn"),
        (
            {"conversations": [{"from": "human", "value": None}], "item_id": "x_1"},
            "message 0",
            "value is None",
        ),
        ({"conversations": ["hello"], "item_id": "x_1"}, "message 0", "'hello' is not a turn"),
        (row(human("a"), agent("\ud800")), "row 0", "half of a surrogate pair"),
        (row(human("a"), agent("b"), item_id="\ud800"), "row 0", "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_a_problem_that_names_row_and_message(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    problem = read_one(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert problem.where.startswith("file.json row 0")
    assert where in problem.where
    assert reason in problem.reason
    assert problem.model_dump_json()


@pytest.mark.parametrize(
    ("response", "action"),
    [
        ("Thought:\nhm\n\nAction:\ngo to red ball 1", "go to red ball 1"),
        ("Thought: hm Action: go", "go"),
        ("Action: \nmove forward \npick up red ball 1", "move forward"),
        ("Action:\ngo\n\nObservation: a wall\nAction:\nstop\n", "stop"),
        ("Action: look with Action Input: {}", "look with Action Input: {}"),
        ("Action:\n\n  inventory", "inventory"),
        ("Action:", None),
        ("I give up.", None),
    ],
)
def test_the_action_is_the_first_line_after_the_last_mark(
    response: str, action: str | None
) -> None:
    assert parse_action(response) == action


@pytest.mark.parametrize(
    ("item_id", "environment"),
    [
        ("babyai_0", "babyai"),
        ("lmrlgym_maze_18", "lmrlgym_maze"),
        ("tool_academia_3", "tool_academia"),
        (
            "look_at_obj_in_light-AlarmClock-None-DeskLamp-301_trial_T20190907_174127_043461",
            "alfworld",
        ),
        ("something else", "unknown"),
        ("7", "unknown"),
    ],
)
def test_the_environment_is_what_the_item_id_begins_with(item_id: str, environment: str) -> None:
    assert environment_of_item(item_id) == environment
