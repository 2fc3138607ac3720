from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[3] / "shared" / "data" / "import_cases" / "refused"
Part = dict[str, Any]
CLASSES = {"human": "HumanMessage", "ai": "AIMessage", "tool": "ToolMessage"}
CALL: Part = {"name": "look", "args": {"at": "it"}, "id": "c1", "type": "tool_call"}
RAW_CALL: Part = {
    "id": "c1",
    "type": "function",
    "function": {"name": "look", "arguments": '{"at": "it"}'},
}


def human(content: Any, **fields: Any) -> Part:
    return {"type": "human", "content": content, **fields}


def ai(content: Any, **fields: Any) -> Part:
    return {"type": "ai", "content": content, **fields}


RESULT: Part = {
    "type": "tool",
    "content": "a cat",
    "tool_call_id": "c1",
    "name": "look",
    "artifact": {"pixels": [1, 2]},
    "status": "success",
}
CHAT = [human("Go on."), ai("", tool_calls=[CALL]), RESULT, ai("A cat.")]


def constructed(message: Part) -> Part:
    fields = {key: value for key, value in message.items() if key != "type"}
    path = ["langchain_core", "messages", CLASSES[message["type"]]]
    return {"lc": 1, "type": "constructor", "id": path, "kwargs": fields}


def as_dict(message: Part) -> Part:
    return {"type": message["type"], "data": message}


def read(tmp_path: Path, *rows: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "states.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert detect_format(path) == "langchain"
    return read_file("langchain", path)


def read_one(tmp_path: Path, *rows: Any) -> Trajectory:
    [item] = read(tmp_path, *rows)
    assert isinstance(item, Trajectory), item
    return item


def check_chat(trajectory: Trajectory) -> None:
    calling, done = trajectory.steps
    assert [message.content for message in calling.observation] == ["Go on."]
    [call] = calling.response.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c1", "look", {"at": "it"})
    assert [(m.tool_call_id, m.content) for m in done.observation] == [("c1", "a cat")]
    assert done.response.content == "A cat."


@pytest.mark.parametrize("form", [dict, constructed, as_dict])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda messages: messages,
        lambda messages: {"messages": messages},
        lambda messages: {"messages": [messages]},
        lambda messages: {"values": {"messages": messages}, "next": []},
        lambda messages: {"v": 1, "channel_values": {"messages": messages}},
        lambda messages: {"checkpoint": {"channel_values": {"messages": messages}}},
        lambda messages: {"event": "values", "data": {"messages": messages}},
        lambda messages: {"messages": json.dumps(messages)},
    ],
)
def test_messages_are_read_in_every_form_and_state(wrap: Any, form: Any, tmp_path: Path) -> None:
    check_chat(read_one(tmp_path, wrap([form(message) for message in CHAT])))


def test_a_json_list_of_messages_is_one_chat(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    path.write_text(json.dumps(CHAT, indent=1))
    assert detect_format(path) == "langchain"
    [trajectory] = read_file("langchain", path)
    assert isinstance(trajectory, Trajectory)
    check_chat(trajectory)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": [], "additional_kwargs": {"tool_calls": [RAW_CALL]}},
        {"additional_kwargs": {"tool_calls": [RAW_CALL]}, "tool_calls": [CALL]},
        {"content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "it"}}]},
        {
            "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}],
            "tool_calls": [CALL],
        },
        {"content": [{**CALL, "extras": None}]},
        {"content": "", "content_blocks": [CALL]},
        {"content": [{"type": "functionCall", "functionCall": {**CALL}}]},
    ],
)
def test_calls_are_found_wherever_they_stand(fields: Part, tmp_path: Path) -> None:
    calling = {**ai(""), **fields}
    if "functionCall" in json.dumps(fields):
        calling = {**ai([{"functionCall": {"id": "c1", "name": "look", "args": {"at": "it"}}}])}
    check_chat(read_one(tmp_path, {"messages": [CHAT[0], calling, *CHAT[2:]]}))


def test_a_call_whose_arguments_are_no_json_keeps_its_text(tmp_path: Path) -> None:
    invalid = {"name": "look", "args": '{"at": ', "id": "c9", "error": "cut", "type": "x"}
    trajectory = read_one(
        tmp_path, {"messages": [human("Go."), ai("", invalid_tool_calls=[invalid])]}
    )
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.id, call.arguments) == ("c9", '{"at": ')


@pytest.mark.parametrize(
    "fields",
    [
        {"additional_kwargs": {"reasoning_content": "Hm."}},
        {"additional_kwargs": {"reasoning": {"summary": [{"text": "Hm."}], "type": "reasoning"}}},
        {"content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, "Done."]},
        {"content": [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Done."}]},
        {
            "content": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                {"type": "text", "text": "Done."},
            ]
        },
    ],
)
def test_reasoning_is_found_wherever_it_stands(fields: Part, tmp_path: Path) -> None:
    row = {"messages": [human("Go."), {**ai("Done."), **fields}]}
    response = read_one(tmp_path, row).steps[0].response
    assert (response.content, response.reasoning) == ("Done.", "Hm.")


def test_roles_may_be_mixed_with_those_of_openai(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Go on."}, *CHAT[1:]], "success": True}
    trajectory = read_one(tmp_path, row)
    check_chat(trajectory)
    assert trajectory.outcome.status == "success"


def test_function_and_chat_messages_are_read(tmp_path: Path) -> None:
    legacy = {"function_call": {"name": "look", "arguments": '{"at": "it"}'}}
    messages = [
        human("Go on."),
        ai("", additional_kwargs=legacy),
        {"type": "function", "name": "look", "content": "a cat"},
        {"type": "chat", "role": "assistant", "content": "A cat."},
    ]
    trajectory = read_one(tmp_path, {"messages": messages})
    assert trajectory.steps[0].response.tool_calls[0].name == "look"
    assert trajectory.steps[1].observation[0].name == "look"
    assert trajectory.steps[1].response.content == "A cat."


def test_removed_messages_are_left_out(tmp_path: Path) -> None:
    messages = [
        human("Old.", id="1"),
        ai("Older.", id="2"),
        {"type": "remove", "id": "1", "content": ""},
        {"type": "remove", "id": "2", "content": ""},
        human("Go on.", id="3"),
        ai("Done.", id="4"),
    ]
    trajectory = read_one(tmp_path, {"messages": messages})
    assert [step.response.content for step in trajectory.steps] == ["Done."]
    assert [message.content for message in trajectory.steps[0].observation] == ["Go on."]


@pytest.mark.parametrize("newest_first", [False, True])
def test_states_of_one_thread_are_one_trajectory(tmp_path: Path, newest_first: bool) -> None:
    states = [
        {"values": {"messages": CHAT[:number]}, "config": {"configurable": {"thread_id": "a"}}}
        for number in range(1, 5)
    ]
    check_chat(read_one(tmp_path, *(reversed(states) if newest_first else states)))


def test_a_stream_of_several_modes_is_one_trajectory(tmp_path: Path) -> None:
    chat = [{**message, "id": str(number)} for number, message in enumerate(CHAT)]
    check_chat(read_one(tmp_path, *(["values", {"messages": chat[:end]}] for end in (1, 2, 4))))


def test_rows_of_a_data_set_are_not_states_of_one_thread(tmp_path: Path) -> None:
    rows = [{"messages": CHAT[:2]}, {"messages": CHAT}]
    assert len(read(tmp_path, *rows)) == 2


def test_an_answer_cut_by_length_is_truncated(tmp_path: Path) -> None:
    cut = ai("Do", response_metadata={"finish_reason": "length"})
    trajectory = read_one(tmp_path, {"messages": [human("Go."), cut]})
    assert trajectory.outcome.status == "truncated"


def run(number: int, kind: str, inputs: Any, outputs: Any, **fields: Any) -> Part:
    return {
        "id": f"r{number}",
        "trace_id": "t1",
        "run_type": kind,
        "name": "look" if kind == "tool" else "model",
        "start_time": f"2026-01-01T00:00:0{number}",
        "dotted_order": f"20260101T00000{number}Zr{number}",
        "inputs": inputs,
        "outputs": outputs,
        "extra": {"invocation_params": {"tools": [{"name": "look"}], "stop": None}},
        **fields,
    }


def generation(message: Part) -> Part:
    return {
        "generations": [[{"text": "", "message": constructed(message), "type": "ChatGeneration"}]],
        "llm_output": {"model_name": "small"},
    }


FIRST = run(1, "llm", {"messages": [[*map(constructed, CHAT[:1])]]}, generation(CHAT[1]))
RUN = run(2, "tool", {"input": "{'at': 'it'}"}, {"output": RESULT})
SECOND = run(3, "llm", {"messages": [[*map(constructed, CHAT[:3])]]}, generation(CHAT[3]))


def test_runs_of_langsmith_are_model_calls(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, SECOND, RUN, FIRST)
    check_chat(trajectory)
    assert trajectory.tools == ({"name": "look"},)


def test_a_tree_of_runs_is_the_calls_in_it(tmp_path: Path) -> None:
    root = run(0, "chain", {"messages": CHAT[:1]}, {"messages": CHAT})
    check_chat(read_one(tmp_path, {**root, "child_runs": [FIRST, RUN, SECOND]}))
    check_chat(read_one(tmp_path, root))


def test_the_last_result_comes_from_the_run_of_the_tool(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, FIRST, RUN)
    assert [(m.tool_call_id, m.content) for m in trajectory.final_observation] == [("c1", "a cat")]


def test_a_batch_is_runs_that_were_posted_and_patched(tmp_path: Path) -> None:
    inputs = {"messages": [{"role": "user", "content": "Go."}], "model": "small"}
    outputs = {"choices": [{"message": {"role": "assistant", "content": "Done."}}]}
    posted, order = run(1, "llm", inputs, {}), "20260101T000001Zr1"
    row = {"post": [posted], "patch": [{"dotted_order": order, "outputs": outputs}]}
    assert read_one(tmp_path, row).steps[0].response.content == "Done."


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([human("Go.")], "no assistant message"),
        ([human("Go."), {"type": "zz", "zz": "x"}], "holds no messages"),
        ([human("Go."), ai("x", zz="words")], "'messages.zz' is not read"),
        ([human("Go."), ai([{"type": "zz", "zz": "words"}])], "part of type 'zz'"),
        ([human("Go."), ai("", tool_calls=[{"args": {}}])], "a tool call has no name"),
        ([human("Go."), ai("", tool_calls=[{**CALL, "args": 7}])], "arguments of tool call"),
    ],
)
def test_what_cannot_be_read_is_a_problem(tmp_path: Path, messages: Any, reason: str) -> None:
    [problem] = read(tmp_path, {"messages": messages})
    assert isinstance(problem, Problem)
    assert reason in problem.reason


@pytest.mark.skipif(not CASES.exists(), reason="the logs of ../shared/data are not here")
def test_a_small_log_is_read() -> None:
    path = CASES / "langchain_types.jsonl"
    assert detect_format(path) == "langchain"
    [trajectory] = read_file("langchain", path)
    assert isinstance(trajectory, Trajectory)
    calling, done = trajectory.steps
    assert [(c.id, c.name, c.arguments) for c in calling.response.tool_calls] == [
        ("c1", "f", '{"x": 1}')
    ]
    assert [(m.role, m.content, m.tool_call_id) for m in done.observation] == [("tool", "r", "c1")]
    assert done.response.content == "done"


def test_calls_of_a_part_of_a_stream_are_calls(tmp_path: Path) -> None:
    chunk = {"name": "look", "args": '{"at": "it"}', "id": "c1", "index": 0}
    path = tmp_path / "x.json"
    path.write_text(
        json.dumps(
            {
                "messages": [
                    {"type": "human", "content": "Go."},
                    {"type": "AIMessageChunk", "content": "", "tool_call_chunks": [chunk]},
                    {"type": "tool", "content": "a cat", "tool_call_id": "c1"},
                    {"type": "ai", "content": "Done."},
                ]
            }
        )
    )
    [trajectory] = read_file("langchain", path)
    assert isinstance(trajectory, Trajectory)
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "look", '{"at": "it"}')
