"""ShareGPT turns (`from`, `value`): AgentTraj's `loss`, and LLaMA-Factory, which honours no flag and gets a row per critical step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from atlas.exporting.dialects.base import CannotCarryError, Row, SupervisedChat
from atlas.exporting.dialects.chat import (
    ChatDialect,
    flagged_messages,
    thinking_losses,
    tools_text,
    with_thinking,
)
from atlas.exporting.dialects.last_turn import conversations_to_steps
from atlas.records import Message, Selection, ToolCall, Trajectory

JOINED_LOSS = "adjacent messages of one side were joined, an empty line between them"


class AgentTrajDialect(ChatDialect):
    """AgentGym's own shape: human and gpt alternate, `loss` on gpt turns."""

    notes = """\
Read, not run: AgentGym's own behaviour-cloning trainer does not look at `loss` and trains every gpt turn (the canned
"OK." too). Use this to hand a selection on in the paper's data format; `atlas import` reads it back, and the selector
`annotated` gives the same steps."""
    suffixes = (".json", ".jsonl")

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        _refuse_tools(trajectory, "agenttraj")
        turns = []
        for message, critical in joined(flagged_messages(trajectory, selection)):
            gpt = message.role == "assistant"
            turns.append(
                {
                    "from": "gpt" if gpt else "human",
                    "loss": critical if gpt else None,
                    "value": with_thinking(message),
                }
            )
        yield {"conversations": turns, "item_id": trajectory.task.id}

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        return (*joining_losses(trajectory), *thinking_losses(trajectory))

    def read(self, row: Row) -> SupervisedChat:
        turns = row["conversations"]
        messages = tuple(
            Message(role={"human": "user", "gpt": "assistant"}[turn["from"]], content=turn["value"])
            for turn in turns
        )
        return SupervisedChat(
            messages, tuple(turn["from"] == "gpt" and bool(turn["loss"]) for turn in turns)
        )


class LlamaFactoryDialect(ChatDialect):
    """One conversation per critical step, to be trained with `mask_history: true`."""

    notes = """\
Executed with llamafactory 0.9.5 (sharegpt converter and supervised processor, template qwen, text turns; transformers
newer than it supports), except for one token a turn: the newline after <|im_end|>, which its template counts to the
turn, is trained too. LLaMA-Factory honours no flag per turn (0.9.5): every gpt turn is trained, or with
`mask_history: true` the last one alone. Hence one row per critical step. Its newer engine (USE_V1=1) reads a
`loss_weight` per message, of another data format; it was read, not run. `mask_history` also strips thinking from
earlier turns, as at inference, unless the template keeps it. A row that does not alternate is skipped with a warning
in the log alone: neighbours are joined here, or the trajectory is left out. `cutoff_len` keeps the end of the row
with mask_history. The format `openai` of 0.9.5 adds words to system prompts: keep `sharegpt`."""
    stanza = """\
# dataset_info.json
"atlas": {"file_name": "{file}", "formatting": "sharegpt", "columns": {"messages": "conversations", "system": "system", "tools": "tools"}}
# training YAML
dataset: atlas
mask_history: true"""
    suffixes = (".jsonl", ".json")
    one_row_per_step = True

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        if any(message.tool_calls and message.content.strip() for message in trajectory.messages):
            raise CannotCarryError(
                "a turn has text beside its tool calls, which LLaMA-Factory's function_call cannot hold. Use --to trl"
            )
        for history, response in conversations_to_steps(trajectory, selection):
            system = history[0].content if history and history[0].role == "system" else ""
            rest = [(message, False) for message in (history[1:] if system else history)]
            turns = list(joined([*rest, (response, True)]))
            yield {
                "conversations": [
                    {"from": _speaker(message), "value": _value(message)} for message, _ in turns
                ],
                "system": system,
                "tools": tools_text(trajectory),
            }

    def losses(self, trajectory: Trajectory) -> tuple[str, ...]:
        lost = [*joining_losses(trajectory, system_apart=True), *thinking_losses(trajectory)]
        if any(
            call.id is not None for message in trajectory.messages for call in message.tool_calls
        ):
            lost.append("ids of tool calls: calls and results are matched by their order alone")
        return tuple(lost)

    def read(self, row: Row) -> SupervisedChat:
        messages = [Message(role="system", content=row["system"])] if row["system"] else []
        messages += [_message(turn["from"], turn["value"]) for turn in row["conversations"]]
        if messages[-1].role != "assistant":
            raise ValueError("the conversation does not end in an assistant turn")
        return SupervisedChat(tuple(messages), (*[False] * (len(messages) - 1), True))


def joined(
    flagged: Iterator[tuple[Message, bool]] | Sequence[tuple[Message, bool]],
) -> Iterator[tuple[Message, bool]]:
    """The messages with neighbours of one side joined, so that the two sides alternate, the human side first.

    Raises:
        CannotCarryError: the assistant begins, or speaks twice in a row.
    """
    waiting: Message | None = None
    for message, critical in flagged:
        if message.role == "assistant":
            if waiting is None:
                raise CannotCarryError(
                    "two assistant turns with nothing between them, or one at the start; the format alternates. Use --to trl"
                )
            yield waiting, False
            yield message, critical
            waiting = None
        elif waiting is None:
            waiting = message
        else:
            role = "user" if waiting.role == "system" else waiting.role
            waiting = waiting.model_copy(
                update={"role": role, "content": f"{waiting.content}\n\n{message.content}"}
            )


def joining_losses(trajectory: Trajectory, *, system_apart: bool = False) -> tuple[str, ...]:
    messages = trajectory.messages
    if system_apart and messages and messages[0].role == "system":
        messages = messages[1:]
    lost = (
        [JOINED_LOSS]
        if any("assistant" not in (one.role, other.role) for one, other in pairwise(messages))
        else []
    )
    if any(message.role == "system" for message in (messages if system_apart else messages[1:])):
        lost.append("system messages in mid-conversation are told as the human's")
    return tuple(lost)


def _refuse_tools(trajectory: Trajectory, name: str) -> None:
    if trajectory.tools or any(
        message.tool_calls or message.role == "tool" for message in trajectory.messages
    ):
        raise CannotCarryError(
            f"tool calls have no form in {name}. Use openai, axolotl, ms-swift or trl"
        )


def _speaker(message: Message) -> str:
    if message.role == "assistant":
        return "function_call" if message.tool_calls else "gpt"
    return "observation" if message.role == "tool" else "human"


def _value(message: Message) -> str:
    if not message.tool_calls:
        return with_thinking(message)
    calls = [
        {"name": call.name, "arguments": _decoded(call.arguments)} for call in message.tool_calls
    ]
    text = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    return (
        text if message.reasoning is None else f"<think>\n{message.reasoning}\n</think>\n\n{text}"
    )


def _decoded(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _message(speaker: str, value: str) -> Message:
    if speaker == "function_call":
        calls = json.loads(value.rpartition("</think>\n\n")[2])
        made = [
            ToolCall(
                name=call["name"],
                arguments=call["arguments"]
                if isinstance(call["arguments"], str)
                else json.dumps(call["arguments"], ensure_ascii=False),
            )
            for call in (calls if isinstance(calls, list) else [calls])
        ]
        return Message(
            role="assistant", content=value.rpartition("</think>\n\n")[0], tool_calls=tuple(made)
        )
    roles = {"human": "user", "gpt": "assistant", "observation": "tool"}
    return Message.model_validate({"role": roles[speaker], "content": value})
