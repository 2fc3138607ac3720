"""Good files of the formats of Gemini, Qwen Code and Cline, for tests/conformance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Exchanges = list[tuple[str, str]]


def gemini_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    contents = [
        {"role": role, "parts": [{"text": text}]}
        for exchange in exchanges
        for role, text in zip(("user", "model"), exchange, strict=True)
    ]
    return {
        "systemInstruction": {"parts": [{"text": "Rules."}]},
        "contents": contents,
        "task_id": f"babyai_{number}",
    }


def cline_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    messages = [
        {"role": role, "content": [{"type": "text", "text": text}], "ts": number}
        for exchange in exchanges
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    return {
        "version": 1,
        "updated_at": "2026-01-01T00:00:00Z",
        "agent": "lead",
        "sessionId": f"s{number}",
        "system_prompt": "Rules.",
        "messages": messages,
    }


def qwen_code_file(path: Path, rows: Sequence[Exchanges]) -> None:
    """A log of several sessions."""
    lines: list[dict[str, Any]] = []
    for number, exchanges in enumerate(rows):
        parent = None
        for exchange in exchanges:
            kinds = (("user", "user"), ("assistant", "model"))
            for (kind, role), text in zip(kinds, exchange, strict=True):
                uuid = f"{number}-{len(lines)}"
                message = {"role": role, "parts": [{"text": text}]}
                lines.append(
                    {
                        "uuid": uuid,
                        "parentUuid": parent,
                        "sessionId": f"session-{number}",
                        "type": kind,
                        "cwd": "/w",
                        "message": message,
                    }
                )
                parent = uuid
    path.write_text("\n".join(map(json.dumps, lines)))
