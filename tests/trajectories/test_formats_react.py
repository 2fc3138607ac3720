from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import formats_of
from atlas.trajectories.formats.react import _said
from tests.source_files import matches, read_file

STEPS = (
    "Thought 1: I look it up.\nAction 1: Search[Oslo]\n"
    "Observation 1: A town.\nIt is in Norway.\n"
    "Thought 2: I know.\nAction 2: Finish[Norway]"
)


def read_good(tmp_path: Path, value: Any) -> Trajectory:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(value) + "\n")
    [item] = read_file("react", path)
    assert isinstance(item, Trajectory), item
    return item


@pytest.mark.parametrize(
    "row",
    [
        "Question: where?\n" + STEPS,
        {"text": "Question: where?\n" + STEPS},
        {"question": "Question: where?", "traj": STEPS, "em": True},
    ],
)
def test_each_thought_with_its_action_is_a_step(tmp_path: Path, row: Any) -> None:
    assert formats_of(row) == ["react"]
    trajectory = read_good(tmp_path, row)
    assert [
        ([message.content for message in step.observation], step.response.content, step.action)
        for step in trajectory.steps
    ] == [
        (
            ["Question: where?"],
            "Thought 1: I look it up.\nAction 1: Search[Oslo]",
            "Search[Oslo]",
        ),
        (
            ["A town.\nIt is in Norway."],
            "Thought 2: I know.\nAction 2: Finish[Norway]",
            "Finish[Norway]",
        ),
    ]


def test_an_action_input_and_a_final_answer_belong_to_the_step(tmp_path: Path) -> None:
    text = (
        'Question: where?\nThought: hm\nAction: search\nAction Input: {"q": "Oslo"}\n'
        "Observation: Norway\nThought: I know\nFinal Answer: Norway"
    )
    first, last = read_good(tmp_path, text).steps
    assert first.action == 'search\nAction Input: {"q": "Oslo"}'
    assert last.response.content == "Thought: I know\nFinal Answer: Norway"


def test_a_thought_after_an_action_without_observation_is_another_step(tmp_path: Path) -> None:
    text = "Question: q\nThought: a\nAction: b\nThought: c\nAction: d\nObservation: e"
    trajectory = read_good(tmp_path, text)
    assert [step.response.content for step in trajectory.steps] == [
        "Thought: a\nAction: b",
        "Thought: c\nAction: d",
    ]
    assert [message.content for message in trajectory.final_observation] == ["e"]


def test_examples_before_the_last_task_are_seen_and_not_made(tmp_path: Path) -> None:
    text = f"Solve it.\nQuestion: one?\n{STEPS}\n\nQuestion: two?\n{STEPS}"
    trajectory = read_good(tmp_path, text)
    assert len(trajectory.steps) == 2
    assert trajectory.steps[0].observation[0].content == (
        f"Solve it.\nQuestion: one?\n{STEPS}\n\nQuestion: two?"
    )


def test_different_transcripts_have_different_ids(tmp_path: Path) -> None:
    first = read_good(tmp_path, STEPS)
    assert first.id != read_good(tmp_path, STEPS.replace("Oslo", "Bergen")).id
    assert first.id == read_good(tmp_path, STEPS).id


@pytest.mark.parametrize(
    "row",
    [
        "a text",
        "Thought: a\nAction: b",
        {"text": STEPS, "messages": [{"role": "user", "content": "x"}]},
        {"name": STEPS},
        {"text": ["Action: a", "Observation: b"]},
    ],
)
def test_other_rows_are_no_transcripts(row: Any) -> None:
    assert not matches("react", row)


def test_a_transcript_that_ends_with_a_task_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(f"{STEPS}\nQuestion: next?") + "\n")
    [problem] = read_file("react", path)
    assert isinstance(problem, Problem)
    assert "follows the last task" in problem.reason


LINES = st.sampled_from(
    ["Thought: a", "Action 2: b", "Action Input: c", "Observation 3: d", "Final Answer: e", "f", ""]
)


@given(lines=st.lists(LINES, max_size=9))
def test_all_words_of_a_transcript_come_out_in_order(lines: list[str]) -> None:
    text = "\n".join(["Thought: x", *lines])
    said = "\n".join(each.text for each in _said(text, False))
    kept = text.replace("Observation 3:", "")
    assert said.split() == kept.split()
