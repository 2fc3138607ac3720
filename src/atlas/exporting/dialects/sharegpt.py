"""ShareGPT turns (`from`, `value`): AgentTraj's `loss`, and LLaMA-Factory's rows per step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from atlas.exporting.dialects.base import CannotCarryError, Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.changes import (
    ALL_CRITICAL,
    ALL_NEIGHBORS_JOINED,
    ALL_SYSTEM_MOVED,
    BLANKS_DROPPED,
    CALL_IDS_DROPPED,
    EMPTY_SYSTEM_DROPPED,
    FIRST_READ_AS_PROMPT,
    NAMES_DROPPED,
    NEIGHBORS_JOINED,
    OF_ALTERNATING,
    OF_ROWS,
    SYSTEM_MOVED,
    THINKING_MOVED,
)
from atlas.exporting.dialects.chat import (
    conversations_to_steps,
    flagged_messages,
    read_call,
    row_name,
    supervise_last,
    supervised_chat,
    tools_text,
    with_thinking,
    write_call,
)
from atlas.records import Message, Role, Selection, Trajectory

ROLES: dict[str, Role] = {"human": "user", "gpt": "assistant", "observation": "tool"}


class AgentTrajDialect(Dialect):
    """AgentGym's own shape: human and gpt alternate, `loss` on gpt turns."""

    notes = """\
Read in its code, not run: AgentGym's own behavior-cloning trainer ignores `loss` and trains every
gpt turn (the canned "OK." too). Use this to pass a selection on in the paper's data format. `atlas
import` reads it back, and the selector `annotated` gives the same steps."""
    suffixes = (".json", ".jsonl")
    changes = (
        *OF_ALTERNATING,
        FIRST_READ_AS_PROMPT,
        ALL_CRITICAL,
        ALL_NEIGHBORS_JOINED,
        ALL_SYSTEM_MOVED,
        THINKING_MOVED,
        NAMES_DROPPED,
    )

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        messages = trajectory.messages
        if trajectory.tools or any(one.tool_calls or one.role == "tool" for one in messages):
            other = "Use openai, axolotl, ms-swift or trl"
            raise CannotCarryError(f"tool calls have no form in agenttraj. {other}")
        turns = []
        for message, critical in joined(flagged_messages(trajectory, selection)):
            speaker, loss = ("gpt", critical) if message.role == "assistant" else ("human", None)
            turns.append({"from": speaker, "loss": loss, "value": with_thinking(message)})
        yield {"conversations": turns, "item_id": trajectory.task.id}

    def read(self, row: ExportRow) -> SupervisedChat:
        return supervised_chat(
            (_message(turn["from"], turn["value"]), turn["from"] == "gpt" and turn["loss"])
            for turn in row["conversations"]
        )


class LlamaFactoryDialect(Dialect):
    """One conversation per critical step, to be trained with `mask_history: true`."""

    notes = """\
Run with llamafactory 0.9.5 (sharegpt converter and supervised processor, template qwen, text turns;
transformers newer than it supports). One token per turn differs: its template also trains the
newline after <|im_end|>. LLaMA-Factory 0.9.5 reads no flag per turn: it trains every gpt turn, or
with `mask_history: true` only the last one. So there is one row per critical step; `id` and `step`
say which rows belong together, and `mask_history` in a row is for readers: the trainer takes it
from its own settings. Its newer engine (USE_V1=1) reads a `loss_weight` per message in another data
format, and makes a sample of each turn with a weight (read in its code, not run).
`mask_history` also strips thinking from earlier turns, as at inference, unless the template keeps
it. A row that does not alternate is skipped with a warning in the log only, so neighbors are joined
here, or the trajectory is left out. With mask_history, `cutoff_len` keeps the end of the row. The
format `openai` of 0.9.5 adds words to system prompts: keep `sharegpt`."""
    stanza = """\
# dataset_info.json
"atlas": {
  "file_name": "{file}",
  "formatting": "sharegpt",
  "columns": {"messages": "conversations", "system": "system", "tools": "tools"}
}
# training YAML
dataset: atlas
mask_history: true"""
    suffixes = (".jsonl", ".json")
    changes = (
        *OF_ROWS,
        NEIGHBORS_JOINED,
        SYSTEM_MOVED,
        EMPTY_SYSTEM_DROPPED,
        BLANKS_DROPPED,
        THINKING_MOVED,
        CALL_IDS_DROPPED,
        NAMES_DROPPED,
    )
    one_row_per_step = True

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        if any(message.tool_calls and message.content.strip() for message in trajectory.messages):
            raise CannotCarryError(
                "a turn has text beside its tool calls, which LLaMA-Factory's function_call cannot "
                "hold. Use --to trl"
            )
        for step, history, response in conversations_to_steps(trajectory, selection):
            opens = bool(history) and history[0].role == "system"
            rest = history[1:] if opens else history
            turns = joined([*((message, False) for message in rest), (response, True)])
            yield {
                **row_name(trajectory, step),
                "conversations": [
                    {"from": _speaker(message), "value": _value(message)} for message, _ in turns
                ],
                "system": history[0].content if opens else "",
                "tools": tools_text(trajectory),
                # Not read from rows by the trainer, which has it in its own settings.
                "mask_history": True,
            }

    def read(self, row: ExportRow) -> SupervisedChat:
        system = [Message(role="system", content=row["system"])] if row["system"] else []
        turns = [_message(turn["from"], turn["value"]) for turn in row["conversations"]]
        return supervise_last([*system, *turns])


def joined(flagged: Iterable[tuple[Message, bool]]) -> Iterator[tuple[Message, bool]]:
    """Join neighboring messages of the same side, so that human and assistant alternate.

    Raises:
        CannotCarryError: the assistant has the first turn, or two turns in a row.
    """
    waiting: Message | None = None
    for message, critical in flagged:
        if message.role == "assistant":
            if waiting is None:
                raise CannotCarryError(
                    "two assistant turns follow each other, or one is the first; the format "
                    "alternates. Use --to trl"
                )
            if waiting.role == "system":
                waiting = waiting.model_copy(update={"role": "user"})
            yield waiting, False
            yield message, critical
            waiting = None
        elif waiting is None:
            waiting = message
        else:
            role = "user" if waiting.role == "system" else waiting.role
            content = f"{waiting.content}\n\n{message.content}"
            waiting = waiting.model_copy(update={"role": role, "content": content})


def _speaker(message: Message) -> str:
    if message.role == "assistant":
        return "function_call" if message.tool_calls else "gpt"
    return "observation" if message.role == "tool" else "human"


def _value(message: Message) -> str:
    if not message.tool_calls:
        return with_thinking(message)
    calls = list(map(write_call, message.tool_calls))
    text = json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)
    return with_thinking(message, text)


def _message(speaker: str, value: str) -> Message:
    if speaker != "function_call":
        return Message(role=ROLES[speaker], content=value)
    thinking, _, text = value.rpartition("</think>\n\n")
    calls = json.loads(text)
    made = map(read_call, calls if isinstance(calls, list) else [calls])
    return Message(role="assistant", content=thinking, tool_calls=tuple(made))
