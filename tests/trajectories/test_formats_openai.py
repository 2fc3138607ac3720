from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.kinds import Choice
from atlas.records import Annotation, Problem, Trajectory
from atlas.trajectories.formats import openai, sharegpt
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.chats import chat_trajectory
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.messages import read_turns
from atlas.trajectories.formats.rows import BadRowError, SourceRow
from tests.source_files import matches, read_file

USER = {"role": "user", "content": "Go."}
AGENT = {"role": "assistant", "content": "Thought: hm\nAction: go"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "door"}'}}
TOOL = {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "a door"}


def read_one(tmp_path: Path, value: Any) -> Trajectory | Problem:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(value) + "\n\n")
    [item] = read_file("openai", path)
    return item


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    item = read_one(tmp_path, value)
    assert isinstance(item, Trajectory), item
    return item


@pytest.mark.parametrize(
    "wrap",
    [
        lambda chat: {"messages": chat},
        lambda chat: {"conversations": chat},
        lambda chat: {"conversation": json.dumps(chat)},
        lambda chat: chat,
    ],
)
def test_messages_may_stand_under_either_key_or_bare(tmp_path: Path, wrap: Any) -> None:
    value = wrap([{"role": "system", "content": "Rules."}, USER, AGENT, USER])
    assert matches("openai", value)
    trajectory = read_good(tmp_path, value)
    assert [message.role for message in trajectory.prompt] == ["system"]
    assert [(step.observation[0].content, step.action) for step in trajectory.steps] == [
        ("Go.", "go")
    ]
    assert [message.content for message in trajectory.final_observation] == ["Go."]
    assert trajectory.outcome.status == "unknown"
    assert trajectory.id == trajectory.task.id


def test_instructions_and_their_acknowledgement_are_prompt(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, [USER, {"role": "assistant", "content": "OK."}, USER, AGENT])
    assert (len(trajectory.prompt), len(trajectory.steps)) == (2, 1)


@pytest.mark.parametrize("first", ["OK, I open the door.", "ok computer"])
def test_a_real_first_answer_is_a_step(tmp_path: Path, first: str) -> None:
    assert (
        len(read_good(tmp_path, [USER, {"role": "assistant", "content": first}, USER, AGENT]).steps)
        == 2
    )


def test_a_conversation_of_an_acknowledgement_alone_is_a_step(tmp_path: Path) -> None:
    assert len(read_good(tmp_path, [USER, {"role": "assistant", "content": "OK."}]).steps) == 1


def test_parallel_tool_calls_are_one_step_and_their_answers_the_next_observation(
    tmp_path: Path,
) -> None:
    second = {"id": "c2", "function": {"name": "wait", "arguments": {"seconds": 1, "why": "é"}}}
    calling = {
        "role": "assistant",
        "content": None,
        "reasoning_content": "both at once",
        "tool_calls": [CALL, second],
    }
    trajectory = read_good(
        tmp_path,
        [
            USER,
            calling,
            TOOL,
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "ok"}]},
            AGENT,
        ],
    )
    assert len(trajectory.steps) == 2
    response = trajectory.steps[0].response
    assert (response.content, response.reasoning) == ("", "both at once")
    assert [(call.id, call.name, call.arguments) for call in response.tool_calls] == [
        ("c1", "look", '{"at": "door"}'),
        ("c2", "wait", '{"seconds": 1, "why": "é"}'),
    ]
    assert [
        (message.role, message.tool_call_id, message.name, message.content)
        for message in trajectory.steps[1].observation
    ] == [
        ("tool", "c1", "look", "a door"),
        ("tool", "c2", None, "ok"),
    ]


def answer(id_: str | None, content: str, **fields: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content, **fields}


def test_answers_that_came_out_of_order_stand_in_the_order_of_the_calls_and_none_is_dropped(
    tmp_path: Path,
) -> None:
    calls = [
        {"id": id_, "function": {"name": "look", "arguments": "{}"}} for id_ in ("c1", "c2", "c3")
    ]
    calling = {"role": "assistant", "content": "", "tool_calls": calls}
    trajectory = read_good(
        tmp_path,
        [USER, calling, answer("c2", "2"), answer("stray", "s"), USER, answer("c1", "1"), AGENT],
    )
    assert [message.content for message in trajectory.steps[1].observation] == [
        "1",
        "s",
        "Go.",
        "2",
    ]
    assert len(trajectory.steps[0].response.tool_calls) == 3
    last = read_good(tmp_path, [USER, calling, answer("c2", "2"), answer("c1", "1")])
    assert [message.content for message in last.final_observation] == ["1", "2"]


def test_a_late_answer_stands_where_it_was_seen(tmp_path: Path) -> None:
    calling = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    trajectory = read_good(tmp_path, [USER, calling, USER, AGENT, TOOL, AGENT])
    assert [[message.role for message in step.observation] for step in trajectory.steps] == [
        ["user"],
        ["user"],
        ["tool"],
    ]


@pytest.mark.parametrize(
    "calling",
    [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "name": "look", "arguments": {"at": "door"}}],
        },
        {"role": "assistant", "content": None, "tool_calls": json.dumps([CALL])},
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "look", "arguments": '{"at": "door"}'},
        },
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "door"}}],
        },
        {"role": "tool_call", "content": '{"name": "look", "arguments": {"at": "door"}}'},
    ],
)
def test_a_call_is_read_in_every_spelling(tmp_path: Path, calling: dict[str, Any]) -> None:
    trajectory = read_good(
        tmp_path,
        [USER, calling, {"role": "function", "name": "look", "content": {"seen": "a door"}}, AGENT],
    )
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.name, call.arguments, trajectory.steps[0].response.content) == (
        "look",
        '{"at": "door"}',
        "",
    )
    [seen] = trajectory.steps[1].observation
    assert (seen.role, seen.name, seen.content) == ("tool", "look", '{"seen": "a door"}')


def test_a_turn_told_as_text_and_calls_is_one_step(tmp_path: Path) -> None:
    call = {"role": "tool_call", "content": '{"name": "look", "arguments": {}}'}
    trajectory = read_good(
        tmp_path, [USER, AGENT, call, call, {"role": "tool_response", "content": "a door"}, AGENT]
    )
    assert [len(step.response.tool_calls) for step in trajectory.steps] == [2, 0]
    assert trajectory.steps[0].response.content == AGENT["content"]


def test_calls_that_are_no_json_stay_the_text_of_the_turn(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, [USER, {"role": "tool_call", "content": "look at door"}])
    assert (trajectory.steps[0].response.content, trajectory.steps[0].response.tool_calls) == (
        "look at door",
        (),
    )


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": [{"type": "output_text", "text": "go"}, " on"]}, "go on", None),
        (
            {"content": [{"type": "text", "text": "see "}, {"type": "image_url", "image_url": {}}]},
            "see ",
            None,
        ),
        (
            {"content": [{"type": "input_audio"}, {"type": "video"}, {"type": "file"}]},
            "",
            None,
        ),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "No.", None),
        ({"content": None, "refusal": "No."}, "No.", None),
        ({"content": None, "audio": {"id": "a"}}, "", None),
        ({"content": None, "audio": {"id": "a", "transcript": "Go."}}, "Go.", None),
        (
            {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "go"}]},
            "go",
            "hm",
        ),
        ({"content": "go", "reasoning": "hm"}, "go", "hm"),
        ({"content": "go", "thinking": "hm"}, "go", "hm"),
        ({"content": "<think>hm</think>go"}, "<think>hm</think>go", None),
    ],
)
def test_every_part_of_an_answer_is_kept_and_media_leave_no_marker(
    tmp_path: Path, message: dict[str, Any], content: str, reasoning: str | None
) -> None:
    response = read_good(tmp_path, [USER, {"role": "assistant", **message}]).steps[0].response
    assert (response.content, response.reasoning) == (content, reasoning)


def test_tool_results_within_a_user_message_are_tool_messages(tmp_path: Path) -> None:
    calling = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}],
    }
    results = [
        {
            "type": "tool_result",
            "tool_use_id": "c1",
            "content": [{"type": "text", "text": "a door"}],
        },
        {"type": "text", "text": "Go."},
    ]
    observation = (
        read_good(tmp_path, [USER, calling, {"role": "user", "content": results}, AGENT])
        .steps[1]
        .observation
    )
    assert [(message.role, message.tool_call_id, message.content) for message in observation] == [
        ("tool", "c1", "a door"),
        ("user", None, "Go."),
    ]


SCHEMA = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [SCHEMA]},
        {"functions": [SCHEMA]},
        {"tools": json.dumps([SCHEMA])},
        {"tools": SCHEMA},
    ],
)
def test_tool_schemas_are_kept_verbatim(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert read_good(tmp_path, {"messages": [USER, AGENT], **fields}).tools == (SCHEMA,)


def test_tools_that_are_no_schemas_are_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps({"messages": [USER, AGENT], "tools": "a hammer"}))
    (problem,) = read_file("openai", path)
    assert isinstance(problem, Problem)
    assert "ignore=tools" in problem.reason


@pytest.mark.parametrize(
    ("flags", "marks"),
    [
        (({"weight": 1}, {"weight": 0}, {"weight": 1}), [True, False, True]),
        (({}, {"weight": 0}, {}), [True, False, True]),
        (({"train": False}, {"train": True}, {"train": False}), [False, True, False]),
        (({"loss": 0.0}, {"loss": 1.0}, {"loss": None}), [False, True, True]),
        (({"weight": 1}, {"weight": 1}, {"weight": 1}), [True, True, True]),
        (({"weight": 1}, {}, {"weight": 1}), [None, None, None]),
        (({}, {}, {}), [None, None, None]),
    ],
)
def test_training_flags_become_annotations_where_all_steps_have_one_or_one_is_left_out(
    tmp_path: Path, flags: Any, marks: Any
) -> None:
    messages = [message for flag in flags for message in (USER, {**AGENT, **flag})]
    steps = read_good(tmp_path, {"messages": messages}).steps
    assert [step.annotation and step.annotation.is_marked for step in steps] == marks


def test_a_completion_is_what_its_row_trains(tmp_path: Path) -> None:
    row = {"prompt": [USER, AGENT, USER], "completion": [AGENT, USER, AGENT]}
    assert matches("openai", row)
    steps = read_good(tmp_path, row).steps
    assert [step.annotation and step.annotation.is_marked for step in steps] == [False, True, True]
    texts = {"prompt": json.dumps([USER]), "completion": json.dumps([AGENT])}
    assert read_good(tmp_path, texts).steps[0].annotation == Annotation(score=1.0)


def test_system_messages_open_the_prompt_however_many_and_wherever_they_stand(
    tmp_path: Path,
) -> None:
    rules = [{"role": "system", "content": "One."}, {"role": "developer", "content": "Two."}]
    trajectory = read_good(tmp_path, [*rules, USER, AGENT, rules[0], AGENT])
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("system", "One."),
        ("system", "Two."),
    ]
    assert [message.role for message in trajectory.steps[1].observation] == ["system"]
    apart = read_good(tmp_path, {"system": "One.", "messages": [USER, AGENT]})
    assert [(message.role, message.content) for message in apart.prompt] == [("system", "One.")]


def test_a_row_may_be_named_by_an_id_of_its_own(tmp_path: Path) -> None:
    trajectory = read_good(tmp_path, {"messages": [USER, AGENT], "id": "QWJhYvA_0"})
    assert (trajectory.task.id, trajectory.task.environment) == ("QWJhYvA_0", "unknown")
    assert trajectory.id.startswith("QWJhYvA_0-")


def test_a_trajectory_knows_its_row_and_its_line(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(
        "\n".join(json.dumps({"messages": [USER, AGENT], "id": number}) for number in range(2))
    )
    sources = [item.source for item in read_file("openai", path) if isinstance(item, Trajectory)]
    assert [(source.path, source.row, source.line) for source in sources] == [
        ("file.jsonl", 0, 1),
        ("file.jsonl", 1, 2),
    ]


@pytest.mark.parametrize(
    ("fields", "status", "score"),
    [
        ({}, "unknown", None),
        ({"success": True}, "success", None),
        ({"success": 1, "reward": 1}, "success", 1.0),
        ({"success": 0, "reward": 0}, "failure", 0.0),
        ({"success": False, "reward": None}, "failure", None),
        ({"success": 0, "reward": 0.89}, "unknown", 0.89),
        ({"reward": 1.0}, "unknown", 1.0),
    ],
)
def test_success_decides_the_outcome_and_a_reward_alone_does_not(
    tmp_path: Path, fields: dict[str, Any], status: str, score: float | None
) -> None:
    outcome = read_good(tmp_path, {"messages": [USER, AGENT], **fields}).outcome
    assert (outcome.status, outcome.score) == (status, score)
    assert outcome.reason or status != "unknown"


def test_the_row_names_its_task_and_its_plain_fields_are_kept(tmp_path: Path) -> None:
    row = {
        "messages": [USER, AGENT],
        "task_id": 4,
        "task_name": "airline",
        "model": "m",
        "sample_idx": 2,
        "info": {},
        "id": 9,
    }
    trajectory = read_good(tmp_path, row)
    assert (trajectory.task.id, trajectory.task.environment) == ("4", "airline")
    assert trajectory.source.details == {"task_name": "airline", "model": "m", "sample_idx": 2}
    assert trajectory.model_dump_json()
    assert (
        read_good(tmp_path, {"messages": [USER, AGENT], "item_id": "textcraft_3"}).task.environment
        == "textcraft"
    )


@pytest.mark.parametrize(
    ("bad", "where", "reason"),
    [
        ({"messages": []}, "row 0", "no messages"),
        ({"messages": "hello"}, "row 0", "no messages"),
        ({"text": "hello"}, "row 0", "no messages"),
        ({"messages": [7]}, "message 0", "7 is not a message"),
        ([USER], "row 0", "no assistant message"),
        (
            [USER, {"role": "narrator", "content": ""}],
            "message 1",
            "role is 'narrator', expected one of system",
        ),
        ([USER, {"role": ["assistant"]}], "message 1", "role is ['assistant']"),
        ({"messages": [USER, "hi"]}, "message 1", "'hi' is not a message"),
        ([USER, {"role": "assistant", "content": 7}], "message 1", "content is 7"),
        ([USER, {"role": "assistant", "content": [7]}], "message 1", "a part 7, expected"),
        (
            [USER, {"role": "assistant", "content": [{"type": "text"}]}],
            "message 1",
            "a part of type 'text' without text",
        ),
        (
            [USER, {**AGENT, "weight": "no"}],
            "message 1",
            "weight is 'no', expected true, false or a number",
        ),
        ({"prompt": [USER], "completion": None}, "row 0", "no messages"),
        (
            [USER, {"role": "assistant", "content": "", "reasoning": 7}],
            "message 1",
            "reasoning is 7",
        ),
        ([{**USER, "tool_calls": [CALL]}, AGENT], "message 0", "only stand on assistant messages"),
        ([USER, {**AGENT, "tool_calls": {"a": 1}}], "message 1", "tool_calls are a list"),
        ([USER, {**AGENT, "tool_calls": [{"id": "c"}]}], "message 1", "no function name"),
        (
            [USER, {**AGENT, "tool_calls": [{"function": {"name": "f", "arguments": 1}}]}],
            "message 1",
            "arguments of tool call 'f' are 1",
        ),
        ({"messages": [USER, AGENT], "reward": "high"}, "row 0", "reward is 'high'"),
        ({"messages": [USER, AGENT], "reward": 10**400}, "row 0", "reward is"),
        ({"messages": [USER, AGENT], "success": "yes"}, "row 0", "success is 'yes'"),
        ({"messages": [USER, AGENT], "item_id": {}}, "row 0", "item_id is {}"),
        (
            [USER, {"role": "assistant", "content": "\ud800"}],
            "file.jsonl",
            "half of a surrogate pair",
        ),
        ({"messages": [USER, AGENT], "\ud800": 1}, "file.jsonl", "half of a surrogate pair"),
    ],
)
def test_a_bad_row_is_a_problem_that_names_row_and_message(
    tmp_path: Path, bad: Any, where: str, reason: str
) -> None:
    problem = read_one(tmp_path, bad)
    assert isinstance(problem, Problem)
    assert where in problem.where
    assert reason in problem.reason
    assert problem.model_dump_json()


def test_a_text_under_another_key_is_a_problem_and_not_an_empty_message(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text(
        json.dumps(
            [
                {
                    "messages": [
                        {"role": "user", "text": "IMPORTANT"},
                        {"role": "assistant", "content": "g"},
                    ]
                }
            ]
        )
    )
    (problem,) = read_file("openai", path)
    assert isinstance(problem, Problem)
    assert problem.where == "chat.json row 0, message 0"
    assert "no 'content'" in problem.reason


TEXTS = st.sampled_from(["OK.", "Go.", "", " ", "Action: go", "Action:\n \ngo\n", "Thought:\nx"])
OTHER: st.SearchStrategy[Any] = st.one_of(
    TEXTS,
    st.just("The door is locked, so the agent looks for a key in the next room."),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.integers(),
    st.none(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)
NAMES = [
    "task_id",
    "id",
    "success",
    "reward",
    "system",
    "tools",
    "environment",
    "other",
    "more",
    "status",
    "model",
]
ROWS = st.tuples(
    st.lists(
        st.fixed_dictionaries(
            {"who": st.sampled_from(["system", "user", "assistant", "tool"]), "what": TEXTS}
        ),
        min_size=1,
        max_size=7,
    ),
    st.dictionaries(st.sampled_from(NAMES), OTHER, max_size=5),
)


@pytest.mark.parametrize(("format_name", "form"), [("openai", openai), ("sharegpt", sharegpt)])
@given(drawn=ROWS)
def test_a_plain_chat_has_the_line_that_its_record_would_have(
    format_name: str, form: Any, drawn: Any
) -> None:
    messages, fields = drawn
    who, what = form.FORM.keys
    messages = [{who: each["who"], what: each["what"]} for each in messages]
    row = SourceRow("x", 0, {"conversations": messages, **fields}, "x row 0", 1)
    (quick,) = FORMAT.make(Choice(format_name)).convert_all([row], ())
    (slow,) = convert_rows(
        [row],
        lambda row: chat_trajectory(row, read_turns(messages, form.FORM.keys), form.FORM),
        FORMAT.make(Choice(format_name)).metadata,
        parsed=FORMAT.make(Choice(format_name)).parsed,
    )
    assert quick == slow


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": ["Go."]},
        {"role": "Human", "content": "Go."},
        {"role": "user", "name": "x"},
        {"role": "assistant", "content": "Go.", "tool_calls": []},
        {"role": ["user"], "content": "Go."},
        "Go.",
        7,
    ],
)
def test_messages_that_are_more_or_less_than_a_role_and_a_text_are_not_plain(message: Any) -> None:
    row = SourceRow("x", 0, {"messages": [message, AGENT]}, "x row 0")
    with suppress(BadRowError):
        assert isinstance(FORMAT.make(Choice("openai")).convert(row), Trajectory)
