"""Good rows of the formats that hold items of the Responses API, and of opencode and goose."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Exchanges = list[tuple[str, str]]


def items(exchanges: Exchanges) -> list[dict[str, Any]]:
    """A message of the user and an answer for each exchange."""
    return [
        {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
        for exchange in exchanges
        for (role, kind), text in zip(
            (("user", "input_text"), ("assistant", "output_text")), exchange, strict=True
        )
    ]


def responses_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    return {"items": items(exchanges), "task_id": number, "reward": 0.5}


def nemo_gym_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    first, *others = items(exchanges)
    request = {"input": [first], "temperature": 1.0, "tools": []}
    response = {"id": "r", "object": "response", "output": others, "parallel_tool_calls": True}
    agent = {"type": "responses_api_agents", "name": "agent"}
    return {
        "responses_create_params": request,
        "response": response,
        "reward": 1.0,
        "_ng_task_index": number,
        "agent_ref": agent,
    }


def opencode_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    messages = [
        {
            "info": {"id": f"m{index}{role}", "role": role, "sessionID": f"s{number}"},
            "parts": [{"id": "p", "type": "text", "text": text}],
        }
        for index, exchange in enumerate(exchanges)
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    return {"info": {"id": f"s{number}", "version": "1.0"}, "messages": messages}


def goose_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    marks = {"userVisible": True, "agentVisible": True}
    messages = [
        {
            "role": role,
            "created": index,
            "content": [{"type": "text", "text": text}],
            "metadata": marks,
        }
        for index, exchange in enumerate(exchanges)
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    return {"id": f"2026_{number}", "working_dir": "/w", "conversation": messages}


def codex_file(path: Path, rows: Sequence[Exchanges]) -> None:
    """A log of several sessions."""
    lines: list[dict[str, Any]] = []
    for number, exchanges in enumerate(rows):
        meta = {"id": f"session-{number}", "cwd": "/w", "cli_version": "0.90.0"}
        lines.append({"timestamp": "t", "type": "session_meta", "payload": meta})
        for item in items(exchanges):
            text = item["content"][0]["text"]
            event = {"type": "user_message", "message": text}
            lines.append({"timestamp": "t", "type": "event_msg", "payload": event})
            lines.append({"timestamp": "t", "type": "response_item", "payload": item})
    path.write_text("\n".join(map(json.dumps, lines)))


ROWS: dict[str, Callable[[Exchanges, int], Any]] = {
    "responses": responses_row,
    "nemo_gym": nemo_gym_row,
    "opencode": opencode_row,
    "goose": goose_row,
}
FILES: dict[str, Callable[[Path, Sequence[Exchanges]], None]] = {"codex": codex_file}
