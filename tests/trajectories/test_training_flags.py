"""Every flag that trainers read comes back as an annotation of the step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import DataError
from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.trajectories.formats.base import FORMAT
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.formats.source_file import SourceFile
from atlas.trajectories.formats.training_flags import (
    FLAGS_LEFT_OUT,
    IN_PART,
    NOT_THE_AGENTS,
    read_flag,
    with_row_flags,
)
from atlas.trajectories.trajectory_lines import TrajectoryLine
from tests.source_files import detect_format, read_file

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "import_cases" / "wrong"
USER = {"role": "user", "content": "u"}
AGENT = {"role": "assistant", "content": "one two"}
FOUR = [{"role": who, "content": f"text {n}"} for n, who in enumerate(["user", "assistant"] * 2)]


def written(tmp_path: Path, row: Any) -> Path:
    path = tmp_path / "file.jsonl"
    path.write_text(json.dumps(row))
    return path


def scores(tmp_path: Path, row: Any) -> list[float | None]:
    path = written(tmp_path, row)
    [found] = read_file(detect_format(path), path)
    assert isinstance(found, Trajectory), found
    return [step.annotation and step.annotation.score for step in found.steps]


def remarks(tmp_path: Path, row: Any) -> list[tuple[int, str]]:
    path = written(tmp_path, row)
    with SourceFile(path) as source:
        [item] = FORMAT.make(Choice(detect_format(path))).read(source)
    assert isinstance(item, TrajectoryLine), item
    return [*item.remarks]


SPANS = [
    {"begin_offset": 0, "end_offset": 2, "train": True},
    {"begin_offset": 3, "end_offset": 6, "train": False},
]
FLAGGED: list[tuple[Any, Any, list[float]]] = [
    ({"weight": 0}, {"weight": 1}, [0, 1]),
    ({"train": False}, {"train": True}, [0, 1]),
    ({"loss": False}, {"loss": True}, [0, 1]),
    ({"loss": True, "loss_scale": 0.0}, {"loss": True, "loss_scale": 2.0}, [0, 2]),
    ({"loss": False, "loss_scale": 1.0}, {"loss_scale": 1.0}, [0, 1]),
    ({"trainable": False}, {"trainable": True}, [0, 1]),
    ({"train_on_turn": False}, {"train_on_turn": True}, [0, 1]),
    ({"loss_mask": 0}, {"loss_mask": 1}, [0, 1]),
    ({"loss_weight": 0.0}, {"loss_weight": 1.0}, [0, 1]),
    ({"loss_weight": 0.5}, {"loss_weight": 1.0}, [0.5, 1]),
    ({"masked": True}, {"masked": False}, [0, 1]),
    ({"masked": True}, {}, [0, 1]),
    ({"weight": -1}, {}, [0, 1]),
    # Tables may hold them as texts.
    ({"weight": "0"}, {"weight": "1.0"}, [0, 1]),
    ({"train": "False"}, {"train": "true"}, [0, 1]),
    ({"masked": "true"}, {"masked": "false"}, [0, 1]),
    ({"loss_weight": "0.5"}, {}, [0.5, 1]),
    # A flag for each token.
    ({"loss_mask": [0, 0, 1, 1]}, {"loss_mask": [1, 1]}, [0.5, 1]),
    # axolotl counts both ends; what no span covers is not trained.
    ({"train_detail": SPANS}, {"train": False}, [3 / 7, 0]),
    ({"train_detail": SPANS, "train": False}, {"train": True}, [0, 1]),
    ({"train_detail": SPANS[:1] * 3}, {}, [3 / 7, 1]),
    ({"train_detail": []}, {"train": True, "train_detail": []}, [0, 1]),
    ({"train_detail": [{"begin_offset": -9, "end_offset": 10**9, "train": True}]}, {}, [1, 1]),
    (
        {"content": [{"type": "text", "text": "abc", "weight": 0}, {"type": "text", "text": "d"}]},
        {"train": True},
        [0.25, 1],
    ),
]


@pytest.mark.parametrize(("first", "second", "expected"), FLAGGED)
def test_a_flag_on_a_message_says_how_much_of_the_step_is_trained(
    tmp_path: Path, first: Any, second: Any, expected: list[float]
) -> None:
    row = {"messages": [USER, {**AGENT, **first}, USER, {**AGENT, **second}]}
    whole = all(score >= 1 for score in expected)
    assert scores(tmp_path, row) == ([None, None] if whole and not second else expected)


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"message_loss_mask": [0, 0, 0, 1]}, [0, 1]),
        ({"message_loss_mask": [False, True, False, False]}, [1, 0]),
        ({"loss_mask": [0, 1, 0, 0]}, [1, 0]),
        ({"masked": [True, True, True, False]}, [0, 1]),
        ({"weight": [0, 0.5, 0, 1]}, [0.5, 1]),
        ({"mask_history": True}, [0, 1]),
        ({"mask_history": "true"}, [0, 1]),
        ({"mask_history": 1}, [0, 1]),
        ({"mask_history": False}, [None, None]),
        ({"message_loss_mask": ["0", "0", "0", "1"]}, [0, 1]),
        # Flags of tokens, and a weight of the whole row.
        ({"loss_mask": [0, 1, 1]}, [None, None]),
        ({"weight": 0.5}, [None, None]),
    ],
)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_flags_beside_the_messages_are_read_too(
    tmp_path: Path, beside: Any, expected: list[float | None], keys: tuple[str, str]
) -> None:
    who, what = keys
    messages = [{who: one["role"], what: one["content"]} for one in (USER, AGENT, USER, AGENT)]
    name = "messages" if who == "role" else "conversations"
    assert scores(tmp_path, {name: messages, **beside}) == expected


@pytest.mark.parametrize("key", ["loss_mask", "weight", "masked"])
def test_a_list_of_flags_with_another_length_is_named(tmp_path: Path, key: str) -> None:
    row = {"messages": [USER, AGENT, USER, AGENT], key: [0, 1, 1]}
    [(index, remark)] = remarks(tmp_path, row)
    assert index == -1
    assert "left out" in remark


@pytest.mark.parametrize("said", [AGENT["content"], AGENT["content"][:1]])
def test_the_answer_to_a_prompt_is_a_turn_of_its_own_also_if_it_says_the_same_again(
    tmp_path: Path, said: str
) -> None:
    row = {"prompt": [USER, AGENT], "completion": [{**AGENT, "content": said}]}
    assert scores(tmp_path, row) == [0, 1]


def test_a_step_that_is_trained_in_part_says_so(tmp_path: Path) -> None:
    row = {"messages": [USER, {**AGENT, "train_detail": SPANS}, USER, {**AGENT, "train": False}]}
    assert remarks(tmp_path, row) == [(0, IN_PART)]


def test_turns_of_others_that_are_trained_are_named(tmp_path: Path) -> None:
    row = {"messages": [{**USER, "train": True}, {**AGENT, "train": True}]}
    assert (-1, NOT_THE_AGENTS) in remarks(tmp_path, row)


def test_an_acknowledgement_that_is_trained_is_a_step(tmp_path: Path) -> None:
    canned = {"role": "assistant", "content": "OK."}
    for flag, expected in ((0, [1.0]), (1, [1.0, 1.0])):
        row = {"messages": [USER, {**canned, "weight": flag}, USER, {**AGENT, "weight": 1}]}
        assert scores(tmp_path, row) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"message_loss_mask": [1, 0, 1]}, "message_loss_mask is 3 entries, .* 2 messages"),
        ({"message_loss_mask": "01"}, "message_loss_mask is '01', expected a list"),
        ({"loss_mask": ["a", 1]}, "message 0: loss_mask is 'a', expected true, false or a number"),
    ],
)
def test_flags_that_do_not_fit_are_a_problem(tmp_path: Path, row: Any, reason: str) -> None:
    path = written(tmp_path, {"messages": [USER, AGENT], **row})
    [found] = read_file("openai", path)
    assert isinstance(found, Problem)
    import re

    assert re.search(reason, f"{found.where}: {found.reason}"), found


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["begin_offset", "end_offset", "train", "weight", "text"]), inner
        )
    ),
    max_leaves=6,
)


@given(
    flags=st.dictionaries(
        st.sampled_from(["train", "loss_mask", "masked", "train_detail", "weight"]), HOSTILE
    ),
    content=HOSTILE,
)
def test_flags_of_any_shape_are_read_or_refused(flags: dict[str, Any], content: Any) -> None:
    try:
        flag = read_flag(flags, content, 0)
    except BadRowError:
        return
    assert flag is None or flag >= 0


@given(
    row=st.dictionaries(
        st.sampled_from(["message_loss_mask", "loss_mask", "mask_history", "masked"]), HOSTILE
    ),
    messages=st.lists(HOSTILE, max_size=3),
)
def test_flags_of_a_row_of_any_shape_are_read_or_refused(
    row: dict[str, Any], messages: list[Any]
) -> None:
    try:
        assert len(with_row_flags(row, messages)) == len(messages)
    except BadRowError:
        return


def test_rows_of_tokens_are_refused_with_the_next_step(tmp_path: Path) -> None:
    path = written(tmp_path, {"input_ids": [1, 2], "labels": [-100, 2], "id": "t"})
    with pytest.raises(DataError, match=r"token ids and no messages.*--to parquet"):
        detect_format(path)
    [found] = read_file("openai", path)
    assert isinstance(found, Problem)
    assert "token ids and no messages" in found.reason


@pytest.mark.skipif(not CASES.exists(), reason=f"{CASES} is not there")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10_axolotl_train_detail", [3 / 7, 0]),
        ("10_loss_weight", [0, 1]),
        ("10_message_loss_mask", [0, 1]),
        ("10_verl_loss_mask", [0, 1]),
    ],
)
def test_masks_of_the_cases_come_back(name: str, expected: list[float]) -> None:
    path = CASES / f"{name}.jsonl"
    [found] = read_file(detect_format(path), path)
    assert isinstance(found, Trajectory)
    assert [step.annotation and step.annotation.score for step in found.steps] == expected


@pytest.mark.parametrize(
    "flags",
    [
        {"loss_mask": [0, 1]},
        {"loss_mask": "[0, 1]"},
        {"loss_mask": ["0", "1"]},
        {"trainable": [False, True]},
        {"masked": ["true", "false"]},
        {"message_loss_mask": "[0, 0, 0, 1]"},
        {"message_loss_mask": ["0", "0", "0", "1"]},
        {"mask_history": "true"},
    ],
)
def test_flags_beside_the_messages_may_be_texts_or_those_of_the_agent(
    flags: dict[str, Any], tmp_path: Path
) -> None:
    assert scores(tmp_path, {"messages": FOUR, **flags}) == [0, 1]


def test_flags_on_messages_may_be_texts(tmp_path: Path) -> None:
    for no, yes in (("0", "1"), ("false", "True"), ("0.0", "1.0")):
        messages = [FOUR[0], {**FOUR[1], "weight": no}, FOUR[2], {**FOUR[3], "weight": yes}]
        assert scores(tmp_path, messages) == [0, 1]


@pytest.mark.parametrize("flags", [[0, 1, 1], [0.3, 0.2], [1]])
def test_flags_that_fit_no_messages_are_named(flags: list[float], tmp_path: Path) -> None:
    row = {"messages": FOUR, "loss": flags}
    assert (-1, FLAGS_LEFT_OUT) in remarks(tmp_path, row)


def test_messages_of_one_generation_are_trained_by_their_share(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": "", "reasoning": "rr"}
    said = {"role": "assistant", "content": "said.."}
    for first, second, score in ((0, 1, 0.75), (0.5, 0.5, 0.5), (0, 0, 0)):
        messages = [FOUR[0], {**thought, "weight": first}, {**said, "weight": second}]
        assert scores(tmp_path, [*messages, *FOUR[2:]])[0] == score
