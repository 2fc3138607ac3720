"""Rows of rollouts that trainers log: verifiers, rLLM, ART, verl."""

from __future__ import annotations

import json
from typing import Any

Exchanges = list[tuple[str, str]]
SYSTEM = {"role": "system", "content": "Rules."}


def _messages(exchanges: Exchanges) -> list[dict[str, Any]]:
    return [
        {"role": role, "content": text}
        for exchange in exchanges
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]


def verifiers_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    messages = _messages(exchanges)
    return {
        "example_id": number,
        "prompt": [SYSTEM, messages[0]],
        "completion": messages[1:],
        "reward": float(number % 2),
        "is_completed": True,
        "metrics": {"turns": len(exchanges)},
        "tool_defs": [{"name": "look", "parameters": {"type": "object"}}],
    }


def rllm_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    chat = [SYSTEM, *_messages(exchanges)]
    steps = [
        {
            "observation": seen,
            "thought": "",
            "model_response": said,
            "chat_completions": chat[: 2 * index + 3],
            "reward": 0.0,
            "done": index + 1 == len(exchanges),
        }
        for index, (seen, said) in enumerate(exchanges)
    ]
    return {
        "episode_id": f"task-{number}:0",
        "is_correct": bool(number % 2),
        "termination_reason": "env_done",
        "trajectories": [{"name": "agent", "reward": 1.0, "steps": steps}],
    }


def art_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    items: list[dict[str, Any]] = [SYSTEM]
    for seen, said in exchanges:
        message = {"role": "assistant", "content": said, "refusal": None}
        items.append({"role": "user", "content": seen})
        items.append({"finish_reason": "stop", "index": 0, "message": message})
    return {
        "messages_and_choices": items,
        "reward": 0.5,
        "metrics": {"won": number % 2},
        "metadata": {"scenario_id": number},
        "tools": None,
        "logs": [],
    }


def verl_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    text = "".join(
        f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n"
        for message in (SYSTEM, *_messages(exchanges))
    )
    opening = "<|im_start|>assistant\n"
    seen, _, said = text.partition(opening)
    return {"input": seen + opening, "output": said, "gts": None, "score": 1.0, "step": number}


def trace_row(exchanges: Exchanges, number: int) -> dict[str, Any]:
    """An episode of verifiers 1; `detect_format` tells it as verifiers, too."""
    nodes = [
        {
            "parent": index - 1 if index else None,
            "message": message,
            "sampled": message["role"] == "assistant",
        }
        for index, message in enumerate([SYSTEM, *_messages(exchanges)])
    ]
    trace = {
        "id": f"trace-{number}",
        "task": {"type": "Doors", "data": {"idx": number, "prompt": "Open it."}},
        "nodes": nodes,
        "rewards": {"open": {"score": 1.0, "weight": 0.5}, "fast": {"score": 1.0, "weight": 0.5}},
        "ok": True,
        "is_completed": True,
    }
    return {
        "id": f"episode-{number}",
        "env": {"id": "doors"},
        "task": trace["task"],
        "ok": True,
        "traces": [trace],
    }


def call_text(id_: str, name: str, **arguments: Any) -> str:
    """A call as verifiers writes it."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    return json.dumps({"id": id_, "type": "function", "function": function})


RL_EXAMPLES = {
    "verifiers": verifiers_row,
    "rllm": rllm_row,
    "art": art_row,
    "verl": verl_row,
}
