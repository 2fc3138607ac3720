"""A state of LangGraph, with messages of LangChain as `model_dump` writes them."""

from __future__ import annotations

from typing import Any


def langchain_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [
        {"type": "system", "content": "Rules.", "additional_kwargs": {}, "response_metadata": {}}
    ]
    for seen, said in exchanges:
        messages += [
            {"type": "human", "content": seen, "name": None, "id": None, "example": False},
            {
                "type": "ai",
                "content": said,
                "additional_kwargs": {"refusal": None},
                "response_metadata": {"model_name": "small", "finish_reason": "stop"},
                "tool_calls": [],
                "invalid_tool_calls": [],
                "usage_metadata": {"input_tokens": 3, "output_tokens": 1},
            },
        ]
    return {"messages": messages, "thread_id": f"thread-{number}", "remaining_steps": 24}
