"""A good session log of Claude Code, for tests/conformance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Exchanges = list[tuple[str, str]]


def claude_code_file(path: Path, rows: Sequence[Exchanges]) -> None:
    """A log of several sessions, each with a file, thoughts, and a call with its result."""
    lines: list[dict[str, Any]] = []
    for number, exchanges in enumerate(rows):
        log = _Session(f"session-{number}", lines)
        for index, (seen, said) in enumerate(exchanges):
            log.add("user", message={"role": "user", "content": seen})
            file = {"filePath": "/w/a", "content": f"line {index}", "numLines": 1}
            content = {"type": "text", "file": file}
            log.add(
                "attachment", attachment={"type": "file", "filename": "/w/a", "content": content}
            )
            log.answer({"type": "thinking", "thinking": f"thought {index}", "signature": "x"})
            log.answer({"type": "text", "text": said})
            if index == len(exchanges) - 1:
                log.answer({"type": "tool_use", "id": "c", "name": "Look", "input": {"at": "it"}})
                result = {"type": "tool_result", "tool_use_id": "c", "content": "a door"}
                log.add("user", message={"role": "user", "content": [result]})
            log.num_answers += 1
    path.write_text("\n".join(map(json.dumps, lines)))


class _Session:
    def __init__(self, name: str, lines: list[dict[str, Any]]) -> None:
        self.name = name
        self.lines = lines
        self.num_answers = 0
        self._parent: str | None = None

    def answer(self, block: dict[str, Any]) -> None:
        id_ = f"m{self.num_answers}"
        self.add("assistant", message={"role": "assistant", "id": id_, "content": [block]})

    def add(self, kind: str, **fields: Any) -> None:
        uuid = f"{self.name}-{len(self.lines)}"
        self.lines.append(
            {
                "type": kind,
                "uuid": uuid,
                "parentUuid": self._parent,
                "sessionId": self.name,
                **fields,
            }
        )
        self._parent = uuid
