"""Rows of chats, rollouts and traces with all that their format holds; each word stands once."""

from __future__ import annotations

import json
from typing import Any

from tests.format_examples.nebius import nebius_row
from tests.format_examples.otel_containers import node, otlp
from tests.format_examples.otel_conventions import CONVENTIONS
from tests.format_examples.rl import call_text, trace_row

Row = dict[str, Any]
Example = tuple[str, list[Any]]
FUNCTION = {
    "name": "open",
    "description": "word1 opens",
    "parameters": {"type": "object", "properties": {"door": {"description": "word2 door"}}},
}
TOOL = {"type": "function", "function": FUNCTION}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "open", "arguments": '{"door": "word7"}'},
}
CHAT: list[Row] = [
    {"role": "system", "content": "word3 rules"},
    {"role": "user", "content": "word4 go"},
    {
        "role": "assistant",
        "content": "word5 look",
        "reasoning_content": "word6 hm",
        "tool_calls": [CALL],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "word8 wall"},
    {"role": "assistant", "content": "word9 done"},
]
AS_TEXT = {**CHAT[2], "tool_calls": [call_text("c1", "open", door="word7")]}
STEP = {"tokens": {"prompt_ids": [1]}, "reward": 0.5, "advantage": 0.1, "extras": {"note": "n"}}
NODES = [
    {"parent": index - 1 if index else None, "message": message, "sampled": index in (2, 4)}
    for index, message in enumerate(CHAT)
]
TRACE = trace_row([("a", "b")], 1)
TRACE["traces"][0] |= {"nodes": NODES, "tools": [FUNCTION]}


def _choice(message: Row) -> Row:
    return {"index": 0, "finish_reason": "stop", "message": message}


def _turn(who: str, value: str) -> Row:
    return {"from": who, "value": value}


def _generation(number: int, answer: int) -> Row:
    return {
        "id": f"o{number}",
        "traceId": "t",
        "type": "GENERATION",
        "name": "chat",
        "startTime": f"2026-01-01T00:00:0{number}.000Z",
        "input": {"messages": CHAT[:answer], "tools": [TOOL]},
        "output": CHAT[answer],
    }


def _decoded(attributes: Row) -> Row:
    """The attributes of a span, JSON texts in them decoded."""
    return {
        key: json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value
        for key, value in attributes.items()
    }


def _of_langchain(kind: str, content: str, **fields: Any) -> Row:
    given = {"type": kind, "content": content, "additional_kwargs": {}, "response_metadata": {}}
    return given | fields


CALL_OF_LANGCHAIN = {"id": "c1", "name": "open", "args": {"door": "word7"}, "type": "tool_call"}
TAU2 = {
    "timestamp": "t",
    "info": {
        "environment_info": {
            "domain_name": "doors",
            "policy": "word3 rules",
            "tool_defs": {"open": FUNCTION},
        }
    },
    "tasks": [],
    "simulations": [
        {
            "id": "s",
            "task_id": "1",
            "termination_reason": "user_stop",
            "reward_info": {"reward": 1.0},
            "messages": [
                CHAT[1],
                {
                    "role": "assistant",
                    "content": "word5 look",
                    "raw_data": {"message": {"reasoning_content": "word6 hm"}},
                    "tool_calls": [{"id": "c1", "name": "open", "arguments": {"door": "word7"}}],
                },
                {"role": "tool", "id": "c1", "content": "word8 wall", "error": False},
                {**CHAT[4], "raw_data": {"message": {"content": "word9 done"}}},
            ],
        }
    ],
}
RLLM_STEPS = [
    {"chat_completions": CHAT[:3], "reward": 0.0, "done": False},
    {"chat_completions": CHAT, "reward": 1.0, "done": True},
]
VERL_SEEN = (
    "<|im_start|>system\nword3 rules<|im_end|>\n<|im_start|>user\nword4 go<|im_end|>\n"
    "<|im_start|>assistant\n"
)
VERL_SAID = (
    "word5 look<|im_end|>\n<|im_start|>user\nword8 wall<|im_end|>\n"
    "<|im_start|>assistant\nword9 done<|im_end|>\n"
)
COLUMNS = {
    "step": [-1, -1, 0, -1, 1],
    "critical": [False, False, True, False, False],
    "kinds": [[], [], ["critical_action"], [], []],
    "reasons": [None, None, "it decides", None, None],
    "scores": [None, None, 0.5, None, None],
}
LOSSES = (None, False, None, True, None, True)
AGENTTRAJ = ("word3 rules", "Ok.", "word4 go", "word5 look", "word8 wall", "word9 done")
EXAMPLES: dict[str, Example] = {
    "openai": ("openai", [{"messages": CHAT, "tools": [TOOL]}]),
    "sharegpt": (
        "sharegpt",
        [
            {
                "conversations": [
                    _turn("human", "word4 go"),
                    _turn("function_call", '{"name": "open", "arguments": {"door": "word7"}}'),
                    _turn("observation", "word8 wall"),
                    _turn("gpt", "<think>word6 hm</think>word9 done"),
                ],
                "system": "word3 rules",
                "tools": json.dumps([FUNCTION]),
            }
        ],
    ),
    "agenttraj": (
        "agenttraj",
        [
            {
                "item_id": "doors_1",
                "conversations": [
                    {"from": ("human", "gpt")[index % 2], "value": text, "loss": loss}
                    for index, (text, loss) in enumerate(zip(AGENTTRAJ, LOSSES, strict=True))
                ],
            }
        ],
    ),
    "xlam": (
        "xlam",
        [
            {
                "query": "word4 go",
                "answers": '[{"name": "open", "arguments": {"door": "word7"}}]',
                "tools": json.dumps([FUNCTION]),
            }
        ],
    ),
    "react": (
        "react",
        [
            {
                "question": "word4 go",
                "text": "Thought 1: word5 look\nAction 1: open[word7]\nObservation 1: word8 wall\n"
                "Thought 2: word9 done\nAction 2: finish[word10]",
            }
        ],
    ),
    "nebius": (
        "nebius",
        [{"instance_id": "a__b-1", "trajectory": CHAT, "tools": [TOOL], "resolved": 1}],
    ),
    "nebius of SWE-agent": ("nebius", [nebius_row([("Fix it.", "I look."), ("a.py", "Done.")], 1)]),
    "selection_table": (
        "selection_table",
        [
            {
                **{"id": "t1", "task": "t1", "environment": "doors", "outcome": "success"},
                **{"score": 1.0, "selector": "oracle", "messages": CHAT, **COLUMNS},
                "tools": json.dumps([TOOL]),
            }
        ],
    ),
    "tau": (
        "tau",
        [{"task_id": 1, "reward": 1.0, "info": {"source": "user"}, "traj": CHAT, "trial": 0}],
    ),
    "tau2": ("tau", [TAU2]),
    "verifiers results": (
        "verifiers",
        [
            {
                "example_id": 1,
                "prompt": CHAT[:2],
                "completion": [AS_TEXT, *CHAT[3:]],
                "reward": 1.0,
                "info": {"oai_tools": [TOOL]},
                "metrics": {"turns": 2.0},
                "timing": {"total": 1.5},
            }
        ],
    ),
    "verifiers model calls": (
        "verifiers",
        [
            {
                "example_id": 1,
                "prompt": CHAT[:2],
                "completion": None,
                "reward": 1.0,
                "tool_defs": [FUNCTION],
                "trajectory": [
                    {"prompt": CHAT[:2], "completion": [CHAT[2]], **STEP},
                    {"prompt": CHAT[:4], "completion": [CHAT[4]], **STEP},
                ],
            }
        ],
    ),
    "verifiers trace": ("verifiers", [TRACE]),
    "rllm": (
        "rllm",
        [
            {
                "id": "t:0",
                "is_correct": True,
                "trajectories": [{"name": "agent", "reward": 1.0, "steps": RLLM_STEPS}],
            }
        ],
    ),
    "art": (
        "art",
        [
            {
                "messages_and_choices": [
                    *CHAT[:2],
                    _choice(CHAT[2]),
                    CHAT[3],
                    _choice(CHAT[4]),
                ],
                "reward": 0.5,
                "metrics": {"won": 1},
                "metadata": {"scenario_id": 3},
                "tools": [TOOL],
                "logs": ["started"],
            }
        ],
    ),
    "verl": ("verl", [{"input": VERL_SEEN, "output": VERL_SAID, "gts": None, "score": 1.0}]),
    "langfuse": (
        "langfuse",
        [
            {
                "id": "t",
                "name": "run",
                "scores": [],
                "observations": [_generation(0, 2), _generation(1, 4)],
            }
        ],
    ),
    "langchain": (
        "langchain",
        [
            {
                "messages": [
                    _of_langchain("system", "word3 rules"),
                    _of_langchain("human", "word4 go"),
                    _of_langchain(
                        "ai",
                        "word5 look",
                        additional_kwargs={"reasoning_content": "word6 hm"},
                        tool_calls=[CALL_OF_LANGCHAIN],
                        invalid_tool_calls=[],
                    ),
                    _of_langchain("tool", "word8 wall", tool_call_id="c1", status="success"),
                    _of_langchain("ai", "word9 done", tool_calls=[], invalid_tool_calls=[]),
                ],
                "tools": [TOOL],
            }
        ],
    ),
    "otel typed": ("otel", otlp([*CONVENTIONS["openinference"]()])),
    **{
        f"otel {name}": ("otel", node([_decoded(span) for span in make()]))
        for name, make in CONVENTIONS.items()
    },
}
