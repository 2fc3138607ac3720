"""Rollouts of rLLM, ART, verl and SkyRL."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Problem, Trajectory
from tests.source_files import detect_format, matches, read_file

CASES = Path(__file__).resolve().parents[2] / "../shared/data/import_cases/refused"
import_cases = pytest.mark.skipif(
    not CASES.is_dir(), reason="the folder shared/data/import_cases is not beside the repository"
)
ASK = {"role": "user", "content": "Go."}
SAID = {"role": "assistant", "content": "Left."}
SEEN = {"role": "user", "content": "A wall."}
LAST = {"role": "assistant", "content": "Up."}


def read(name: str, tmp_path: Path, *rows: Any) -> list[Trajectory | Problem]:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert detect_format(path) == name
    return read_file(name, path)


def only(items: list[Trajectory | Problem]) -> Trajectory:
    assert len(items) == 1
    assert isinstance(items[0], Trajectory), items[0]
    return items[0]


def reason(items: list[Trajectory | Problem]) -> str:
    assert len(items) == 1
    assert isinstance(items[0], Problem)
    return items[0].reason


def responses(items: list[Trajectory | Problem]) -> list[list[str]]:
    return [[s.response.content for s in t.steps] for t in items if isinstance(t, Trajectory)]


def step(*chat: Any, **fields: Any) -> dict[str, Any]:
    return {"chat_completions": [*chat], "reward": 0.0, "done": False, **fields}


def episode(*steps: Any, **fields: Any) -> dict[str, Any]:
    part = {"name": "agent", "reward": 0.5, "steps": [*steps]}
    return {"id": "t7:1", "is_correct": True, "trajectories": [part], **fields}


def test_steps_of_an_episode_are_merged(tmp_path: Path) -> None:
    row = episode(
        step(ASK, SAID, action="left", reward=0.25, thought="", model_response="Left."),
        step(ASK, SAID, SEEN, LAST, action={"action": "up"}, reward=1.0),
    )
    trajectory = only(read("rllm", tmp_path, row))
    assert [(s.response.content, s.action, s.reward) for s in trajectory.steps] == [
        ("Left.", "left", 0.25),
        ("Up.", "up", 1.0),
    ]
    assert (trajectory.task.id, trajectory.outcome.score) == ("t7", 0.5)
    assert trajectory.outcome.status == "success"
    assert trajectory.outcome.reason == "is_correct of the episode"


def test_thinking_comes_from_where_it_was_logged(tmp_path: Path) -> None:
    tagged = step(ASK, SAID, model_response="<think>Hm.</think>Left.")
    apart = step(ASK, SAID, thought="Hm.", model_response="Left.")
    [first] = only(read("rllm", tmp_path, episode(tagged))).steps
    [second] = only(read("rllm", tmp_path, episode(apart))).steps
    assert first.response.content == "<think>Hm.</think>Left."
    assert (second.response.content, second.response.reasoning) == ("Left.", "Hm.")


def test_an_answer_that_is_not_in_the_chat_is_read_beside_it(tmp_path: Path) -> None:
    call = {"id": "c1", "name": "go", "arguments": {"to": "left"}}
    rows = [
        episode(step(ASK, model_response="Left.")),
        episode(step(ASK, model_output={"content": "", "tool_calls": [call]})),
        episode({"input": [ASK], "output": "Left.", "chat_completions": []}),
    ]
    items = read("rllm", tmp_path, *rows)
    assert responses(items) == [["Left."], [""], ["Left."]]
    assert isinstance(items[1], Trajectory)
    [found] = items[1].steps[0].response.tool_calls
    assert json.loads(found.arguments) == {"to": "left"}
    assert "step 0 has no answer" in reason(read("rllm", tmp_path, episode(step(ASK))))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"is_correct": False}, "failure"),
        ({"is_correct": False, "termination_reason": "max_turns_exceeded"}, "truncated"),
        ({"is_correct": False, "termination_reason": "error"}, "error"),
        ({"is_correct": True, "termination_reason": "max_turns_exceeded"}, "success"),
        ({"is_correct": None}, "unknown"),
    ],
)
def test_the_episode_says_whether_it_succeeded(
    fields: dict[str, Any], status: str, tmp_path: Path
) -> None:
    row = episode(step(ASK, SAID), **fields)
    assert only(read("rllm", tmp_path, row)).outcome.status == status


def test_a_chat_that_starts_again_and_another_agent_are_trajectories_of_their_own(
    tmp_path: Path,
) -> None:
    row = episode(step(ASK, SAID), step(SEEN, LAST))
    row["trajectories"].append({"name": "judge", "steps": [step(SEEN, SAID)]})
    row["trajectories"].append({"name": "unused", "steps": []})
    items = read("rllm", tmp_path, row)
    assert responses(items) == [["Left."], ["Up."], ["Left."]]
    assert len({item.id for item in items if isinstance(item, Trajectory)}) == 3


def test_a_trajectory_without_its_episode_is_read(tmp_path: Path) -> None:
    row = {"task": "Go left.", "reward": 1.0, "steps": [step(ASK, SAID)]}
    trajectory = only(read("rllm", tmp_path, row))
    assert (trajectory.task.goal, trajectory.outcome.status) == ("Go left.", "unknown")


def choice(message: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": "stop", "message": message, **fields}


CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "go", "arguments": '{"to": 1}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "A wall."}


def art(*items: Any, **fields: Any) -> dict[str, Any]:
    return {"messages_and_choices": [*items], "reward": 0.5, "metrics": {}, **fields}


def test_choices_are_steps_and_other_answers_context(tmp_path: Path) -> None:
    row = art(
        ASK, SAID, SEEN, choice(CALL), RESULT, LAST, SEEN, choice(SAID), tools=[{"name": "go"}]
    )
    trajectory = only(read("art", tmp_path, row))
    assert [message.content for message in trajectory.prompt] == ["Go.", "Left."]
    assert [s.annotation.score if s.annotation else 0 for s in trajectory.steps] == [1.0, 0, 1.0]
    assert trajectory.steps[0].response.tool_calls[0].arguments == '{"to": 1}'
    assert trajectory.tools == ({"name": "go"},)
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("unknown", 0.5)


def test_without_choices_every_answer_is_a_step(tmp_path: Path) -> None:
    trajectory = only(read("art", tmp_path, art(ASK, SAID, SEEN, LAST)))
    assert [s.annotation for s in trajectory.steps] == [None, None]
    assert len(trajectory.steps) == 2


def test_groups_and_additional_histories_are_trajectories(tmp_path: Path) -> None:
    more = {"messages_and_choices": [SEEN, choice(LAST)], "tools": None}
    row = {
        "trajectories": [
            art(ASK, choice(SAID), additional_histories=[more]),
            art(ASK, choice(LAST)),
        ],
        "metadata": {"scenario_id": 4},
    }
    items = read("art", tmp_path, row)
    assert responses(items) == [["Left."], ["Up."], ["Up."]]
    assert {item.task.id for item in items if isinstance(item, Trajectory)} == {"4"}


CHATML = "<|im_start|>system\nRules.<|im_end|>\n<|im_start|>user\nGo.<|im_end|>\n"
LLAMA = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nRules.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nGo.<|eot_id|>"
)
OPEN, LLAMA_OPEN = "<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"
BACK = "<tool_response>\nA wall.\n</tool_response>"


def dump(seen: str, said: str, **fields: Any) -> dict[str, Any]:
    return {"input": seen, "output": said, "gts": "4", "score": 1.0, "step": 2, **fields}


@pytest.mark.parametrize(
    ("seen", "said", "expected"),
    [
        (CHATML + OPEN, "Left.<|im_end|>", ["Left."]),
        (CHATML + OPEN, "Left.", ["Left."]),
        (
            "<|endoftext|>" * 3 + CHATML + OPEN,
            "Left.<|im_end|>\n<|endoftext|><|endoftext|>",
            ["Left."],
        ),
        (CHATML + OPEN + "<think>\n", "Hm.\n</think>Left.", ["<think>\nHm.\n</think>Left."]),
        (LLAMA + LLAMA_OPEN, "Left.<|eot_id|>", ["Left."]),
        (
            "<bos><start_of_turn>user\nGo.<end_of_turn>\n<start_of_turn>model\n",
            "Left.<end_of_turn>\n",
            ["Left."],
        ),
        (
            CHATML + OPEN,
            f"Left.<|im_end|>\n<|im_start|>user\n{BACK}<|im_end|>\n{OPEN}Up.<|im_end|>",
            ["Left.", "Up."],
        ),
        ("system\nRules.\nuser\nGo.\nassistant\n", "Left.", ["Left."]),
        ("user\nGo.\nassistant\n", f"Left.\nuser\n{BACK}\nassistant\nUp.", ["Left.", "Up."]),
    ],
)
def test_turn_markers_are_taken_apart(
    seen: str, said: str, expected: list[str], tmp_path: Path
) -> None:
    trajectory = only(read("verl", tmp_path, dump(seen, said)))
    assert [s.response.content for s in trajectory.steps] == expected
    assert trajectory.steps[0].observation[0].content == "Go."
    if len(expected) == 2:
        assert [m.content for m in trajectory.steps[1].observation] == [BACK]
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("unknown", 1.0)


@pytest.mark.parametrize(
    ("seen", "said", "part"),
    [
        ("Go.", "Left.", "no turn markers"),
        (CHATML, "Left.", "does not end with an open turn"),
        (CHATML + "Loose." + OPEN, "Left.", "stands outside of any turn"),
        (CHATML + OPEN, "Left.<|im_end|>\nLoose.", "stands outside of any turn"),
        (CHATML.replace("user", "umpire") + OPEN, "Left.", "role 'umpire'"),
        ("user\nGo.\nuser\nOr not.\nassistant\n", "Left.", "may be a turn or a part of one"),
        ("user\nGo.\nassistant\n", "Left.\nuser\nA wall.\nassistant\nUp.", "may be a turn"),
    ],
)
def test_what_cannot_be_taken_apart_in_one_way_is_a_problem(
    seen: str, said: str, part: str, tmp_path: Path
) -> None:
    assert part in reason(read("verl", tmp_path, dump(seen, said)))


def test_accuracy_is_success_and_a_score_is_not(tmp_path: Path) -> None:
    rows = [dump(CHATML + OPEN, "Left.", acc=acc) for acc in (1.0, False)]
    items = read("verl", tmp_path, *rows)
    assert [i.outcome.status for i in items if isinstance(i, Trajectory)] == ["success", "failure"]


def test_generations_of_skyrl_are_read(tmp_path: Path) -> None:
    row = {
        "input_prompt": CHATML + OPEN,
        "output_response": "Left.<|im_end|>",
        "score": [0.0, 1.0],
        "stop_reason": "length",
        "env_class": "doors",
        "env_extras": {"answer": 4},
    }
    trajectory = only(read("verl", tmp_path, row))
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("truncated", 1.0)


def test_each_answer_that_verl_generated_for_a_data_set_is_a_trajectory(tmp_path: Path) -> None:
    row = {
        "data_source": "doors",
        "prompt": [{"role": "system", "content": "Rules."}, ASK],
        "reward_model": {"style": "rule", "ground_truth": "left"},
        "extra_info": {"index": 3},
        "responses": ["Left.", "Up."],
    }
    items = read("verl", tmp_path, row)
    assert responses(items) == [["Left."], ["Up."]]
    assert len({item.id for item in items if isinstance(item, Trajectory)}) == 2
    row["responses"] = ["Left.", 7]
    assert "response 1 is 7" in reason(read("verl", tmp_path, row))


def test_a_long_rollout_is_merged_in_reasonable_time(tmp_path: Path) -> None:
    steps = [step({"role": "user", "content": str(index)}, SAID) for index in range(5_000)]
    started = time.process_time()
    assert len(read("rllm", tmp_path, episode(*steps))) == 5_000
    assert time.process_time() - started < 30


def test_a_preference_row_is_no_generation() -> None:
    assert not matches("verl", {"input": "a", "output": "b", "score": 1.0})
    assert not matches("rllm", {"schema_version": "ATIF-v1.0", "steps": []})


@import_cases
@pytest.mark.parametrize(
    ("file", "name", "said"),
    [
        ("rllm", "rllm", "a"),
        ("verl_dump", "verl", "hello"),
        ("messages_and_choices", "art", "hello"),
    ],
)
def test_the_examples_of_the_import_cases_are_read(file: str, name: str, said: str) -> None:
    path = CASES / f"{file}.jsonl"
    assert detect_format(path) == name
    trajectory = only(read_file(name, path))
    assert [s.response.content for s in trajectory.steps] == [said]
    assert trajectory.outcome.score is not None or name == "rllm"
