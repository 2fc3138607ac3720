"""Rows of `xlam` and `react`, which hold other text than the turns: calls, and labels."""

from __future__ import annotations

import json
from typing import Any


def xlam_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    calls = [{"name": f"f{at}", "arguments": {"x": said}} for at, (_, said) in enumerate(exchanges)]
    tools = [{"name": call["name"], "description": "d", "parameters": {}} for call in calls]
    return {
        "id": number,
        "query": "\n".join(seen for seen, _ in exchanges),
        "answers": json.dumps(calls),
        "tools": json.dumps(tools),
    }


def react_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    steps = [
        f"Thought {at}: {said!r}\nAction {at}: go[{at}]\nObservation {at}: {seen!r}"
        for at, (seen, said) in enumerate(exchanges, start=1)
    ]
    return {"id": number, "question": "Where to?", "text": "\n".join(steps)}


ROWS = {"xlam": xlam_row, "react": react_row}
