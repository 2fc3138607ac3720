"""Reads a row of any trainer's file: `row -> TrainingRow`, with all flags that it carries.

Roles and contents stay as they are in the file, since a trainer meets them as they are. Only the
spelling of fields differs between dialects: `from` and `value`, or `role` and `content`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

# Above every vocabulary; tokens are kept in 32 bits.
LARGEST_TOKEN = 1 << 31
# Names of flags on messages, or of lists beside the messages, in any dialect.
MESSAGE_FLAGS = (
    "train",
    "training",
    "weight",
    "loss",
    "loss_scale",
    "loss_mask",
    "loss_weight",
    "trainable",
    "masked",
    "critical",
)
# Fields of a message with thinking or calls beside its content, in any spelling.
REASONING_KEYS = (
    "reasoning_content",
    "reasoning",
    "thinking",
    "reasoning_text",
    "reasoning_details",
    "thinking_blocks",
)
CALL_KEYS = ("tool_calls", "function_call")
LISTED_FLAGS = ("message_loss_mask", "critical")
# Flags that are true on messages without loss.
INVERTED_FLAGS = frozenset({"masked"})
SPOKEN = {"human": "user", "gpt": "assistant"}
ROLE_OF = {
    **SPOKEN,
    "developer": "system",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "ipython": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "function": "tool",
}


class BadTrainingRowError(ValueError):
    """A row that is not a training example in any known form."""


class RefusedRowError(Exception):
    """A row that the trainer refuses, or leaves out; the message is the reason."""


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One row.

    Attributes:
        messages: the chat, with `role` and `content`; roles as in the file, except `human`, `gpt`.
        num_prompt: how many of the messages are the prompt, in rows of prompt and completion.
        flags: the values of each flag that the row carries, one per message; None: absent.
        tools: tool schemas.
        text: (prompt, completion) of a row without messages; the prompt may be empty.
        token_ids: the tokens of a row that is tokenized already.
        labels: for each token whether it carries loss.
        mask_name: the column that says so.
        column: where the row stands: messages, conversations, conversation, prompt, text or
            input_ids.
        spelling: the key of a role, `role` or `from`.
        given_roles: the role of each message as in the file.
        has_system: whether the first message is the column `system` of the row.
        raw: the row itself.
    """

    messages: tuple[dict[str, Any], ...] = ()
    num_prompt: int | None = None
    flags: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    tools: tuple[dict[str, Any], ...] = ()
    text: tuple[str, str] | None = None
    token_ids: tuple[int, ...] | None = None
    labels: tuple[bool, ...] = ()
    mask_name: str = ""
    column: str = "messages"
    spelling: str = "role"
    given_roles: tuple[str, ...] = ()
    has_system: bool = False
    raw: Any = None

    def flagged(
        self, name: str, default: bool, roles: Sequence[str] = ("assistant",)
    ) -> list[bool]:
        """Whether each message carries loss by the flag `name`.

        Args:
            default: what the trainer takes for messages of `roles` without the flag.
        """
        found = []
        for index, message in enumerate(self.messages):
            values = self.flags.get(name)
            value = None if values is None else values[index]
            if value is None:
                found.append(default and plain_role(message["role"]) in roles)
            else:
                found.append(bool(value) != (name in INVERTED_FLAGS))
        return found

    def without_system(self) -> TrainingRow:
        """The row for a trainer that does not read the column `system`."""
        return replace(
            self,
            messages=self.messages[1:],
            given_roles=self.given_roles[1:],
            num_prompt=None if self.num_prompt is None else self.num_prompt - 1,
            flags={name: values[1:] for name, values in self.flags.items()},
            has_system=False,
        )

    def with_given_roles(self) -> TrainingRow:
        """The row for a trainer that takes `human` and `gpt` as they are."""
        chat = zip(self.messages, self.given_roles, strict=True)
        return replace(self, messages=tuple({**one, "role": role} for one, role in chat))


def holds_any(message: Mapping[str, Any], keys: Sequence[str]) -> bool:
    """Whether a message has one of these fields, and something in it."""
    return any(message.get(key) for key in keys)


def plain_role(role: str) -> str:
    """system, user, assistant or tool, whatever the dialect calls it."""
    return ROLE_OF.get(role, role)


def read_training_row(row: Any) -> TrainingRow:
    """Read a row of any dialect.

    Raises:
        BadTrainingRowError: it holds neither messages, nor texts, nor tokens.
    """
    if isinstance(row, list):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise BadTrainingRowError(f"a row is {type(row).__name__}, expected an object")
    if row.get("input_ids") is not None:
        return _read_tokens(row)
    tools = _read_tools(row.get("tools", row.get("functions")))
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, str) and isinstance(completion, str):
        return TrainingRow(text=(prompt, completion), column="prompt", raw=row)
    num_prompt = None
    if prompt is not None and completion is not None:
        before, after = _list(prompt, "prompt"), _list(completion, "completion")
        spoken, num_prompt, name = [*before, *after], len(before), "prompt"
    else:
        found = next(
            (
                name
                for name in ("messages", "conversations", "conversation")
                if row.get(name) is not None
            ),
            None,
        )
        if found is None:
            if isinstance(row.get("text"), str):
                return TrainingRow(text=("", row["text"]), column="text", raw=row)
            raise BadTrainingRowError(
                "a row without messages, conversations, prompt and completion, text or input_ids; "
                f"its keys are {', '.join(map(str, list(row)[:8])) or 'none'}"
            )
        name = found
        spoken = _list(row[name], name)
    if not spoken:
        raise BadTrainingRowError("a row without messages")
    messages = [_read_message(message, index) for index, message in enumerate(spoken)]
    flags = _read_flags(row, spoken)
    spelling = "role" if all("role" in message for message in spoken) else "from"
    given_roles = [str(message.get("role", message.get("from"))) for message in spoken]
    system = row.get("system")
    has_system = isinstance(system, str) and bool(system) and messages[0]["role"] != "system"
    if has_system:
        messages.insert(0, {"role": "system", "content": system})
        given_roles.insert(0, "system")
        flags = {name: (None, *values) for name, values in flags.items()}
        num_prompt = None if num_prompt is None else num_prompt + 1
    return TrainingRow(
        messages=tuple(messages),
        num_prompt=num_prompt,
        flags=flags,
        tools=tools,
        column=name,
        spelling=spelling,
        given_roles=tuple(given_roles),
        has_system=has_system,
        raw=row,
    )


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadTrainingRowError(f"{name} is a text, expected a list of messages") from None
    if not isinstance(value, list):
        raise BadTrainingRowError(f"{name} is {value!r:.40}, expected a list of messages")
    return value


def _read_message(message: Any, index: int) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise BadTrainingRowError(f"message {index} is {message!r:.40}, expected an object")
    role = message.get("role", message.get("from"))
    if not isinstance(role, str) or not role:
        raise BadTrainingRowError(f"message {index} has the role {role!r:.40}, expected a text")
    flags = {*MESSAGE_FLAGS, "from", "value", "role", "content"}
    read = {key: value for key, value in message.items() if key not in flags and value is not None}
    content = message.get("content", message.get("value"))
    made = {"role": SPOKEN.get(role, role), "content": "" if content is None else content, **read}
    if isinstance(made["content"], list):
        _take_parts_apart(made, index)
    elif not isinstance(made["content"], str):
        raise BadTrainingRowError(
            f"message {index} has the content {content!r:.40}, expected a text or parts"
        )
    if not isinstance(made.get("tool_calls", []), list):
        raise BadTrainingRowError(f"message {index} has tool_calls that are not a list")
    return made


def _take_parts_apart(message: dict[str, Any], index: int) -> None:
    """Join the text parts of a content; parts of thinking become `reasoning_content`."""
    texts, thinking = [], []
    for part in message["content"]:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind == "thinking" and isinstance(part.get("thinking"), str):
            thinking.append(part["thinking"])
        elif kind in ("text", "input_text", "output_text") or (kind is None and part):
            text = part.get("text", part.get("content")) if isinstance(part, dict) else None
            if not isinstance(text, str):
                raise BadTrainingRowError(f"message {index} has a part {part!r:.40}")
            texts.append(text)
        else:
            raise BadTrainingRowError(f"message {index} has a part of the kind {kind!r:.40}")
    message["content"] = "".join(texts)
    if thinking:
        message["reasoning_content"] = "".join(thinking)


def _read_flags(row: dict[str, Any], spoken: Sequence[Any]) -> dict[str, tuple[Any, ...]]:
    flags = {
        name: tuple(message.get(name) for message in spoken)
        for name in MESSAGE_FLAGS
        if any(isinstance(message, dict) and message.get(name) is not None for message in spoken)
    }
    for name in LISTED_FLAGS:
        values = row.get(name)
        if isinstance(values, list):
            if len(values) != len(spoken):
                raise BadTrainingRowError(
                    f"{name} has {len(values)} entries for {len(spoken)} messages"
                )
            flags[name] = tuple(values)
    return flags


def _read_tools(tools: Any) -> tuple[dict[str, Any], ...]:
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else []
        except (ValueError, RecursionError):
            raise BadTrainingRowError("tools is a text that is not JSON") from None
    if tools is None:
        return ()
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadTrainingRowError(f"tools is {tools!r:.40}, expected a list of schemas")
    return tuple(tools)


def _read_tokens(row: dict[str, Any]) -> TrainingRow:
    ids = _whole_numbers(row["input_ids"], "input_ids")
    if wrong := [one for one in ids if not 0 <= one < LARGEST_TOKEN]:
        raise BadTrainingRowError(f"input_ids holds {wrong[0]!r:.40}, expected tokens")
    masks = []
    names = []
    if row.get("labels") is not None:
        names = ["labels"]
        masks = [[label >= 0 for label in _whole_numbers(row["labels"], "labels")]]
    else:
        for name in ("assistant_masks", "completion_mask", "loss_mask"):
            if row.get(name) is not None:
                names.append(name)
                masks.append([bool(value) for value in _whole_numbers(row[name], name)])
    for name, mask in zip(names, masks, strict=True):
        if len(mask) != len(ids):
            raise BadTrainingRowError(f"{len(ids)} input_ids and {len(mask)} {name}")
    labels = [all(bits) for bits in zip(*masks, strict=True)] if masks else [True] * len(ids)
    return TrainingRow(
        token_ids=tuple(ids),
        labels=tuple(labels),
        mask_name=" and ".join(names),
        column="input_ids",
        raw=row,
    )


def _whole_numbers(value: Any, name: str) -> list[int]:
    if not isinstance(value, list) or not all(isinstance(one, int) for one in value):
        raise BadTrainingRowError(f"{name} is {value!r:.40}, expected a list of whole numbers")
    return value
