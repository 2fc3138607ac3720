"""Examples of the memory of smolagents, in its shape."""

from __future__ import annotations

from typing import Any


def smolagents_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    """The full result of a run of a code agent."""
    steps: list[dict[str, Any]] = [{"task": exchanges[0][0], "task_images": None}]
    for at, (_, said) in enumerate(exchanges):
        seen = exchanges[at + 1][0] if at + 1 < len(exchanges) else None
        steps.append(action(at + 1, said, seen))
    return {
        "output": "done",
        "state": "success",
        "steps": steps,
        "token_usage": {"input_tokens": 1, "output_tokens": number},
        "timing": {"start_time": 1.0, "end_time": 2.0, "duration": 1.0},
    }


def action(number: int, said: str | None, seen: str | None, **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": said, "tool_calls": None, "raw": None}
    return {
        "step_number": number,
        "timing": {"start_time": 1.0, "end_time": 2.0, "duration": 1.0},
        "model_input_messages": None,
        "tool_calls": [],
        "error": None,
        "model_output_message": message,
        "model_output": said,
        "code_action": None,
        "observations": seen,
        "observations_images": None,
        "action_output": None,
        "token_usage": None,
        "is_final_answer": False,
        **fields,
    }
