"""Chats in further spellings: what was read wrongly, or refused although nothing was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trajectories.test_formats_chats import (
    END,
    USER,
    call,
    calling,
    read_good,
    refused,
    result,
)

A, B = {"type": "text", "text": "one wo"}, {"type": "text", "text": "rd"}


@pytest.mark.parametrize(
    "row",
    [
        {"system": [A, B], "messages": [USER, END]},
        {"system": ["one wo", "rd"], "messages": [USER, END]},
        [{"role": "system", "content": [A, B]}, USER, END],
        [{"role": "user", "content": [A, B, {"type": "image_url", "image_url": "u"}, B, B]}, END],
        [USER, {"role": "assistant", "content": ["one wo", B]}],
        [USER, {"role": "assistant", "content": "x", "reasoning": ["one wo", "rd"]}],
        [
            USER,
            {
                "role": "assistant",
                "content": "x",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "one wo"},
                    {"type": "reasoning.text", "text": "rd"},
                ],
            },
        ],
        [USER, calling(call("c")), result("c", [A, B]), END],
        [
            USER,
            {
                "role": "assistant",
                "content": [A, {"type": "tool_use", "id": "c", "name": "f", "input": {}}, B],
            },
            result("c"),
            END,
        ],
    ],
)
def test_parts_may_end_within_a_word(tmp_path: Path, row: Any) -> None:
    trajectory, _ = read_good(tmp_path, row)
    assert "one word" in trajectory.model_dump_json()


def test_a_part_that_is_joined_nowhere_is_reported(tmp_path: Path) -> None:
    row = [USER, {"role": "assistant", "content": [A, {**B, "zz": "lost"}]}]
    assert "content.zz" in refused(tmp_path, row).reason
