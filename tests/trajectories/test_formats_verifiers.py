from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats import base
from atlas.trajectories.formats.base import formats_of
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.format_examples.rl import call_text, trace_row
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[2] / "../shared/data/import_cases"
import_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason="the folder shared/data/import_cases is not beside the repository"
)
PROMPT = [{"role": "system", "content": "Use tools."}, {"role": "user", "content": "2 + 3?"}]
CALL = {
    "role": "assistant",
    "content": "",
    "reasoning_content": "I add.",
    "tool_calls": [call_text("c1", "add", a=2, b=3)],
}
RESULT = {"role": "tool", "content": "5", "tool_call_id": "c1"}
ANSWER = {"role": "assistant", "content": "It is 5."}


def rollout(**fields: Any) -> dict[str, Any]:
    return {
        "example_id": 3,
        "prompt": PROMPT,
        "completion": [CALL, RESULT, ANSWER],
        "answer": "5",
        "reward": 1.0,
        "task": "default",
        "info": {"oai_tools": [{"type": "function", "function": {"name": "add", "strict": None}}]},
        **fields,
    }


def read(tmp_path: Path, *rows: Any, **settings: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert detect_format(path) == "verifiers"
    if not settings:
        return read_file("verifiers", path)
    with SourceFile(path) as source:
        format_ = base.FORMAT.make(Choice("verifiers", settings))
        return [Trajectory.model_validate(_plain(item)) for item in format_.read(source)]


def _plain(item: Any) -> Any:
    return json.loads(item.line) if hasattr(item, "line") else item.model_dump()


def only(items: list[Trajectory | Problem]) -> Trajectory:
    assert len(items) == 1
    assert isinstance(items[0], Trajectory), items[0]
    return items[0]


def reason(items: list[Trajectory | Problem]) -> str:
    assert len(items) == 1
    assert isinstance(items[0], Problem)
    return items[0].reason


def test_calls_that_are_texts_are_calls(tmp_path: Path) -> None:
    trajectory = only(read(tmp_path, rollout()))
    assert [message.role for message in trajectory.prompt] == ["system"]
    first, last = trajectory.steps
    [call] = first.response.tool_calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("c1", "add", {"a": 2, "b": 3})
    assert first.response.reasoning == "I add."
    assert [(m.role, m.content, m.tool_call_id) for m in last.observation] == [("tool", "5", "c1")]
    assert last.response.content == "It is 5."
    assert trajectory.source.details["answer"] == "5"
    # A table adds nulls to schemas.
    assert trajectory.tools == ({"type": "function", "function": {"name": "add"}},)


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c1", "name": "add", "arguments": '{"a": 2}'},
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}},
        '{"id": "c1", "name": "add", "arguments": "{\\"a\\": 2}"}',
    ],
)
def test_every_spelling_of_a_call_is_read(call: Any, tmp_path: Path) -> None:
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    trajectory = only(read(tmp_path, rollout(completion=[said])))
    [found] = trajectory.steps[0].response.tool_calls
    assert (found.name, json.loads(found.arguments)) == ("add", {"a": 2})


@pytest.mark.parametrize("call", ["not JSON", "[1]", 7, "null"])
def test_a_call_that_is_no_object_is_a_problem_that_names_the_message(
    call: Any, tmp_path: Path
) -> None:
    said = {"role": "assistant", "content": "", "tool_calls": [call]}
    [problem] = read(tmp_path, rollout(completion=[ANSWER, said]))
    assert isinstance(problem, Problem)
    assert problem.where.endswith("message 1")
    assert "a call in tool_calls" in problem.reason


def test_tools_stand_under_several_keys_also_as_text(tmp_path: Path) -> None:
    tool = {"name": "add", "parameters": {"type": "object", "default": None}}
    for fields in (
        {"tool_defs": [tool]},
        {"tool_defs": json.dumps([tool])},
        {"oai_tools": [tool]},
        {"info": json.dumps({"oai_tools": [tool]})},
    ):
        assert only(read(tmp_path, rollout(**fields))).tools == (tool,)
    assert "tool_defs is 'look'" in reason(read(tmp_path, rollout(tool_defs="look")))


def test_a_reward_counts_as_in_pass_at_k_and_the_rule_is_stored(tmp_path: Path) -> None:
    rows = [rollout(reward=reward, example_id=i) for i, reward in enumerate((0.49, 0.5, 2.15))]
    outcomes = [item.outcome for item in read(tmp_path, *rows) if isinstance(item, Trajectory)]
    assert [outcome.status for outcome in outcomes] == ["failure", "success", "success"]
    assert {outcome.reason for outcome in outcomes} == {"a reward of 0.5 or more counts as correct"}
    strict = read(tmp_path, *rows, success_at=2.0)
    assert [item.outcome.status for item in strict if isinstance(item, Trajectory)] == [
        "failure",
        "failure",
        "success",
    ]
    assert isinstance(strict[0], Trajectory)
    assert strict[0].source.details["success_at"] == 2.0


def test_only_successes_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(json.dumps(rollout(reward=reward)) for reward in (0.0, 1.0)))
    result = import_trajectories(
        ImportConfig(paths=[str(path)], only=["success"]), tmp_path / "imported"
    )
    assert result is not None
    lines = (tmp_path / "imported" / "trajectories.jsonl").read_text().splitlines()
    assert [json.loads(line)["outcome"]["score"] for line in lines] == [1.0]


@pytest.mark.parametrize(
    ("fields", "status", "part"),
    [
        ({"error": {"error": "ToolError", "message": "gone"}, "reward": 0.0}, "error", "gone"),
        ({"error": "ToolError('gone')"}, "error", "gone"),
        (
            {"is_truncated": True, "stop_condition": "max_turns_reached", "reward": 0.0},
            "truncated",
            "max_turns_reached",
        ),
        ({"is_truncated": True, "reward": 1.0}, "success", "cut short"),
        ({"reward": None}, "unknown", "no reward"),
    ],
)
def test_an_ending_that_is_not_the_agents_is_no_failure(
    fields: dict[str, Any], status: str, part: str, tmp_path: Path
) -> None:
    outcome = only(read(tmp_path, rollout(**fields))).outcome
    assert outcome.status == status
    assert outcome.reason is not None
    assert part in outcome.reason


def test_a_rollout_without_completion_is_a_problem(tmp_path: Path) -> None:
    nothing: list[Any] = [None, [], ""]
    for value in nothing:
        assert "no 'completion'" in reason(read(tmp_path, rollout(completion=value)))
    broken = rollout(completion=None, error={"error": "Timeout", "message": "slow"})
    assert "slow" in reason(read(tmp_path, broken))


def test_texts_are_a_prompt_and_an_answer(tmp_path: Path) -> None:
    trajectory = only(read(tmp_path, rollout(prompt="Once", completion=" upon", info={})))
    [step] = trajectory.steps
    assert [(m.role, m.content) for m in step.observation] == [("user", "Once")]
    assert step.response.content == " upon"


def test_messages_may_be_json_texts_as_in_a_table(tmp_path: Path) -> None:
    row = rollout(prompt=json.dumps(PROMPT), completion=json.dumps([CALL, RESULT, ANSWER]))
    assert only(read(tmp_path, row)).steps == only(read(tmp_path, rollout())).steps


def test_examples_in_the_prompt_are_no_steps(tmp_path: Path) -> None:
    prompt = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2 + 2?"},
    ]
    trajectory = only(read(tmp_path, rollout(prompt=prompt, completion=[ANSWER])))
    assert [message.content for message in trajectory.prompt] == ["1 + 1?", "2"]
    assert [message.content for message in trajectory.steps[0].observation] == ["2 + 2?"]


def step(prompt: list[Any], *said: Any) -> dict[str, Any]:
    tokens = {"prompt_ids": [1], "completion_ids": [2]}
    return {"prompt": prompt, "completion": [*said], "tokens": tokens, "reward": 1.0}


def test_model_calls_that_continue_each_other_are_one_trajectory(tmp_path: Path) -> None:
    calls = [step(PROMPT, CALL), step([*PROMPT, CALL, RESULT], ANSWER)]
    whole = only(read(tmp_path, rollout()))
    assert only(read(tmp_path, rollout(trajectory=calls))).steps == whole.steps
    assert only(read(tmp_path, rollout(trajectory=calls, completion=None))).steps == whole.steps
    # What the environment answered last stands only in the completion.
    bye = {"role": "user", "content": "Right."}
    row = rollout(trajectory=calls, completion=[CALL, RESULT, ANSWER, bye])
    assert [m.content for m in only(read(tmp_path, row)).final_observation] == ["Right."]


def test_a_context_that_was_rewritten_is_a_trajectory_of_its_own(tmp_path: Path) -> None:
    summary = [PROMPT[0], {"role": "user", "content": "So far: 2 + 3."}]
    calls = [step(PROMPT, CALL), step(summary, ANSWER)]
    first, second = read(tmp_path, rollout(trajectory=calls, completion=None))
    assert isinstance(first, Trajectory)
    assert isinstance(second, Trajectory)
    assert [len(first.steps), len(second.steps)] == [1, 1]
    assert second.steps[0].observation[0].content == "So far: 2 + 3."
    assert first.outcome == second.outcome
    assert first.id != second.id


def test_thinking_that_a_later_context_leaves_out_stays_in_the_response(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": "<think>Hm.</think>\nLeft."}
    seen = [*PROMPT, {"role": "assistant", "content": "Left."}, {"role": "user", "content": "Wall"}]
    row = rollout(trajectory=[step(PROMPT, thought), step(seen, ANSWER)], completion=None)
    trajectory = only(read(tmp_path, row))
    assert [s.response.content for s in trajectory.steps] == [thought["content"], "It is 5."]


def node(parent: int | None, role: str, text: str, sampled: bool = False) -> dict[str, Any]:
    return {"parent": parent, "message": {"role": role, "content": text}, "sampled": sampled}


def episode(*nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    row = trace_row([("a", "b")], 1)
    row["traces"][0] |= {"nodes": [*nodes], **fields}
    return row


FORK = (
    node(None, "system", "Rules."),
    node(0, "user", "Go."),
    node(1, "assistant", "Left.", sampled=True),
    node(2, "user", "Wall."),
    node(3, "assistant", "Up.", sampled=True),
    node(0, "user", "Summary: wall on the left."),
    node(5, "assistant", "Right.", sampled=True),
    node(3, "assistant", "Down.", sampled=True),
)


def test_each_path_of_a_trace_is_a_trajectory_and_each_answer_a_step_once(tmp_path: Path) -> None:
    items = read(tmp_path, episode(*FORK))
    said = [[s.response.content for s in t.steps] for t in items if isinstance(t, Trajectory)]
    assert said == [["Left.", "Up."], ["Right."], ["Down."]]
    assert isinstance(items[2], Trajectory)
    assert [m.content for m in items[2].prompt] == ["Rules.", "Go.", "Left."]
    assert [m.content for m in items[2].steps[0].observation] == ["Wall."]
    assert len({item.id for item in items if isinstance(item, Trajectory)}) == 3


def test_a_turn_that_no_model_wrote_is_not_trained(tmp_path: Path) -> None:
    given = node(3, "assistant", "Forced.")
    nodes = [*FORK[:4], given, node(4, "user", "Ok."), node(5, "assistant", "Up.", sampled=True)]
    trajectory = only(read(tmp_path, episode(*nodes)))
    scores = [s.annotation.score if s.annotation else 0 for s in trajectory.steps]
    assert scores == [1.0, 0, 1.0]


@pytest.mark.parametrize(
    ("fields", "status", "score"),
    [
        ({}, "success", 1.0),
        ({"rewards": {"a": 0.5, "b": 0.4}}, "failure", 0.9),
        ({"rewards": {"a": None}, "stop_condition": "max_turns"}, "truncated", None),
        ({"rewards": {}}, "unknown", None),
        ({"calls": [{"finish_reason": "length"}], "rewards": {"a": 0.0}}, "truncated", 0.0),
        ({"ok": False, "errors": [{"type": "E", "message": "gone"}]}, "error", 1.0),
        ({"errors": [{"type": "E", "message": "gone"}]}, "success", 1.0),
    ],
)
def test_the_outcome_of_a_trace_follows_its_weighted_rewards(
    fields: dict[str, Any], status: str, score: float | None, tmp_path: Path
) -> None:
    outcome = only(read(tmp_path, episode(*FORK[:3], **fields))).outcome
    assert (outcome.status, outcome.score) == (status, score)


@pytest.mark.parametrize("parent", [7, 1, -1, True, "0", 1.0])
def test_a_path_that_does_not_end_is_a_problem(parent: Any, tmp_path: Path) -> None:
    nodes = [*FORK[:1], {**node(0, "user", "Go."), "parent": parent}]
    assert "expected the number of an earlier node" in reason(read(tmp_path, episode(*nodes)))


def test_a_trace_of_very_many_paths_is_bounded(tmp_path: Path) -> None:
    chain = [node(index - 1 if index else None, "user", "x") for index in range(2000)]
    leaves = [node(1999, "assistant", "y", sampled=True) for _ in range(2000)]
    assert "the paths of the trace have more than" in reason(
        read(tmp_path, episode(*chain, *leaves))
    )


def test_an_episode_and_a_trace_are_told_from_content() -> None:
    whole = trace_row([("a", "b")], 1)
    episode_of_0_3 = {key: value for key, value in whole.items() if key != "task"}
    for row in (whole, episode_of_0_3, whole["traces"][0]):
        assert formats_of(row) == ["verifiers"]
    assert formats_of(rollout()) == ["verifiers"]


def test_an_episode_without_answers_is_a_problem_that_says_why(tmp_path: Path) -> None:
    told = {"errors": [{"type": "SandboxError", "message": "no box"}], "ok": False}
    assert "no box" in reason(read(tmp_path, episode(**told)))
    assert "no box" in reason(read(tmp_path, {**trace_row([], 1), "traces": [], **told}))
    assert "no box" in reason(read(tmp_path, {"id": "e", "env": {}, "traces": [], **told}))


def remarks(tmp_path: Path, row: Any, name: str = "verifiers") -> list[tuple[int, str]]:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    with SourceFile(path) as source:
        items = base.FORMAT.make(Choice(name)).read(source)
        return [one for item in items if isinstance(item, TrajectoryLine) for one in item.remarks]


def test_an_answer_that_its_length_ended_is_named(tmp_path: Path) -> None:
    cut = {**step([*PROMPT, CALL, RESULT], ANSWER), "is_truncated": True}
    row = rollout(trajectory=[step(PROMPT, CALL), cut])
    assert (1, "answer cut by length") in remarks(tmp_path, row)
    whole = episode(*FORK[:5], calls=[{"node": 4, "finish_reason": "length"}])
    assert (1, "answer cut by length") in remarks(tmp_path, whole)
    choice = {"index": 0, "finish_reason": "length", "message": ANSWER}
    art = {"messages_and_choices": [PROMPT[1], choice], "reward": 0.0}
    assert (0, "answer cut by length") in remarks(tmp_path, art, "art")
    text = "<|im_start|>user\nGo.<|im_end|>\n<|im_start|>assistant\n"
    dump = {"input": text, "output": "Lef", "score": 0.0, "step": 1}
    assert remarks(tmp_path, dump, "verl") == [(0, "answer cut by length")]


def test_words_under_a_key_that_is_not_known_are_a_problem(tmp_path: Path) -> None:
    said = {**ANSWER, "aside": "A word of the model."}
    assert "completion.aside" in reason(read(tmp_path, rollout(completion=[said])))
    call = step(PROMPT, {**ANSWER, "aside": "A word of the model."})
    lost = reason(read(tmp_path, rollout(completion=None, trajectory=[call])))
    assert "trajectory.completion.aside" in lost


@import_cases
def test_the_example_of_the_import_cases_has_its_call(tmp_path: Path) -> None:
    trajectory = only(read_file("verifiers", CASES / "refused/verifiers_calls_as_strings.jsonl"))
    [call] = trajectory.steps[0].response.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 2, "b": 3})
    assert trajectory.outcome.status == "success"
