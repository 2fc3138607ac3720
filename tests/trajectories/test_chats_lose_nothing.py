"""The law of tests/conformance/test_nothing_lost.py over chats in many spellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trajectories.test_formats_chats import (
    CALL_PARTS,
    CALLS,
    CHOICE,
    END,
    MESSAGE,
    RESULT_PARTS,
    SCHEMA,
    USER,
    calling,
    format_of,
    result,
)

law = pytest.importorskip(
    "tests.conformance.test_nothing_lost", reason="the law over all formats is not here"
)

ROWS: dict[str, Any] = {
    **{
        f"call {number}": [USER, calling(call), result("c"), END]
        for number, call in enumerate(CALLS)
        if isinstance(call, dict)
    },
    **{
        f"call part {number}": [
            USER,
            {"role": "assistant", "content": [{"type": "text", "text": "so"}, part]},
            result("c"),
            END,
        ]
        for number, part in enumerate(CALL_PARTS)
        if "value" not in part
    },
    **{
        f"result part {number}": [
            USER,
            calling(CALLS[0]),
            {"role": "user", "content": [part]},
            END,
        ]
        for number, part in enumerate(RESULT_PARTS)
    },
    "response": {"messages": [USER], "response": {"choices": [CHOICE]}, "tools": [SCHEMA]},
    "preference": {"messages": [USER], "chosen": [MESSAGE], "rejected": [END]},
    "reasoning": {
        "messages": [
            *(USER, {**END, "reasoning_details": [{"type": "reasoning.text", "text": "one"}]}),
            *(USER, {**END, "thinking_blocks": [{"thinking": "two"}]}),
            *(USER, {**END, "reasoning": {"content": "three"}}),
        ]
    },
    "system": {"system": [{"type": "text", "text": "rules"}], "messages": [USER, END]},
    "media": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "x"}},
                    {"type": "document", "source": {"type": "text", "data": "a paper"}},
                ],
            },
            END,
        ]
    },
    "sharegpt": {
        "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
        "system": "rules",
        "chosen": {"from": "gpt", "value": "b"},
        "rejected": {"from": "gpt", "value": "c"},
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_no_spelling_of_a_chat_loses_content_in_silence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "row.jsonl"
    assert law._silent_losses(format_of(ROWS[name]), [ROWS[name]], path) == []
