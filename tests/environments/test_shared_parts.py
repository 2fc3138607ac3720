"""What worlds share: ReAct text, random streams, splits by content, instructions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, stream
from atlas.environments.instruction import load_instruction
from atlas.environments.react import parse_action, react_message
from atlas.environments.splits import (
    SEED_STRIDE,
    SHARES,
    check_split,
    draw_tasks,
    kinds_in_turn,
    split_of,
    take_tasks,
)
from atlas.errors import ConfigError
from atlas.records import Message, Task
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

LINES = st.text(st.characters(codec="ascii", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e:"))


@given(LINES, LINES.map(str.strip).filter(lambda text: any(map(str.isalnum, text))))
def test_the_action_of_a_response_comes_back(thought: str, action: str) -> None:
    assert parse_action(react_message(thought, action).content) == action


@pytest.mark.parametrize("text", ["", "go", "Thought: go", "Action:", "Action:\n...\n"])
def test_a_response_without_an_action_has_none(text: str) -> None:
    assert parse_action(text) is None


def test_streams_of_different_names_are_independent() -> None:
    names = [("expert", "maze/1", 0), ("expert", "maze/1", 1), ("task", "maze/1", 0), ("a", "b")]
    draws = [stream(*each).random() for each in (*names, ("a\0b",))]
    assert len(set(draws[:4])) == 4
    assert stream(*names[0]).random() == draws[0]


def test_a_turn_has_its_labels() -> None:
    turn = react_turn("I see it.", "go", ["critical_observation"], 0.7)
    assert turn.annotation.kinds == ("critical_observation",)


def test_a_rate_does_not_change_when_the_other_slips_happen() -> None:
    both = ExpertConfig(detour_rate=0.4, mistake_rate=0.4)
    first, second = stream("a"), stream("a")
    drawn = [draw_slips(first, both) for _ in range(200)]
    no_detours = [draw_slips(second, ExpertConfig(detour_rate=0, mistake_rate=0.4)) for _ in drawn]
    assert [mistake for _, mistake in drawn] == [mistake for _, mistake in no_detours]
    assert any(detour for detour, _ in drawn)
    assert not any(detour for detour, _ in no_detours)


def test_kinds_take_turns_and_runs_with_other_seeds_have_other_tasks() -> None:
    drawn = list(islice(kinds_in_turn({"a": 1, "b": 2}, 0), 5))
    assert drawn == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]
    assert next(kinds_in_turn(("a",), 2)) == ("a", 2 * SEED_STRIDE)


def candidates(contents: list[str]) -> Iterator[tuple[str, Task]]:
    for number, content in enumerate(contents):
        yield content, Task(id=f"x/{number}", environment="x")


@given(st.lists(st.text(max_size=3), max_size=60))
def test_splits_by_content_are_disjoint_and_hold_each_content_once(contents: list[str]) -> None:
    of_split = {}
    for split in SHARES:
        wanted = {content for content in contents if split_of(content) == split}
        tasks = draw_tasks(
            "x", split, len(wanted), candidates(contents), lambda text, s=split: split_of(text) == s
        )
        of_split[split] = {contents[int(task.id[2:])] for task in tasks}
        assert of_split[split] == wanted
        assert len(tasks) == len(wanted)
    assert set().union(*of_split.values()) == set(contents)


def test_too_many_tasks_and_unknown_splits_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="3 tasks asked of split 'train', which holds 1"):
        draw_tasks("x", "train", 3, candidates(["a", "a"]), lambda _: True)
    with pytest.raises(ConfigError, match="holds 2"):
        take_tasks("x", "train", 3, ["a", "b"])
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        check_split("x", "trian", SHARES)


def test_an_instruction_is_a_text_a_file_or_that_of_a_run(tmp_path: Path) -> None:
    assert load_instruction(None, "short") == (Message(role="system", content="short"),)
    assert load_instruction("Be quick.", "short")[0].content == "Be quick."
    # Longer than the name of a file can be.
    assert load_instruction("Be quick. " * 60, "short")[0].content.startswith("Be quick. Be")
    (tmp_path / "told.txt").write_text("Be slow.\n", encoding="utf-8")
    assert load_instruction(str(tmp_path / "told.txt"), "short")[0].content == "Be slow."
    turns = [("human", None, "Solve it."), ("gpt", False, "OK."), ("human", None, "You see."),
             ("gpt", True, "Thought: hm\nAction: go")]  # fmt: skip
    rows = [{"from": who, "loss": loss, "value": text} for who, loss, text in turns]

    source = tmp_path / "maze.json"
    source.write_text(json.dumps([{"conversations": rows, "item_id": "lmrlgym_maze_3"}]))
    import_trajectories(ImportConfig(paths=(str(source),)), tmp_path / "run")
    prompt = load_instruction(str(tmp_path / "run"), "short", "lmrlgym_maze_")
    assert [message.content for message in prompt] == ["Solve it.", "OK."]
    for value in (str(tmp_path), str(tmp_path / "none.txt"), "no/such/place"):
        with pytest.raises(ConfigError, match="instruction="):
            load_instruction(value, "short")
    with pytest.raises(ConfigError, match="no trajectory of a task 'wordle"):
        load_instruction(str(tmp_path / "run"), "short", "wordle")
