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
from tests.format_examples.smolagents import action
from tests.source_files import detect_format, matches, read_file

TASK = {"task": "How is the weather?", "task_images": None}
FINAL = "final_answer('sunny')"
CODE = "Thought: I ask.\n<code>\nprint(weather('Rome'))\n</code>"


def part(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


def code_call(code: str) -> list[dict[str, Any]]:
    function = {"name": "python_interpreter", "arguments": code}
    return [{"id": "call_1", "type": "function", "function": function}]


def calls(*given: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id_, name, arguments in given
    ]


FIRST_INPUT = [
    {"role": "system", "content": part("You write code.")},
    {"role": "user", "content": part("New task:\nHow is the weather?")},
]
SECOND_INPUT = [
    *FIRST_INPUT,
    {"role": "assistant", "content": part(CODE)},
    {"role": "tool-call", "content": part(f"Calling tools:\n{code_call('print()')}")},
    {"role": "tool-response", "content": part("Observation:\nsunny")},
]
STEPS = [
    TASK,
    action(
        1,
        CODE,
        "sunny",
        model_input_messages=FIRST_INPUT,
        tool_calls=code_call("print(weather('Rome'))"),
        code_action="print(weather('Rome'))",
    ),
    action(2, "It is sunny there.", None, model_input_messages=SECOND_INPUT),
]


def read(tmp_path: Path, value: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "memory.json"
    path.write_text(json.dumps(value))
    return read_file("smolagents", path)


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    [item] = read(tmp_path, value)
    assert isinstance(item, Trajectory), item
    return item


def shown(trajectory: Trajectory) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in (*trajectory.messages, *trajectory.final_observation)]


def remarks(tmp_path: Path, value: Any) -> list[tuple[int, str]]:
    path = tmp_path / "memory.json"
    path.write_text(json.dumps(value))
    with SourceFile(path) as source:
        items = list(base.FORMAT.make(Choice("smolagents")).read(source))
    return [one for item in items if isinstance(item, TrajectoryLine) for one in item.remarks]


@pytest.mark.parametrize("form", ["list", "lines", "result", "row"])
def test_steps_are_read_with_what_the_model_saw(tmp_path: Path, form: str) -> None:
    path = tmp_path / "memory.json"
    values = {
        "list": json.dumps(STEPS),
        "lines": "\n".join(map(json.dumps, STEPS)),
        "result": json.dumps({"output": "sunny", "state": "success", "steps": STEPS}),
        "row": json.dumps({"task_id": "t1", "intermediate_steps": STEPS}),
    }
    path.write_text(values[form])
    assert detect_format(path) == "smolagents"
    [trajectory] = read_file("smolagents", path)
    assert isinstance(trajectory, Trajectory)
    assert shown(trajectory) == [
        ("system", "You write code."),
        ("user", "New task:\nHow is the weather?"),
        ("assistant", CODE),
        ("user", "Observation:\nsunny"),
        ("assistant", "It is sunny there."),
    ]
    # The code stands in the text, so it is the action and no call.
    assert trajectory.steps[0].response.tool_calls == ()
    assert trajectory.steps[0].action == "print(weather('Rome'))"
    assert trajectory.task.goal == "How is the weather?"


def test_succinct_steps_have_what_they_hold(tmp_path: Path) -> None:
    steps = [{k: v for k, v in step.items() if k != "model_input_messages"} for step in STEPS]
    assert shown(read_good(tmp_path, steps)) == [
        ("user", "How is the weather?"),
        ("assistant", CODE),
        ("user", "sunny"),
        ("assistant", "It is sunny there."),
    ]


def test_calls_that_the_model_wrote_are_calls_and_one_result_has_its_id(tmp_path: Path) -> None:
    one = calls(("c1", "weather", {"city": "Rome"}))
    two = calls(("c2", "weather", {"city": "Oslo"}), ("c3", "time", {}))
    steps = [
        TASK,
        action(1, None, "sunny", tool_calls=one, model_output_message=answer(None, one)),
        action(2, "Both.", "cold\nnoon", tool_calls=two, model_output_message=answer("Both.", two)),
        # A call of a tool that does not exist is only in the message of the model.
        action(
            3,
            None,
            None,
            model_output_message=answer(None, calls(("c4", "nothing", {"a": 1}))),
            error={"type": "AgentToolExecutionError", "message": "Unknown tool nothing."},
        ),
    ]
    trajectory = read_good(tmp_path, steps)
    made = [[(c.id, c.name, c.arguments) for c in s.response.tool_calls] for s in trajectory.steps]
    assert made == [
        [("c1", "weather", '{"city": "Rome"}')],
        [("c2", "weather", '{"city": "Oslo"}'), ("c3", "time", "{}")],
        [("c4", "nothing", '{"a": 1}')],
    ]
    assert [
        (m.role, m.tool_call_id, m.content) for s in trajectory.steps[1:] for m in s.observation
    ] == [("tool", "c1", "sunny"), ("user", None, "cold\nnoon")]
    [last] = trajectory.final_observation
    assert (last.role, last.tool_call_id, last.content) == ("tool", "c4", "Unknown tool nothing.")


def answer(content: str | None, tool_calls: list[Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": tool_calls, "raw": None}


def test_a_plan_and_a_last_answer_have_prompts_of_their_own_which_is_said(tmp_path: Path) -> None:
    plan = {
        "model_input_messages": [{"role": "user", "content": part("Plan this.")}],
        "model_output_message": answer("1. Ask.", []),
        "plan": "Here is the plan:\n1. Ask.",
        "timing": {},
    }
    last = action(
        2,
        None,
        None,
        error={"type": "AgentMaxStepsError", "message": "Reached max steps."},
        action_output="Probably sunny.",
    )
    row = {"steps": [TASK, plan, STEPS[1], last], "state": "max_steps_error"}
    trajectory = read_good(tmp_path, row)
    said = [step.response.content for step in trajectory.steps]
    assert said == ["1. Ask.", CODE, "Probably sunny."]
    assert trajectory.outcome.status == "truncated"
    told = [index for index, text in remarks(tmp_path, row) if "prompt of its own" in text]
    assert told == [0, 2]


def test_messages_of_a_memory_tell_calls_in_words(tmp_path: Path) -> None:
    told = calls(("c1", "weather", {"city": "Rome"}))
    messages = [
        {"role": "system", "content": part("You use tools.")},
        {"role": "user", "content": part("New task:\nq")},
        {"role": "assistant", "content": part("I ask.")},
        {"role": "tool-call", "content": part(f"Calling tools:\n{told}")},
        {"role": "tool-response", "content": part("Observation:\nsunny")},
        {"role": "assistant", "content": part(f"So:\n{FINAL}")},
        {"role": "tool-call", "content": part(f"Calling tools:\n{code_call(FINAL)}")},
    ]
    row = {"task_id": "t1", "intermediate_steps": messages}
    assert matches("smolagents", row)
    trajectory = read_good(tmp_path, row)
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.id, call.name, call.arguments) == ("c1", "weather", '{"city": "Rome"}')
    assert trajectory.steps[1].observation[0].content == "Observation:\nsunny"
    # This call is the code that stands in the text.
    assert trajectory.steps[1].response.tool_calls == ()
    broken = [*messages[:3], {"role": "tool-call", "content": part("Calling tools:\n[oops")}]
    [problem] = read(tmp_path, {"intermediate_steps": broken})
    assert isinstance(problem, Problem)
    assert "tool-call" in problem.reason


def test_a_step_of_an_unknown_kind_is_named(tmp_path: Path) -> None:
    [problem] = read(tmp_path, [TASK, STEPS[1], {"novel": "Hm."}])
    assert isinstance(problem, Problem)
    assert "novel" in problem.reason


def test_other_rows_are_not_taken_for_a_memory() -> None:
    rows: list[Any] = [
        {"task": "t"},
        {"steps": [{"source": "user", "message": "x"}], "schema_version": "ATIF-v1.7"},
        {"steps": [{"observation": [], "response": {}}]},
        {"messages": [{"role": "tool-call", "content": "x"}]},
        {"intermediate_steps": []},
        None,
    ]
    for row in rows:
        assert not matches("smolagents", row)
