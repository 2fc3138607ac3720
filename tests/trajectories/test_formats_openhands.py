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
from tests.format_examples.openhands import (
    action,
    observation,
    sdk_action,
    sdk_message,
    sdk_observation,
)
from tests.lost_content import silent_losses
from tests.source_files import detect_format, matches, read_file

CASES = Path(__file__).parents[3] / "shared" / "data" / "import_cases"

SYSTEM = {
    "id": 0,
    "source": "agent",
    "action": "system",
    "args": {
        "content": "You work in a terminal.",
        "tools": [{"type": "function", "function": {"name": "execute_bash"}}],
        "openhands_version": "0.40",
        "agent_class": "CodeActAgent",
    },
}


def message(id_: int, text: str, source: str = "user") -> dict[str, Any]:
    args = {"content": text, "image_urls": None, "wait_for_response": source == "agent"}
    return {"id": id_, "source": source, "message": text, "action": "message", "args": args}


def read(tmp_path: Path, value: Any, name: str = "openhands") -> list[Trajectory | Problem]:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(value))
    return read_file(name, path)


def read_good(tmp_path: Path, value: Any) -> list[Trajectory]:
    items = read(tmp_path, value)
    good = [item for item in items if isinstance(item, Trajectory)]
    assert len(good) == len(items), items
    return good


def remarks(tmp_path: Path, value: Any) -> list[tuple[int, str]]:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(value))
    with SourceFile(path) as source:
        items = list(base.FORMAT.make(Choice("openhands")).read(source))
    return [one for item in items if isinstance(item, TrajectoryLine) for one in item.remarks]


def shown(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in (*trajectory.messages, *trajectory.final_observation)]


EVENTS = [
    SYSTEM,
    message(1, "Fix the bug."),
    {"id": 2, "source": "user", "action": "recall", "args": {"query": "Fix the bug."}},
    {
        "id": 3,
        "source": "environment",
        "cause": 2,
        "observation": "recall",
        "content": "Added workspace context",
        "extras": {
            "recall_type": "workspace_context",
            "repo_instructions": "Use tabs.",
            "date": "2025-01-01",
            "microagent_knowledge": [{"name": "git", "trigger": "bug", "content": "Commit often."}],
        },
    },
    action(4, "c1", "I look around."),
    observation(5, "c1", "main.py"),
    {"id": 6, "source": "environment", "observation": "agent_state_changed", "content": ""},
    message(7, "All is well.", "agent"),
]


@pytest.mark.parametrize("form", ["list", "lines", "history", "trajectory", "text"])
def test_events_are_read_as_a_list_as_lines_and_in_a_row(tmp_path: Path, form: str) -> None:
    path = tmp_path / "run.json"
    row: Any = {"instance_id": "a__b-1"}
    if form == "lines":
        path.write_text("\n".join(map(json.dumps, EVENTS)))
    elif form == "list":
        path.write_text(json.dumps(EVENTS))
    elif form == "text":
        path.write_text(json.dumps({**row, "trajectory": json.dumps(EVENTS)}))
    else:
        path.write_text(json.dumps({**row, form: EVENTS}))
    assert detect_format(path) == "openhands"
    [trajectory] = read_file("openhands", path)
    assert isinstance(trajectory, Trajectory)
    assert shown(trajectory) == [
        ("system", "You work in a terminal."),
        ("user", "Fix the bug."),
        ("user", "date: 2025-01-01\n\nUse tabs.\n\nCommit often."),
        ("assistant", "I look around."),
        ("tool", "main.py"),
        ("assistant", "All is well."),
    ]
    assert [message.role for message in trajectory.prompt] == ["system"]
    assert [tool["function"]["name"] for tool in trajectory.tools] == ["execute_bash"]
    call = trajectory.steps[0].response.tool_calls[0]
    assert (call.id, call.name, json.loads(call.arguments)) == (
        "c1",
        "execute_bash",
        {"command": "ls"},
    )
    assert trajectory.steps[1].observation[0].tool_call_id == "c1"


def test_several_actions_of_one_answer_are_one_step(tmp_path: Path) -> None:
    both = action(2, "c1", "Both.", response="r1")
    answer = both["tool_call_metadata"]["model_response"]["choices"][0]["message"]
    second = action(4, "c2", "Both.", response="r1")
    calls = second["tool_call_metadata"]["model_response"]["choices"][0]["message"]["tool_calls"]
    answer["tool_calls"] += calls
    second["tool_call_metadata"]["model_response"] = both["tool_call_metadata"]["model_response"]
    events = [
        message(1, "Go."),
        both,
        observation(3, "c1", "one"),
        second,
        observation(5, "c2", "two"),
        message(6, "Done.", "agent"),
    ]
    [trajectory] = read_good(tmp_path, events)
    assert [len(step.response.tool_calls) for step in trajectory.steps] == [2, 0]
    assert [(m.tool_call_id, m.content) for m in trajectory.steps[1].observation] == [
        ("c1", "one"),
        ("c2", "two"),
    ]


def test_after_a_condensation_the_prompt_is_what_the_agent_still_had(tmp_path: Path) -> None:
    events = [
        SYSTEM,
        message(1, "Fix the bug."),
        action(2, "c1", "First."),
        observation(3, "c1", "one"),
        action(4, "c2", "Second."),
        observation(5, "c2", "two"),
        {
            "id": 6,
            "source": "agent",
            "action": "condensation",
            "args": {
                "forgotten_event_ids": None,
                "forgotten_events_start_id": 2,
                "forgotten_events_end_id": 4,
                "summary": "One was done.",
                "summary_offset": 2,
            },
        },
        action(7, "c3", "Third."),
        observation(8, "c3", "three"),
    ]
    before, after = read_good(tmp_path, events)
    assert [step.response.content for step in before.steps] == ["First.", "Second."]
    assert [step.response.content for step in after.steps] == ["Third."]
    # The result whose call was forgotten is not shown either.
    assert [(m.role, m.content) for m in after.prompt] == [
        ("system", "You work in a terminal."),
        ("user", "Fix the bug."),
        ("user", "One was done."),
    ]
    assert before.id != after.id


def test_a_summary_without_a_place_is_not_shown_and_replaces_none(tmp_path: Path) -> None:
    def condensation(id_: int, ids: list[int], summary: str | None, offset: int | None) -> Any:
        args = {"forgotten_event_ids": ids, "summary": summary, "summary_offset": offset}
        return {"id": id_, "source": "agent", "action": "condensation", "args": args}

    events = [
        SYSTEM,
        message(1, "Fix the bug."),
        action(2, "c1", "First."),
        observation(3, "c1", "one"),
        condensation(4, [2, 3], "One was done.", 2),
        action(5, "c2", "Second."),
        observation(6, "c2", "two"),
        condensation(7, [5, 6], "Nobody reads this.", None),
        action(8, "c3", "Third."),
        observation(9, "c3", "three"),
    ]
    *_, last = read_good(tmp_path, events)
    assert [m.content for m in last.prompt] == [
        "You work in a terminal.",
        "Fix the bug.",
        "One was done.",
    ]


def test_older_logs_without_answers_make_the_call_of_the_action_and_say_so(tmp_path: Path) -> None:
    history = [
        {"content": "Go.", "wait_for_response": False, "action": "message"},
        {
            "command": "ls",
            "thought": "I look.",
            "keep_prompt": True,
            "action": "run",
            "is_confirmed": "confirmed",
        },
        {
            "content": "a.py",
            "command_id": -1,
            "command": "ls",
            "exit_code": 0,
            "observation": "run",
        },
        {"outputs": {}, "thought": "Ready.", "action": "finish"},
    ]
    row = {"history": history, "success": True, "issue": {"title": "t"}, "git_patch": "diff"}
    [trajectory] = read_good(tmp_path, row)
    assert shown(trajectory) == [
        ("user", "Go."),
        ("assistant", "I look."),
        ("tool", "a.py"),
        ("assistant", "Ready."),
    ]
    calls = [step.response.tool_calls[0] for step in trajectory.steps]
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("run", {"command": "ls"}),
        ("finish", {"outputs": {}}),
    ]
    assert trajectory.outcome.status == "success"
    assert [index for index, _ in remarks(tmp_path, row)] == [0, 1]


def test_actions_and_observations_in_pairs_are_told_apart(tmp_path: Path) -> None:
    pairs = [
        [message(0, "Go."), {"observation": "null", "content": "", "extras": {}}],
        [action(1, "c1", "I look."), observation(2, "c1", "a.py")],
    ]
    [trajectory] = read_good(tmp_path, {"history": pairs, "instance_id": "a__b-1"})
    assert shown(trajectory) == [("user", "Go."), ("assistant", "I look."), ("tool", "a.py")]


def test_the_events_of_a_delegate_are_a_trajectory_of_their_own(tmp_path: Path) -> None:
    events = [
        message(0, "Go."),
        {
            "id": 1,
            "source": "agent",
            "action": "delegate",
            "args": {"agent": "Browser", "inputs": {"task": "Find it."}, "thought": "Ask."},
        },
        message(2, "TASK: Find it."),
        message(3, "Found it.", "agent"),
        {
            "id": 4,
            "source": "agent",
            "cause": 1,
            "observation": "delegate",
            "content": "",
            "extras": {"outputs": {"content": "It is in a.py."}},
        },
        message(5, "It is in a.py, I report.", "agent"),
    ]
    own, delegate = read_good(tmp_path, events)
    assert shown(own) == [
        ("user", "Go."),
        ("assistant", "Ask."),
        ("tool", "It is in a.py."),
        ("assistant", "It is in a.py, I report."),
    ]
    assert shown(delegate) == [("user", "TASK: Find it."), ("assistant", "Found it.")]
    assert delegate.source.details["delegate"] == "Browser"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"report": {"resolved": True}}, "success"),
        ({"test_result": {"git_patch": "", "report": {"resolved": False}}}, "failure"),
        ({"error": "AgentRuntimeError: container died"}, "error"),
        ({"error": "RuntimeError: Agent reached maximum iteration."}, "truncated"),
        ({"error": "stuck", "report": {"resolved": True}}, "success"),
        ({}, "unknown"),
    ],
)
def test_the_report_decides_the_outcome_and_else_the_error(
    tmp_path: Path, fields: dict[str, Any], status: str
) -> None:
    [trajectory] = read_good(tmp_path, {"instance_id": "a__b-1", "history": EVENTS, **fields})
    assert trajectory.outcome.status == status
    assert trajectory.outcome.reason
    assert trajectory.task.id == "a__b-1"


def test_an_answer_that_cannot_be_found_is_a_problem(tmp_path: Path) -> None:
    broken = action(1, "c1", "I look.")
    broken["tool_call_metadata"]["model_response"]["choices"] = []
    [problem] = read(tmp_path, [message(0, "Go."), broken])
    assert isinstance(problem, Problem)
    assert problem.where.endswith("message 1")
    assert "model_response" in problem.reason


SDK = [
    {
        "kind": "SystemPromptEvent",
        "id": "s",
        "source": "agent",
        "system_prompt": {"type": "text", "text": "You work in a terminal."},
        "dynamic_context": {"type": "text", "text": "The host is a laptop."},
        "tools": [{"type": "function", "function": {"name": "terminal"}}],
    },
    sdk_message("u", "user", "Fix the bug."),
    sdk_action("a1", "c1", "I look twice.", "g1"),
    sdk_action("a2", "c2", "", "g1"),
    sdk_observation("o1", "c1", "first.py"),
    {
        "kind": "AgentErrorEvent",
        "id": "o2",
        "source": "agent",
        "tool_name": "terminal",
        "tool_call_id": "c2",
        "error": "No such tool.",
    },
    {"kind": "ConversationStateUpdateEvent", "id": "x", "source": "environment", "key": "stats"},
    sdk_message("m", "agent", "All is well."),
]


def test_events_of_the_sdk_with_one_response_id_are_one_step(tmp_path: Path) -> None:
    [trajectory] = read_good(tmp_path, SDK)
    assert shown(trajectory) == [
        ("system", "You work in a terminal.The host is a laptop."),
        ("user", "Fix the bug."),
        ("assistant", "I look twice."),
        ("tool", "first.py"),
        ("tool", "No such tool."),
        ("assistant", "All is well."),
    ]
    first = trajectory.steps[0].response
    assert [call.id for call in first.tool_calls] == ["c1", "c2"]
    assert json.loads(first.tool_calls[0].arguments)["command"] == "ls"


def test_a_condensation_of_the_sdk_and_an_error_of_the_conversation(tmp_path: Path) -> None:
    condensation = {
        "kind": "Condensation",
        "id": "k",
        "source": "environment",
        "forgotten_event_ids": ["a1", "a2", "o1", "o2"],
        "summary": "Files were listed.",
        "summary_offset": 2,
        "llm_response_id": "g",
    }
    error = {
        "kind": "ConversationErrorEvent",
        "id": "z",
        "source": "environment",
        "code": "LLMError",
        "detail": "overloaded",
    }
    before, after = read_good(tmp_path, [*SDK[:6], condensation, SDK[7], error])
    assert [(m.role, m.content) for m in after.prompt] == [
        ("system", "You work in a terminal.The host is a laptop."),
        ("user", "Fix the bug."),
        ("user", "Files were listed."),
    ]
    assert [step.response.content for step in after.steps] == ["All is well."]
    assert (before.outcome.status, before.outcome.reason) == ("error", "LLMError: overloaded")


def test_reasoning_of_the_sdk_is_found_under_each_spelling(tmp_path: Path) -> None:
    spellings: list[dict[str, Any]] = [
        {"reasoning_content": "I wonder."},
        {"thinking_blocks": [{"type": "thinking", "thinking": "I wonder.", "signature": "x"}]},
        {"responses_reasoning_item": {"summary": ["I wonder."], "content": None}},
    ]
    for spelling in spellings:
        events = [SDK[1], {**sdk_action("a", "c", "", "g"), **spelling}]
        [trajectory] = read_good(tmp_path, events)
        assert trajectory.steps[0].response.reasoning == "I wonder."
    hidden = {"thinking_blocks": [{"type": "redacted_thinking", "data": "x"}]}
    told = remarks(tmp_path, [SDK[1], {**sdk_action("a", "c", "", "g"), **hidden}])
    assert any("left out" in text for _, text in told)


def test_a_branch_that_a_rewind_left_behind_is_counted(tmp_path: Path) -> None:
    events = [
        sdk_message("u", "user", "Go."),
        {**sdk_message("m1", "agent", "Wrong."), "parent_id": "u"},
        {**sdk_message("m2", "agent", "Right."), "parent_id": "u"},
    ]
    [trajectory] = read_good(tmp_path, events)
    assert shown(trajectory) == [("user", "Go."), ("assistant", "Right.")]
    assert (-1, "1 events that a rewind left behind") in remarks(tmp_path, events)


def test_an_event_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    events = [*SDK[:2], {"kind": "NovelEvent", "id": "n", "source": "agent", "text": "Hm."}]
    [problem] = read(tmp_path, events)
    assert isinstance(problem, Problem)
    assert "NovelEvent" in problem.reason


@pytest.mark.parametrize("events", [EVENTS, SDK], ids=["old", "sdk"])
def test_no_event_loses_content_in_silence(tmp_path: Path, events: list[Any]) -> None:
    assert silent_losses("openhands", [events], tmp_path / "x") == []


def test_other_logs_are_not_taken_for_events(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"trajectory": [{"action": "ls", "observation": "x", "response": "ls"}]},
        {"trajectory": [{"role": "user", "content": "x"}]},
        {"history": [{"role": "user", "content": "x"}]},
        {"action": "run"},
        {"kind": "ActionEvent"},
        [],
        None,
    ]
    for row in rows:
        assert not matches("openhands", row)


@pytest.mark.skipif(not CASES.is_dir(), reason="the example files are not here")
def test_the_example_file_is_read(tmp_path: Path) -> None:
    path = CASES / "refused" / "openhands_events.json"
    assert detect_format(path) == "openhands"
    [trajectory] = read_file("openhands", path)
    assert isinstance(trajectory, Trajectory)
    assert shown(trajectory) == [("user", "fix it"), ("assistant", "look"), ("tool", "a.py")]
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "execute_bash", '{"command":"ls"}')
    assert trajectory.final_observation[0].tool_call_id == "c1"


def test_an_answer_id_that_comes_again_later_is_another_answer(tmp_path: Path) -> None:
    def said(id_: str, text: str) -> dict[str, Any]:
        return {**sdk_message(id_, "agent", text), "llm_response_id": "r"}

    events = [
        sdk_message("u1", "user", "One?"),
        said("m1", "First."),
        sdk_message("u2", "user", "Two?"),
        said("m2", "Second."),
    ]
    [trajectory] = read_good(tmp_path, events)
    assert [step.response.content for step in trajectory.steps] == ["First.", "Second."]


def test_the_instruction_of_a_row_is_the_context_where_the_history_has_none(
    tmp_path: Path,
) -> None:
    history = [sdk_action("a", "c1", "I look.", "g1"), sdk_observation("o", "c1", "a.py")]
    row = {"instance_id": "a__b-1", "instruction": "Fix the bug.", "history": history}
    [trajectory] = read_good(tmp_path, row)
    assert shown(trajectory) == [
        ("user", "Fix the bug."),
        ("assistant", "I look."),
        ("tool", "a.py"),
    ]
    assert any("instruction" in text for _, text in remarks(tmp_path, row))


def test_earlier_observations_of_the_sdk_have_the_output_under_other_names(
    tmp_path: Path,
) -> None:
    seen = sdk_observation("o", "c1", "")
    seen["observation"] = {
        "kind": "ExecuteBashObservation",
        "output": "a.py",
        "command": "ls",
        "error": False,
        "metadata": {"exit_code": 0, "suffix": "\n[Exit code 0.]", "pid": -1},
    }
    events = [sdk_message("u", "user", "Go."), sdk_action("a", "c1", "I look.", "g1"), seen]
    [trajectory] = read_good(tmp_path, events)
    assert trajectory.final_observation[0].content == "a.py\n[Exit code 0.]"


def test_an_action_of_the_sdk_without_its_call_makes_the_call_and_says_so(tmp_path: Path) -> None:
    event = sdk_action("a", "c1", "I look.", "g1")
    del event["tool_call"]
    events = [sdk_message("u", "user", "Go."), event]
    [trajectory] = read_good(tmp_path, events)
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.id, call.name) == ("c1", "terminal")
    assert json.loads(call.arguments) == {"command": "ls", "is_input": False}
    assert any("made of the action" in text for _, text in remarks(tmp_path, events))


def test_a_run_without_events_names_its_error(tmp_path: Path) -> None:
    rows = [
        {"instance_id": "a__b-1", "history": EVENTS},
        {"instance_id": "a__b-2", "history": [], "error": "no container"},
    ]
    good, problem = read(tmp_path, rows)
    assert isinstance(good, Trajectory)
    assert isinstance(problem, Problem)
    assert "no container" in problem.reason


@pytest.mark.parametrize("is_sdk", [False, True])
def test_a_completion_log_with_calls_in_text_is_read_as_the_model_wrote_it(
    tmp_path: Path, is_sdk: bool
) -> None:
    said = "I look.\n<function=execute_bash>\n<parameter=command>ls</parameter>\n</function>"
    call = {"id": "c1", "type": "function", "function": {"name": "execute_bash", "arguments": "{}"}}
    written = {"id": "r", "choices": [{"message": {"role": "assistant", "content": said}}]}
    message = {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    parsed = {"id": "r", "choices": [{"message": message}]}
    messages = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Go."}]
    row: dict[str, Any] = {"messages": messages, "kwargs": {"temperature": 0}, "cost": 0.1}
    if is_sdk:
        row |= {"raw_messages": messages, "response": parsed, "raw_response": written}
    else:
        row |= {"fncall_messages": messages, "fncall_response": parsed, "response": written}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(row))
    assert detect_format(path) == "openhands"
    [trajectory] = read_file("openhands", path)
    assert isinstance(trajectory, Trajectory)
    assert shown(trajectory) == [("system", "Rules."), ("user", "Go."), ("assistant", said)]
    assert trajectory.steps[0].response.tool_calls == ()


@pytest.mark.parametrize("is_sdk", [False, True])
def test_a_conversation_stored_as_one_file_an_event_is_one_run(
    tmp_path: Path, is_sdk: bool
) -> None:
    events = SDK if is_sdk else EVENTS
    folder = tmp_path / "conversation" / "events"
    folder.mkdir(parents=True)
    # More than ten, so that the order of names is not that of numbers.
    for index, event in enumerate([*events, *([events[6]] * 5)]):
        name = f"event-{index:05}-ab12.json" if is_sdk else f"{index}.json"
        (folder / name).write_text(json.dumps(event))
    cache = folder.parent / "event_cache"
    cache.mkdir()
    (cache / "0-25.json").write_text(json.dumps(events))
    found = [read_file("openhands", path) for path in sorted(folder.iterdir())]
    [trajectory] = [item for items in found for item in items]
    assert isinstance(trajectory, Trajectory)
    [whole] = read_good(tmp_path, events)
    assert shown(trajectory) == shown(whole)
    assert read_file("openhands", cache / "0-25.json") == []
    state = {"agent": {}, "max_iterations": 9, "stuck_detection": True, "id": "1"}
    assert matches("openhands", state)
    assert read(tmp_path, state) == []


def test_a_call_of_an_agent_behind_acp_is_a_problem_with_a_next_step(tmp_path: Path) -> None:
    call = {"kind": "ACPToolCallEvent", "id": "x", "source": "agent", "title": "Edit a.py"}
    [problem] = read(tmp_path, [*SDK[:2], call])
    assert isinstance(problem, Problem)
    assert "Import the log of that agent" in problem.reason
