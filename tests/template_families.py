"""Chat templates of model families (tests/chat_templates), each with what is special about it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from atlas.records import Message, Step, ToolCall, Trajectory
from atlas.rendering.renderer import Renderer
from tests.conftest import make_trajectory
from tests.templates import make_tokenizer

FOLDER = Path(__file__).resolve().parent / "chat_templates"
IM = ("<|im_start|>", "<|im_end|>")
DEEPSEEK_TOOLS = tuple(
    f"<｜tool▁{name}｜>"
    for name in (
        "calls▁begin",
        "calls▁end",
        "call▁begin",
        "call▁end",
        "sep",
        "outputs▁begin",
        "outputs▁end",
        "output▁begin",
        "output▁end",
    )
)


@dataclass(frozen=True, slots=True)
class Family:
    """A family's tokens and manners.

    Attributes:
        file: its template; `prefix` is written before it.
        special: tokens kept whole; the last of them ends a turn.
        folds_system: whether it has no system turn.
        thinks: whether it writes thinking; it then strips that of earlier turns.
        opener: what its generation prompt opens for the model.
        has_tools: whether it writes calls and results.
        several_calls: whether a turn may hold several calls.
        call_text: whether a turn may hold words beside a call.
    """

    file: str
    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    prefix: str = ""
    folds_system: bool = False
    thinks: bool = False
    opener: str = ""
    has_tools: bool = False
    several_calls: bool = True
    call_text: bool = True


DEEPSEEK = (
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    *DEEPSEEK_TOOLS,
    "<｜end▁of▁sentence｜>",
)
LLAMA_3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
FAMILIES: dict[str, Family] = {
    "llama-2": Family("llama-2", ("<s>", "</s>"), "</s>", "<s>"),
    "mistral-v0.3": Family(
        "mistral-v0.3", ("<s>", "[INST]", "[/INST]", "</s>"), "</s>", "<s>", folds_system=True
    ),
    "gemma-strict": Family(
        "gemma-strict",
        ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        "<bos>",
        folds_system=True,
    ),
    "phi-3": Family(
        "phi-3",
        ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|endoftext|>",
    ),
    "phi-4": Family("phi-4", ("<|im_start|>", "<|im_sep|>", "<|im_end|>"), "<|im_end|>"),
    "qwen2.5": Family("qwen2.5", IM, "<|im_end|>", has_tools=True),
    "qwen3": Family("qwen3", IM, "<|im_end|>", thinks=True, has_tools=True),
    "qwen3-thinking": Family(
        "qwen3",
        IM,
        "<|im_end|>",
        prefix="{%- set opens_thinking = true -%}",
        thinks=True,
        opener="<think>\n",
        has_tools=True,
    ),
    "deepseek-r1": Family(
        "deepseek-r1",
        DEEPSEEK,
        DEEPSEEK[-1],
        DEEPSEEK[0],
        thinks=True,
        opener="<think>\n",
        has_tools=True,
    ),
    "hermes": Family("hermes", IM, "<|im_end|>", has_tools=True),
    "llama-3.1": Family(
        "llama-3.1",
        LLAMA_3,
        "<|eot_id|>",
        LLAMA_3[0],
        has_tools=True,
        several_calls=False,
        call_text=False,
    ),
}


@cache
def family_renderer(name: str) -> Renderer:
    family = FAMILIES[name]
    template = family.prefix + (FOLDER / f"{family.file}.jinja").read_text(encoding="utf-8")
    return Renderer(make_tokenizer(template, list(family.special), family.eos, family.bos), name)


def with_thinking(trajectory: Trajectory, thought: str = "Hm") -> Trajectory:
    """The same trajectory with thinking in its field, different in each step."""
    steps = tuple(
        step.model_copy(
            update={
                "response": step.response.model_copy(update={"reasoning": f"{thought} {index}."})
            }
        )
        for index, step in enumerate(trajectory.steps)
    )
    return trajectory.model_copy(update={"steps": steps})


def tool_trajectory(family: Family) -> Trajectory:
    """A question, two calls (or one), their results, another call, its result, an answer."""
    schema = {
        "type": "function",
        "function": {"name": "open", "parameters": {"type": "object", "properties": {}}},
    }

    def turn(text: str, *doors: int) -> Message:
        calls = tuple(
            ToolCall(id=str(door), name="open", arguments=f'{{"door": {door}}}') for door in doors
        )
        thought = f"Perhaps {text.lower()}" if family.thinks else None
        return Message(
            role="assistant",
            content=text if family.call_text or not doors else "",
            reasoning=thought,
            tool_calls=calls,
        )

    def result(door: int) -> Message:
        return Message(role="tool", content=f"Door {door} is open.", tool_call_id=str(door))

    doors = (1, 2) if family.several_calls else (1,)
    steps = (
        Step(
            observation=(Message(role="user", content="Open the doors."),),
            response=turn("I open them.", *doors),
        ),
        Step(observation=tuple(result(door) for door in doors), response=turn("One more.", 3)),
        Step(observation=(result(3),), response=turn("Done.")),
    )
    return make_trajectory(0).model_copy(update={"tools": (schema,), "steps": steps})
