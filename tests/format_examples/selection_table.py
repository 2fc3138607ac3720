"""A row as the dialect `parquet` writes it."""

from __future__ import annotations

from typing import Any


def selection_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "Rules."}]
    for seen, said in exchanges:
        messages += [
            {"role": "user", "content": seen},
            {"role": "assistant", "content": said},
        ]
    steps = [index // 2 - 1 if index and index % 2 == 0 else -1 for index in range(len(messages))]
    critical = [step >= 0 and step % 2 == 0 for step in steps]
    return {
        "id": f"t{number}",
        "task": f"t{number}",
        "environment": "babyai",
        "outcome": "success",
        "score": 1.0,
        "selector": "oracle",
        "messages": messages,
        "step": steps,
        "critical": critical,
        "kinds": [["critical_action"] if flag else [] for flag in critical],
        "reasons": ["it decides" if flag else None for flag in critical],
        "scores": [0.5 if flag else None for flag in critical],
        "tools": "",
    }
