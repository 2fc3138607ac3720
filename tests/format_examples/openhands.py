"""Examples of runs of OpenHands, in the shape of its logs."""

from __future__ import annotations

import json
from typing import Any


def openhands_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    """A row of an evaluation: the user speaks first, then tools answer."""
    history: list[dict[str, Any]] = []
    for at, (seen, said) in enumerate(exchanges):
        if at == 0:
            args = {"content": seen, "image_urls": None, "wait_for_response": False}
            history.append(
                {"id": 0, "source": "user", "message": seen, "action": "message", "args": args}
            )
        else:
            history.append(observation(2 * at, f"c{at - 1}", seen))
        history.append(action(2 * at + 1, f"c{at}", said))
    return {
        "instance_id": f"a__b-{number}",
        "test_result": {"git_patch": "diff"},
        "instruction": "Fix it.",
        "metadata": {"agent_class": "CodeActAgent", "max_iterations": 10},
        "history": history,
        "metrics": {"accumulated_cost": 0.1},
        "error": None,
    }


def action(
    id_: int, call: str, said: str, command: str = "ls", response: str | None = None
) -> dict[str, Any]:
    """A command that the model ran, with the model's own answer."""
    return {
        "id": id_,
        "timestamp": "2025-01-01T00:00:00",
        "source": "agent",
        "message": f"Running command: {command}",
        "action": "run",
        "tool_call_metadata": metadata(call, said, command, response),
        "llm_metrics": {"accumulated_cost": 0.1},
        "args": {"command": command, "is_input": False, "thought": said, "hidden": False},
    }


def observation(id_: int, call: str, content: str) -> dict[str, Any]:
    return {
        "id": id_,
        "source": "agent",
        "message": "Command executed with exit code 0.",
        "cause": id_ - 1,
        "observation": "run",
        "tool_call_metadata": metadata(call, "", "ls"),
        "content": content,
        "extras": {"command": "ls", "metadata": {"exit_code": 0, "pid": -1}, "hidden": False},
        "success": True,
    }


def metadata(call: str, said: str, command: str, response: str | None = None) -> dict[str, Any]:
    function = {"name": "execute_bash", "arguments": json.dumps({"command": command})}
    message = {
        "role": "assistant",
        "content": said,
        "tool_calls": [{"id": call, "type": "function", "function": function}],
        "function_call": None,
    }
    return {
        "function_name": "execute_bash",
        "tool_call_id": call,
        "model_response": {
            "id": response or f"r-{call}",
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
            "usage": {"total_tokens": 3},
        },
        "total_calls_in_response": 1,
    }


def sdk_action(id_: str, call: str, said: str, generation: str) -> dict[str, Any]:
    """An action of the SDK."""
    arguments = json.dumps({"command": "ls", "security_risk": "LOW"})
    return {
        "kind": "ActionEvent",
        "id": id_,
        "timestamp": "2026-01-01T00:00:00",
        "source": "agent",
        "thought": [{"type": "text", "text": said, "cache_prompt": False}] if said else [],
        "reasoning_content": None,
        "thinking_blocks": [],
        "responses_reasoning_item": None,
        "action": {"kind": "TerminalAction", "command": "ls", "is_input": False},
        "tool_name": "terminal",
        "tool_call_id": call,
        "tool_call": {
            "id": call,
            "name": "terminal",
            "arguments": arguments,
            "origin": "completion",
        },
        "llm_response_id": generation,
        "security_risk": "LOW",
        "summary": None,
    }


def sdk_observation(id_: str, call: str, content: str) -> dict[str, Any]:
    return {
        "kind": "ObservationEvent",
        "id": id_,
        "timestamp": "2026-01-01T00:00:00",
        "source": "environment",
        "tool_name": "terminal",
        "tool_call_id": call,
        "action_id": "a",
        "observation": {
            "kind": "TerminalObservation",
            "content": [{"type": "text", "text": content, "cache_prompt": False}],
            "is_error": False,
            "command": "ls",
            "exit_code": 0,
        },
    }


def sdk_message(id_: str, source: str, text: str) -> dict[str, Any]:
    role = "user" if source == "user" else "assistant"
    content = [{"type": "text", "text": text, "cache_prompt": False}]
    return {
        "kind": "MessageEvent",
        "id": id_,
        "timestamp": "2026-01-01T00:00:00",
        "source": source,
        "llm_message": {"role": role, "content": content, "thinking_blocks": []},
        "activated_skills": [],
        "extended_content": [],
    }
