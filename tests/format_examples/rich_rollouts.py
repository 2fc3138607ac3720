"""Rows with a call, its result, reasoning and a tool, of the formats of agents and rollouts."""

from __future__ import annotations

import json
from typing import Any

ARGUMENTS = {"query": "open harbors"}
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "Looks around.", "parameters": {"type": "object"}},
}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "look", "arguments": json.dumps(ARGUMENTS)},
}
SYSTEM = {"role": "system", "content": "Be brief now."}
USER = {"role": "user", "content": "Find a harbor."}
ANSWER = {
    "role": "assistant",
    "content": "I look first.",
    "reasoning_content": "Ships need water.",
    "tool_calls": [CALL],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "Two harbors."}
LAST = {"role": "assistant", "content": "There are two."}
CHAT = [SYSTEM, USER, ANSWER, RESULT, LAST]


def _swe(message: dict[str, Any]) -> dict[str, Any]:
    made = {**message, "agent": "main", "message_type": "observation"}
    if message["role"] == "tool":
        made["tool_call_ids"] = [made.pop("tool_call_id")]
    return made


def _without_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != "reasoning_content"}


RICH: dict[str, dict[str, Any]] = {
    "atif": {
        "schema_version": "ATIF-v1.6",
        "session_id": "s",
        "agent": {"name": "a", "version": "1", "tool_definitions": [TOOL]},
        "steps": [
            {"step_id": 1, "source": "system", "message": "Be brief now."},
            {"step_id": 2, "source": "user", "message": "Find a harbor."},
            {
                "step_id": 3,
                "source": "agent",
                "message": "I look first.",
                "reasoning_content": "Ships need water.",
                "tool_calls": [
                    {"tool_call_id": "c1", "function_name": "look", "arguments": ARGUMENTS}
                ],
                "observation": {"results": [{"source_call_id": "c1", "content": "Two harbors."}]},
            },
            {"step_id": 4, "source": "agent", "message": "There are two."},
        ],
    },
    "swe_agent": {
        "history": [*map(_swe, CHAT)],
        "trajectory": [],
        "info": {"exit_status": "submitted"},
        "tools": [TOOL],
    },
    "nebius": {
        "instance_id": "a__b-1",
        "trajectory": CHAT,
        "tools": [TOOL],
        "exit_status": "submit",
        "resolved": 1,
    },
    "verifiers": {
        "example_id": 1,
        "prompt": [SYSTEM, USER],
        "completion": [ANSWER, RESULT, LAST],
        "reward": 1.0,
        "tool_defs": [TOOL],
    },
    "rllm": {
        "id": "e:0",
        "trajectories": [
            {
                "steps": [
                    {"chat_completions": CHAT[:3], "reward": 0.0},
                    {"chat_completions": CHAT, "reward": 1.0},
                ]
            }
        ],
        "is_correct": True,
    },
    "art": {
        "messages_and_choices": [
            SYSTEM,
            USER,
            {"finish_reason": "tool_calls", "index": 0, "message": ANSWER},
            RESULT,
            {"finish_reason": "stop", "index": 0, "message": LAST},
        ],
        "reward": 1.0,
        "metrics": {},
        "tools": [TOOL],
    },
    "tau": {
        "task_id": 1,
        "reward": 1.0,
        "info": {"task": {"instruction": "Ask for a harbor."}},
        "traj": CHAT,
        "trial": 0,
    },
    "smolagents": {
        "steps": [
            {"task": "Find a harbor.", "task_images": None},
            {
                "step_number": 1,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "look", "arguments": ARGUMENTS},
                    }
                ],
                "model_output_message": _without_reasoning(ANSWER),
                "model_output": "I look first.",
                "observations": "Two harbors.",
            },
        ]
    },
    "openhands": {
        "history": [
            {
                "kind": "SystemPromptEvent",
                "id": "e0",
                "source": "agent",
                "system_prompt": {"type": "text", "text": "Be brief now."},
                "tools": [TOOL],
            },
            {
                "kind": "MessageEvent",
                "id": "e1",
                "source": "user",
                "llm_message": {
                    "role": "user",
                    "content": [{"type": "text", "text": "Find a harbor."}],
                },
            },
            {
                "kind": "ActionEvent",
                "id": "e2",
                "source": "agent",
                "thought": [{"type": "text", "text": "I look first."}],
                "reasoning_content": "Ships need water.",
                "tool_name": "look",
                "tool_call_id": "c1",
                "tool_call": {"id": "c1", "name": "look", "arguments": json.dumps(ARGUMENTS)},
                "llm_response_id": "r1",
                "action": {"kind": "LookAction", "query": "open harbors"},
            },
            {
                "kind": "ObservationEvent",
                "id": "e3",
                "source": "environment",
                "tool_name": "look",
                "tool_call_id": "c1",
                "action_id": "e2",
                "observation": {
                    "kind": "LookObservation",
                    "content": [{"type": "text", "text": "Two harbors."}],
                },
            },
        ]
    },
}
