"""Examples of the rows that nebius published, in their shape."""

from __future__ import annotations

from typing import Any


def nebius_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    """A run of SWE-agent."""
    trajectory = [turn("system", "Rules.", "system_prompt")]
    for seen, said in exchanges:
        trajectory += [turn("user", seen), turn("ai", said)]
    return {
        "instance_id": f"a__b-{number}",
        "model_name": "m",
        "target": bool(number % 2),
        "trajectory": trajectory,
        "exit_status": "submitted",
        "generated_patch": "diff",
        "eval_logs": "ran",
    }


def turn(role: str, text: str, key: str = "text") -> dict[str, Any]:
    made = {"cutoff_date": None, "mask": role == "ai", "role": role}
    return {**made, "system_prompt": None, "text": None, key: text}
