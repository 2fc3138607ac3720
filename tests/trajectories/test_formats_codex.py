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
Line = dict[str, Any]
SESSION = "01900000-0000-7000-8000-000000000000"
EARLIER = "018f0000-0000-7000-8000-000000000000"
LATER = "01900000-0001-7000-8000-000000000000"


def line(kind: str, **payload: Any) -> Line:
    return {"timestamp": "2026-01-01T10:00:00Z", "type": kind, "payload": payload}


def meta(id: str = SESSION, **fields: Any) -> Line:
    return line("session_meta", id=id, cwd="/w", cli_version="0.90.0", **fields)


def said(role: str, text: str) -> Line:
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    return line("response_item", type="message", role=role, content=content)


def thought(*texts: str, **fields: Any) -> Line:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return line("response_item", type="reasoning", summary=summary, **fields)


def call(id: str, command: str) -> Line:
    arguments = json.dumps({"cmd": command})
    fields = {"name": "exec_command", "arguments": arguments, "call_id": id}
    return line("response_item", type="function_call", **fields)


def output(id: str, text: Any) -> Line:
    return line("response_item", type="function_call_output", call_id=id, output=text)


def event(name: str, **fields: Any) -> Line:
    return line("event_msg", type=name, **fields)


def save(path: Path, lines: list[Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def read(tmp_path: Path, *lines: Any) -> list[Trajectory | Problem]:
    path = save(tmp_path / "rollout.jsonl", [*lines])
    assert detect_format(path) == "codex"
    return read_file("codex", path)


def read_one(tmp_path: Path, *lines: Any) -> Trajectory:
    (item,) = read(tmp_path, *lines)
    assert isinstance(item, Trajectory), item
    return item


def lines_of(tmp_path: Path, *lines: Any) -> list[TrajectoryLine]:
    with SourceFile(save(tmp_path / "rollout.jsonl", [*lines])) as source:
        items = list(base.FORMAT.make(Choice("codex")).read(source))
    return [item for item in items if isinstance(item, TrajectoryLine)]


def told(trajectory: Trajectory) -> list[tuple[list[str], str, list[str]]]:
    """Of each step: the contents it saw, its content, and the arguments of its calls."""
    return [
        (
            [message.content for message in step.observation],
            step.response.content,
            [call.arguments for call in step.response.tool_calls],
        )
        for step in trajectory.steps
    ]


SIMPLE = [
    meta(),
    line("turn_context", cwd="/w", model="m", approval_policy="never"),
    said("user", "list the files"),
    thought("ls will do", encrypted_content="x"),
    call("c1", "ls"),
    output("c1", "a.txt"),
    said("assistant", "a.txt"),
]


def test_a_rollout_is_read_with_its_calls_results_and_reasoning(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, *SIMPLE)
    assert told(trajectory) == [
        (["list the files"], "", ['{"cmd": "ls"}']),
        (["a.txt"], "a.txt", []),
    ]
    first, second = trajectory.steps
    assert first.response.reasoning == "ls will do"
    assert first.response.tool_calls[0].id == second.observation[0].tool_call_id == "c1"
    assert trajectory.task.id == SESSION
    assert trajectory.source.details == {"cwd": "/w", "cli_version": "0.90.0", "model": "m"}


def test_reasoning_message_and_parallel_calls_of_one_generation_are_one_step(
    tmp_path: Path,
) -> None:
    lines = [
        thought("one", "two"),
        said("assistant", "I look."),
        call("a", "ls"),
        call("b", "pwd"),
        output("b", "/w"),
        output("a", "x"),
        said("assistant", "Done."),
    ]
    trajectory = read_one(tmp_path, meta(), said("user", "go"), *lines)
    assert told(trajectory) == [
        (["go"], "I look.", ['{"cmd": "ls"}', '{"cmd": "pwd"}']),
        (["x", "/w"], "Done.", []),
    ]
    assert trajectory.steps[0].response.reasoning == "one\n\ntwo"


def test_the_sessions_of_2025_with_bare_items_are_read(tmp_path: Path) -> None:
    first = {"id": SESSION, "timestamp": "t", "instructions": "Be kind.", "git": {"branch": "b"}}
    repeated = "<user_instructions>\n\nBe kind.\n\n</user_instructions>"
    bare = [each["payload"] for each in (said("user", repeated), *SIMPLE[2:])]
    trajectory = read_one(tmp_path, first, {"record_type": "state"}, *bare)
    assert told(trajectory)[0][0] == [repeated, "list the files"]
    assert len(trajectory.steps) == 2
    assert trajectory.source.details == {"branch": "b"}
    (found,) = lines_of(tmp_path, first, *bare)
    assert found.unread == ()


def test_base_instructions_are_the_system_prompt_and_developers_speak_after_it(
    tmp_path: Path,
) -> None:
    first = meta(base_instructions={"text": "You are Codex."})
    trajectory = read_one(tmp_path, first, said("developer", "Sandboxed."), *SIMPLE[2:])
    assert [(message.role, message.content) for message in trajectory.prompt] == [
        ("system", "You are Codex."),
        ("system", "Sandboxed."),
    ]


def test_instructions_that_no_item_repeats_are_reported(tmp_path: Path) -> None:
    (found,) = lines_of(tmp_path, meta(instructions="Be kind."), *SIMPLE[1:])
    assert found.unread == ("payload.instructions",)


CALLS = [
    (
        {"type": "custom_tool_call", "name": "apply_patch", "call_id": "c", "input": "*** Begin"},
        ("apply_patch", '{"input": "*** Begin"}'),
    ),
    (
        {
            "type": "local_shell_call",
            "call_id": "c",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"]},
        },
        ("local_shell", '{"type": "exec", "command": ["ls"]}'),
    ),
    (
        {"type": "function_call", "name": "look", "namespace": "mcp__s__", "arguments": "{}"},
        ("mcp__s__look", "{}"),
    ),
    (
        {"type": "function_call", "name": "look", "namespace": "eyes", "arguments": {"a": 1}},
        ("eyes.look", '{"a": 1}'),
    ),
    (
        {"type": "tool_search_call", "call_id": "c", "arguments": {"query": "q"}},
        ("tool_search", '{"query": "q"}'),
    ),
    (
        {"type": "web_search_call", "status": "completed", "action": {"query": "q"}},
        ("web_search", '{"query": "q"}'),
    ),
]


@pytest.mark.parametrize(("item", "expected"), CALLS)
def test_every_kind_of_call_keeps_its_name_and_arguments(
    tmp_path: Path, item: dict[str, Any], expected: tuple[str, str]
) -> None:
    given = [meta(), said("user", "go"), line("response_item", **item), said("user", "on")]
    trajectory = read_one(tmp_path, *given, said("assistant", "Done."))
    (call_,) = trajectory.steps[0].response.tool_calls
    assert (call_.name, call_.arguments) == expected


def test_a_search_by_the_service_ends_a_step_and_its_missing_result_is_a_remark(
    tmp_path: Path,
) -> None:
    search = line("response_item", type="web_search_call", action={"query": "q"})
    lines = [meta(), said("user", "go"), search, said("assistant", "Found.")]
    trajectory = read_one(tmp_path, *lines)
    assert [step.response.content for step in trajectory.steps] == ["", "Found."]
    (found,) = lines_of(tmp_path, *lines)
    assert (0, "the service executed web_search; what it returned is not recorded") in found.remarks


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text", "text"),
        ([{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}], "ab"),
        ({"type": "input_text", "text": "a"}, "a"),
        ({"content": "a", "success": True}, "a"),
        ([{"type": "input_image", "image_url": "data:"}], "[image]"),
        ({"stdout": "a", "code": 0}, '{"stdout": "a", "code": 0}'),
        (7, "7"),
        (None, ""),
    ],
)
def test_a_result_is_read_in_every_form(tmp_path: Path, given: Any, expected: str) -> None:
    lines = [meta(), said("user", "go"), call("c", "ls"), output("c", given)]
    assert read_one(tmp_path, *lines).final_observation[0].content == expected


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"type": "function_call", "name": "f", "argument": "{}"}, "no 'arguments'"),
        ({"type": "custom_tool_call", "name": "f", "inputs": "x"}, "no 'input'"),
        ({"type": "function_call_output", "call_id": "c", "outputs": "x"}, "no 'output'"),
        ({"type": "message", "role": "assistant", "contents": "x"}, "no 'content'"),
        ({"type": "message", "role": "assistant", "content": [{"type": "new"}]}, "'new'"),
        ({"type": "reasoning", "summaries": [{"text": "x"}]}, "no 'summary'"),
        ({"type": "reasoning", "summary": [{"words": "x"}]}, "without a text"),
        ({"type": "new_call", "name": "f"}, "'new_call' is not known"),
    ],
)
def test_a_field_or_type_that_is_not_known_makes_the_session_a_problem(
    tmp_path: Path, item: dict[str, Any], reason: str
) -> None:
    (problem,) = read(tmp_path, *SIMPLE, line("response_item", **item))
    assert isinstance(problem, Problem)
    assert reason in problem.reason
    assert "(line 8)" in problem.where


def test_events_that_repeat_items_are_not_read_and_others_are_counted(tmp_path: Path) -> None:
    events = [
        event("agent_reasoning", text="ls will do"),
        event("user_message", message="list the files"),
        event("exec_command_end", call_id="c1", stdout="a.txt and more", exit_code=0),
        event("token_count", info={"total": 5}),
    ]
    (found,) = lines_of(tmp_path, *SIMPLE, *events)
    assert (found.unread, found.remarks) == ((), [])
    events += [event("agent_message", message="only here"), event("new_event", words="x")]
    (found,) = lines_of(tmp_path, *SIMPLE, *events)
    assert found.unread == ("payload.words",)
    assert found.remarks == [
        (-1, "1 texts in events of type 'agent_message' stand in no item and are left out")
    ]


def test_encrypted_reasoning_is_a_remark_on_its_step(tmp_path: Path) -> None:
    lines = [meta(), said("user", "go"), thought(encrypted_content="x"), said("assistant", "Hi.")]
    (found,) = lines_of(tmp_path, *lines)
    assert found.remarks == [(0, "encrypted reasoning is not carried over")]


def test_after_a_compaction_the_context_is_what_the_agent_had(tmp_path: Path) -> None:
    kept = [said("user", "list the files")["payload"], said("user", "Summary: listed.")["payload"]]
    compaction = line("compacted", message="Summary: listed.", replacement_history=kept)
    more = [said("user", "and now?"), said("assistant", "Nothing.")]
    first, second = read(tmp_path, *SIMPLE, compaction, *more)
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert len(first.steps) == 2
    assert [message.content for message in second.prompt] == ["list the files", "Summary: listed."]
    assert told(second) == [(["and now?"], "Nothing.", [])]
    assert first.id != second.id


def test_a_session_that_ends_with_a_compaction_is_read_and_says_so(tmp_path: Path) -> None:
    (found,) = lines_of(tmp_path, *SIMPLE, line("compacted", message="S"), said("user", "bye"))
    assert found.num_steps == 2
    assert found.remarks == [(-1, "2 lines after the last compaction, with no step, are left out")]


def test_an_older_compaction_keeps_the_messages_of_the_user_and_adds_the_summary(
    tmp_path: Path,
) -> None:
    more = [said("user", "and now?"), said("assistant", "Nothing.")]
    first = meta(base_instructions={"text": "You are Codex."})
    lines = [first, *SIMPLE[1:], line("compacted", message="S1"), *more]
    _, second = read(tmp_path, *lines)
    assert isinstance(second, Trajectory)
    assert [message.content for message in second.prompt] == [
        "You are Codex.",
        "list the files",
        "S1",
    ]
    *_, third = read(tmp_path, *lines, line("compacted", message="S2"), *more)
    assert isinstance(third, Trajectory)
    assert [message.content for message in third.prompt] == [
        "You are Codex.",
        "list the files",
        "and now?",
        "S2",
    ]
    assert any("was built from" in text for _, text in lines_of(tmp_path, *lines)[1].remarks)


def test_a_compaction_of_which_nothing_is_recorded_is_a_problem(tmp_path: Path) -> None:
    items = read(tmp_path, *SIMPLE, line("compacted", summary="S"), said("assistant", "Hi."))
    assert [type(item) for item in items] == [Trajectory, Problem]


def test_turns_that_were_rolled_back_are_left_out_and_counted(tmp_path: Path) -> None:
    wrong = [said("user", "wrong"), call("c2", "rm"), output("c2", "gone"), said("assistant", "?")]
    lines = [*SIMPLE, *wrong, event("thread_rolled_back", num_turns=1)]
    lines += [said("user", "right"), said("assistant", "Yes.")]
    trajectory = read_one(tmp_path, *lines)
    assert told(trajectory)[-1] == (["right"], "Yes.", [])
    assert len(trajectory.steps) == 3
    (found,) = lines_of(tmp_path, *lines)
    assert found.remarks == [(-1, "2 steps that the user rolled back are left out")]


def test_what_a_fork_copied_is_the_prompt(tmp_path: Path) -> None:
    copied = [line("turn_context", turn_id=EARLIER, model="m"), *SIMPLE[2:]]
    own = [line("turn_context", turn_id=LATER, model="m"), said("user", "on")]
    first = meta(forked_from_id=EARLIER)
    trajectory = read_one(tmp_path, first, meta(EARLIER), *copied, *own, said("assistant", "Yes."))
    assert told(trajectory) == [(["on"], "Yes.", [])]
    assert len(trajectory.prompt) == 4
    of_fork = [meta(EARLIER, forked_from_id="a"), meta("a"), *copied]
    again = read_one(tmp_path, first, *of_fork, *own, said("assistant", "Yes."))
    assert told(again) == told(trajectory)
    assert trajectory.source.details["parent"] == EARLIER


def test_a_fork_that_does_not_tell_its_copies_says_so(tmp_path: Path) -> None:
    lines = [meta("b", forked_from_id="a"), meta("a"), *SIMPLE[1:]]
    (found,) = lines_of(tmp_path, *lines)
    assert found.num_steps == 2
    assert any("copied" in text for _, text in found.remarks)


def test_a_sub_agent_names_its_parent_and_messages_of_agents_are_seen(tmp_path: Path) -> None:
    source = {"subagent": {"thread_spawn": {"parent_thread_id": "p", "depth": 1}}}
    content = [{"type": "input_text", "text": "Count."}]
    sent = line("response_item", type="agent_message", author="/root", content=content)
    trajectory = read_one(tmp_path, meta(source=source), sent, said("assistant", "One."))
    assert trajectory.steps[0].observation[0].content == "Count."
    assert trajectory.steps[0].observation[0].role == "user"
    assert trajectory.source.details["parent"] == "p"


def test_the_last_turn_may_be_aborted_or_fail(tmp_path: Path) -> None:
    aborted = read_one(tmp_path, *SIMPLE, event("turn_aborted", reason="interrupted"))
    assert (aborted.outcome.status, aborted.outcome.reason) == (
        "unknown",
        "the last turn was aborted (interrupted)",
    )
    failed = read_one(tmp_path, *SIMPLE, event("error", message="no quota"))
    assert (failed.outcome.status, failed.outcome.reason) == ("error", "no quota")
    recovered = read_one(tmp_path, *SIMPLE, event("error", message="x"), said("assistant", "Hi."))
    assert recovered.outcome.status == "unknown"


def test_several_sessions_in_a_file_are_apart(tmp_path: Path) -> None:
    items = read(tmp_path, *SIMPLE, meta("other"), *SIMPLE[2:])
    assert [item.task.id for item in items if isinstance(item, Trajectory)] == [SESSION, "other"]


def test_tools_of_a_client_are_tools(tmp_path: Path) -> None:
    tool = {"type": "function", "name": "look", "description": "Look.", "inputSchema": {"a": {}}}
    group = {"type": "namespace", "name": "eyes", "description": "", "tools": [tool]}
    (found,) = read_one(tmp_path, meta(dynamic_tools=[group]), *SIMPLE[1:]).tools
    function = {"name": "eyes.look", "description": "Look.", "parameters": {"a": {}}}
    assert found == {"type": "function", "function": function}


def item(id: str, kind: str, what: str = "completed", **fields: Any) -> Line:
    return {"type": f"item.{what}", "item": {"id": id, "type": kind, **fields}}


EXEC = [
    {"type": "thread.started", "thread_id": "t1"},
    {"type": "turn.started"},
    item("i0", "reasoning", text="Look first."),
    item("i1", "command_execution", "started", command="ls", status="in_progress"),
    item(
        "i1",
        "command_execution",
        command="ls",
        aggregated_output="a\n",
        exit_code=0,
        status="completed",
    ),
    item("i2", "agent_message", text="One file."),
    {"type": "turn.completed", "usage": {"input_tokens": 5}},
]


def test_the_stream_of_exec_is_read_and_says_that_it_has_no_prompt(tmp_path: Path) -> None:
    trajectory = read_one(tmp_path, *EXEC)
    first, second = trajectory.steps
    assert first.response.reasoning == "Look first."
    (call_,) = first.response.tool_calls
    assert (call_.name, call_.arguments) == ("command_execution", '{"command": "ls"}')
    assert second.observation[0].content == '{"aggregated_output": "a\\n", "exit_code": 0}'
    assert second.response.content == "One file."
    assert trajectory.task.id == "t1"
    (found,) = lines_of(tmp_path, *EXEC)
    assert (0, "the stream of 'codex exec' does not hold the prompt") in found.remarks
    assert found.unread == ()


def test_every_item_of_exec_is_carried_over(tmp_path: Path) -> None:
    change = [{"path": "a", "kind": "add"}]
    todo = [{"text": "look", "completed": False}]
    result = {"content": [{"type": "text", "text": "sunny"}], "structured_content": None}
    shown = {"content": [], "structured_content": {"sky": "blue"}}
    lines = [
        *EXEC[:2],
        item("t", "todo_list", "started", items=todo),
        item("f", "file_change", changes=change, status="completed"),
        item(
            "m",
            "mcp_tool_call",
            server="s",
            tool="weather",
            arguments={"city": "x"},
            result=result,
            status="completed",
        ),
        item("n", "mcp_tool_call", server="s", tool="sky", arguments=None, result=shown),
        item("o", "mcp_tool_call", server="s", tool="sea", arguments={}, error={"message": "no"}),
        item("w", "web_search", query="q"),
        item("e", "error", message="slow network"),
        item("t", "todo_list", items=todo),
        item("i2", "agent_message", text="Sunny."),
    ]
    trajectory = read_one(tmp_path, *lines)
    calls = [call for step in trajectory.steps for call in step.response.tool_calls]
    assert [(call.name, call.arguments) for call in calls] == [
        ("todo_list", json.dumps({"items": todo})),
        ("file_change", json.dumps({"changes": change})),
        ("mcp__s__weather", '{"city": "x"}'),
        ("mcp__s__sky", "{}"),
        ("mcp__s__sea", "{}"),
        ("web_search", '{"query": "q"}'),
    ]
    seen = [message.content for step in trajectory.steps for message in step.observation]
    assert seen == ['{"status": "completed"}', "sunny", json.dumps(shown), '{"message": "no"}']
    (found,) = lines_of(tmp_path, *lines)
    assert found.unread == ()


def test_parallel_commands_of_exec_are_one_step(tmp_path: Path) -> None:
    started = [item(id, "command_execution", "started", command=id) for id in ("a", "b")]
    ended = [
        item(id, "command_execution", command=id, aggregated_output=id, exit_code=0)
        for id in ("b", "a")
    ]
    trajectory = read_one(tmp_path, EXEC[0], *started, *ended, EXEC[-2])
    assert [len(step.response.tool_calls) for step in trajectory.steps] == [2, 0]
    assert [message.tool_call_id for message in trajectory.steps[1].observation] == ["a", "b"]


def test_a_failed_turn_of_exec_is_an_error_and_an_unknown_item_a_problem(tmp_path: Path) -> None:
    failed = {"type": "turn.failed", "error": {"message": "no quota"}}
    assert read_one(tmp_path, *EXEC[:-1], failed).outcome.reason == "no quota"
    stopped = {"type": "error", "message": "no network"}
    assert read_one(tmp_path, *EXEC[:-1], stopped).outcome.reason == "no network"
    (problem,) = read(tmp_path, *EXEC, item("n", "new_item", text="x"))
    assert isinstance(problem, Problem)
    assert "'new_item'" in problem.reason


@pytest.mark.skipif(not CASES.exists(), reason="the folder of import cases is not here")
def test_the_import_case_is_read() -> None:
    path = CASES / "refused" / "codex_rollout.jsonl"
    (trajectory,) = read_file(detect_format(path), path)
    assert isinstance(trajectory, Trajectory)
    assert told(trajectory) == [
        (["list the files"], "", ['{"cmd":"ls"}']),
        (["a.txt"], "a.txt", []),
    ]
    assert trajectory.steps[0].response.reasoning == "ls will do"
