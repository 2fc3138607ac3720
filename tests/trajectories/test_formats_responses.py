from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats import base
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "import_cases"
Item = dict[str, Any]
CALL = {"type": "function_call", "call_id": "c", "name": "sh", "arguments": '{"cmd":"ls"}'}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "a"}
GO = {"role": "user", "content": "go"}


def answer(text: str) -> Item:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": content, "status": "completed"}


DONE = answer("Done.")


def read(tmp_path: Path, *rows: Any, form: str = "responses") -> list[Trajectory | Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert detect_format(path) == form
    return read_file(form, path)


def read_one(tmp_path: Path, row: Any, form: str = "responses") -> Trajectory:
    (item,) = read(tmp_path, row, form=form)
    assert isinstance(item, Trajectory), item
    return item


def line_of_row(tmp_path: Path, row: Any, form: str = "responses") -> TrajectoryLine:
    path = tmp_path / "row.json"
    path.write_text(json.dumps(row))
    with SourceFile(path) as source:
        (item,) = base.FORMAT.make(Choice(form)).read(source)
    assert isinstance(item, TrajectoryLine), item
    return item


def told(trajectory: Trajectory) -> list[tuple[list[str], str, list[str]]]:
    return [
        (
            [message.content for message in step.observation],
            step.response.content,
            [call.arguments for call in step.response.tool_calls],
        )
        for step in trajectory.steps
    ]


WHOLE = [(["go"], "", ['{"cmd":"ls"}']), (["a"], "Done.", [])]


@pytest.mark.parametrize(
    "row",
    [
        [GO, CALL, RESULT, DONE],
        {"messages": [GO, CALL, RESULT, DONE]},
        {"messages": json.dumps([GO, CALL, RESULT, DONE])},
        {"items": [GO, CALL, RESULT, DONE], "session_id": "s"},
        {"input": "go", "output": [CALL, RESULT, DONE]},
        {"input": json.dumps([GO]), "output": json.dumps([CALL, RESULT, DONE])},
        {"input": [GO], "output": [CALL, RESULT, DONE], "tools": []},
        {"input": "go", "response": {"object": "response", "output": [CALL, RESULT, DONE]}},
        {
            "request": {"input": "go", "model": "m"},
            "response": {"object": "response", "output": [CALL, RESULT, DONE]},
        },
        {
            "request": {"body": {"input": "go"}},
            "response": {"body": {"object": "response", "output": [CALL, RESULT, DONE]}},
        },
    ],
)
def test_a_conversation_is_read_in_every_place(tmp_path: Path, row: Any) -> None:
    trajectory = read_one(tmp_path, row)
    assert told(trajectory) == WHOLE
    assert trajectory.steps[1].observation[0].tool_call_id == "c"
    assert line_of_row(tmp_path, row).unread == ()


def test_a_json_file_that_is_one_list_of_items_is_one_conversation(tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    path.write_text(json.dumps([GO, CALL, RESULT, DONE], indent=1))
    assert detect_format(path) == "responses"
    (trajectory,) = read_file("responses", path)
    assert isinstance(trajectory, Trajectory)
    assert told(trajectory) == WHOLE


def test_rows_of_a_table_have_nulls_in_the_fields_of_other_items(tmp_path: Path) -> None:
    keys = {key: None for each in (GO, CALL, RESULT, DONE) for key in each}
    row = {"messages": [keys | each for each in (GO, CALL, RESULT, DONE)]}
    assert told(read_one(tmp_path, row)) == WHOLE


def test_instructions_tools_and_model_of_a_response(tmp_path: Path) -> None:
    tool = {"type": "function", "name": "sh", "parameters": {"type": "object"}, "strict": True}
    response = {
        "object": "response",
        "model": "m",
        "instructions": "Be kind.",
        "tools": [tool, {"type": "web_search"}],
        "output": [DONE],
        "usage": {"input_tokens": 5},
        "text": {"format": {"type": "text"}},
    }
    trajectory = read_one(tmp_path, {"input": "go", "response": response})
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("system", "Be kind.")
    ]
    function = {"name": "sh", "parameters": {"type": "object"}, "strict": True}
    assert trajectory.tools == (
        {"type": "function", "function": function},
        {"type": "web_search"},
    )
    assert trajectory.source.details["model"] == "m"


def test_turns_of_the_input_are_history_and_those_of_the_output_are_trained(
    tmp_path: Path,
) -> None:
    trajectory = read_one(tmp_path, {"input": [GO, CALL, RESULT], "output": [DONE]})
    marks = [step.annotation and step.annotation.is_marked for step in trajectory.steps]
    assert marks == [False, True]
    assert all(
        step.annotation is None
        for step in read_one(tmp_path, {"input": "go", "output": [CALL, RESULT, DONE]}).steps
    )


def test_messages_of_a_chat_within_the_input_are_read(tmp_path: Path) -> None:
    chat_call = {"id": "c", "type": "function", "function": {"name": "sh", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, "tool_calls": [chat_call]}
    row = {"input": [GO, said, {"role": "tool", "tool_call_id": "c", "content": "a"}]}
    trajectory = read_one(tmp_path, row | {"output": [DONE]})
    assert told(trajectory) == [(["go"], "", ["{}"]), (["a"], "Done.", [])]


@pytest.mark.parametrize(
    ("item", "reasoning", "remarks"),
    [
        ({"summary": [{"text": "a"}, {"text": "b"}]}, "a\n\nb", []),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "full"}]}, "full", []),
        (
            {"summary": [{"text": "short"}], "content": [{"text": "full"}]},
            "full",
            ["the summary of a reasoning is left out: its full text is carried over"],
        ),
        (
            {"summary": [], "encrypted_content": "x"},
            None,
            ["encrypted reasoning is not carried over"],
        ),
    ],
)
def test_reasoning_is_its_full_text_or_its_summary(
    tmp_path: Path, item: Item, reasoning: str | None, remarks: list[str]
) -> None:
    row = {"input": "go", "output": [{"type": "reasoning", **item}, DONE]}
    trajectory = read_one(tmp_path, row)
    assert trajectory.steps[0].response.reasoning == reasoning
    assert [text for _, text in line_of_row(tmp_path, row).remarks] == remarks


SERVED = [
    (
        {"type": "mcp_call", "id": "m", "name": "look", "arguments": "{}", "output": "seen"},
        ("look", "{}", "seen"),
    ),
    (
        {
            "type": "file_search_call",
            "id": "f",
            "queries": ["q"],
            "results": [{"text": "found", "score": 0.5}],
        },
        ("file_search", '{"queries": ["q"]}', '[{"text": "found", "score": 0.5}]'),
    ),
    (
        {"type": "code_interpreter_call", "id": "i", "code": "1+1", "outputs": None},
        ("code_interpreter", '{"code": "1+1"}', None),
    ),
    (
        {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}},
        ("web_search", '{"type": "search", "query": "q"}', None),
    ),
]


@pytest.mark.parametrize(("item", "expected"), SERVED)
def test_what_the_service_executed_is_a_call_before_the_answer(
    tmp_path: Path, item: Item, expected: tuple[str, str, str | None]
) -> None:
    row = {"input": "go", "output": [item, DONE]}
    first, second = read_one(tmp_path, row).steps
    name, arguments, result = expected
    (call,) = first.response.tool_calls
    assert (call.name, call.arguments) == (name, arguments)
    assert [message.content for message in second.observation] == (
        [] if result is None else [result]
    )
    assert second.response.content == "Done."


def test_media_are_marks_in_the_context_and_never_in_an_answer(tmp_path: Path) -> None:
    image = {"type": "input_image", "image_url": "data:"}
    seen = {"role": "user", "content": [{"type": "input_text", "text": "look "}, image]}
    said = {"type": "message", "role": "assistant", "content": [image, *DONE["content"]]}
    row = {"input": [seen], "output": [said]}
    assert told(read_one(tmp_path, row)) == [(["look [image]"], "Done.", [])]
    (_, text), *_ = line_of_row(tmp_path, row).remarks
    assert text == "a part of an answer that is not text is not carried over"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ([{**CALL, "arguments": None}, DONE], "no 'arguments'"),
        ([{"type": "function_call", "name": "sh", "args": "{}"}], "no 'arguments'"),
        ([{"type": "function_call", "arguments": "{}"}], "no 'name'"),
        ([CALL, {"type": "function_call_output", "result": "a"}, DONE], "no 'output'"),
        ([CALL, {"type": "future_call", "words": "x"}], "'future_call' is not known"),
        ([{**DONE, "content": [{"type": "future", "text": "x"}]}, 7], "not an item"),
        ([{"type": "mcp_call", "name": "f"}, DONE], "no 'arguments'"),
    ],
)
def test_what_is_not_known_is_a_problem_that_names_the_item(
    tmp_path: Path, output: list[Any], reason: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"input": "go", "output": output}))
    (problem,) = read_file("responses", path)
    assert isinstance(problem, Problem)
    assert reason in problem.reason
    assert "message" in problem.where


@pytest.mark.parametrize("key", ["words", "thinking", "answer"])
def test_an_unknown_field_of_an_item_is_reported(tmp_path: Path, key: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"input": "go", "output": [{**DONE, key: "more words"}]}))
    (problem,) = read_file("responses", path)
    assert isinstance(problem, Problem)
    assert f"output.{key}" in problem.reason


def test_outcome_of_a_response_that_failed_or_was_cut(tmp_path: Path) -> None:
    response = {"object": "response", "output": [DONE], "incomplete_details": None}
    failed = {"input": "go", "response": response | {"error": {"message": "no quota"}}}
    assert read_one(tmp_path, failed).outcome.reason == "no quota"
    details = {"reason": "max_output_tokens"}
    cut = {"input": "go", "response": response | {"incomplete_details": details}}
    assert read_one(tmp_path, cut).outcome.status == "truncated"
    assert (0, "the answer was cut: max_output_tokens") in line_of_row(tmp_path, cut).remarks
    good = {"input": "go", "output": [DONE], "success": True}
    assert read_one(tmp_path, good).outcome.status == "success"


def rollout(**fields: Any) -> Item:
    return {
        "responses_create_params": {"input": [GO], "tools": [], "temperature": 1.0},
        "response": {"object": "response", "output": [CALL, RESULT, DONE], "tools": []},
        "agent_ref": {"type": "responses_api_agents", "name": "tool_agent"},
        "_ng_task_index": 3,
        **fields,
    }


def test_a_rollout_of_nemo_gym_is_read(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, rollout(reward=0.5, expected_answer="b"), "nemo_gym")
    assert told(trajectory) == WHOLE
    assert (trajectory.task.id, trajectory.task.environment) == ("tool_agent_3", "tool_agent")
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("unknown", 0.5)
    assert line_of_row(tmp_path, rollout(reward=0.5), "nemo_gym").unread == ()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"reward": 1.0}, "unknown"),
        ({"reward": 1.0, "resolved": True}, "success"),
        ({"reward": 0.0, "resolved": False}, "failure"),
        ({"reward": 0.5, "is_correct": 0.0}, "unknown"),
        ({"reward": -1.0, "correct": False}, "failure"),
        ({"reward": 1.0, "is_correct": "yes"}, "unknown"),
    ],
)
def test_the_verdict_of_the_verifier_is_the_outcome(
    tmp_path: Path, fields: dict[str, Any], status: str
) -> None:
    outcome = read_one(tmp_path, rollout(**fields), "nemo_gym").outcome
    assert (outcome.status, outcome.score) == (status, fields["reward"])
    assert outcome.reason


def test_transitions_that_repeat_the_history_are_one_conversation(tmp_path: Path) -> None:
    row = rollout(reward=1.0)
    row["responses_create_params"]["input"] = []
    row["response"]["output"] = [[GO, CALL, RESULT], [GO, CALL, RESULT, DONE]]
    assert told(read_one(tmp_path, row, "nemo_gym")) == WHOLE
    row["response"]["output"] = [[GO, CALL, RESULT], [GO, DONE]]
    first, second = read(tmp_path, row, form="nemo_gym")
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert first.id != second.id


@pytest.mark.skipif(not CASES.exists(), reason="the folder of import cases is not here")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("responses_io", [(["list files"], "", ['{"cmd":"ls"}'])]),
        ("agents_sdk_messages_key", [(["go"], "", ["{}"]), (["7"], "end", [])]),
    ],
)
def test_the_import_cases_are_read(name: str, expected: Any) -> None:
    path = CASES / "refused" / f"{name}.jsonl"
    (trajectory,) = read_file(detect_format(path), path)
    assert isinstance(trajectory, Trajectory)
    assert told(trajectory) == expected
