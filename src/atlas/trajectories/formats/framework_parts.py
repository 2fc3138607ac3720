"""The content of a message in any framework's spelling: text, reasoning, calls and results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.rows import BadRowError

TEXTS = frozenset(("text", "input_text", "output_text"))
REASONING = frozenset(
    ("reasoning", "thinking", "reasoning_text", "summary_text", "thought", "textreasoningcontent")
)
CALLS = frozenset(
    (
        "tool_call",
        "tool_use",
        "function_call",
        "custom_tool_call",
        "server_tool_use",
        "server_tool_call",
        "invalid_tool_call",
    )
)
RESULTS = frozenset(
    (
        "tool_call_response",
        "tool_result",
        "tool_response",
        "function_response",
        "function_result",
        "function_call_output",
        "custom_tool_call_output",
        "server_tool_result",
    )
)
MEDIA = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "audio": "audio",
    "input_audio": "audio",
    "audio_url": "audio",
    "video": "video",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
    "document": "file",
    "document_url": "file",
    "blob": "file",
    "binary": "file",
    "uri": "file",
    "media": "file",
    "inline_data": "file",
    "file_data": "file",
}
# Parts that are named by their only key: Gemini's and Bedrock's.
NAMED_BY_KEY = {
    "functioncall": "function_call",
    "function_call": "function_call",
    "functionresponse": "function_response",
    "function_response": "function_response",
    "tooluse": "tool_use",
    "toolresult": "tool_result",
    "reasoningcontent": "reasoning",
    "inlinedata": "inline_data",
    "inline_data": "inline_data",
    "filedata": "file_data",
    "file_data": "file_data",
    "image": "image",
    "video": "video",
    "document": "document",
    "message_content": "message_content",
    "tool_call": "tool_call",
}
HIDDEN = frozenset(("redacted_thinking", "redacted_reasoning", "compaction"))
CALL_IDS = ("call_id", "toolCallId", "tool_call_id", "toolUseId", "id")
RESULT_IDS = ("tool_call_id", "tool_use_id", "toolCallId", "toolUseId", "call_id", "id")
NAMES = ("name", "toolName", "tool_name")
ARGUMENTS = ("arguments", "args", "input", "parameters", "tool_kwargs", "kwargs")
RESULT_VALUES = ("response", "result", "output", "content", "value")
REASONING_TEXTS = ("content", "thinking", "reasoning", "reasoningText", "text", "summary")


class Content:
    """The content of one message. `pieces` are messages in order; `notes` what was left out."""

    def __init__(self, role: Role, index: int, notes: dict[str, None]) -> None:
        self.role = role
        self.index = index
        self.notes = notes
        self.done: list[Message] = []
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[ToolCall] = []

    def add(self, value: Any) -> None:
        """Add content as it came: a text, a part or a list of them; for a result any value."""
        if value is None:
            return
        if isinstance(value, str):
            self.text.append(value)
        elif self.role == "tool":
            self.text.append(text_of_result(value))
        elif isinstance(value, list):
            for part in value:
                self._part(part)
        elif isinstance(value, dict):
            self._part(value)
        else:
            reason = f"content is {value!r:.60}, expected a text or a list of parts"
            raise BadRowError(reason, self.index)

    def add_calls(self, calls: Any) -> None:
        """Add the calls of a list beside the content; a call that is known by its id replaces it.

        Raises:
            BadRowError: something is not a call.
        """
        if calls is None or calls == "":
            return
        if not isinstance(calls, list):
            raise BadRowError(f"tool calls are {calls!r:.60}, expected a list", self.index)
        for each in calls:
            call = read_call(each, self.index)
            known = [place for place, other in enumerate(self.calls) if _is_same(other, call)]
            if known:
                self.calls[known[0]] = call
            else:
                self.calls.append(call)

    def add_reasoning(self, value: Any) -> None:
        """Add reasoning under any spelling; what is already known is not added again."""
        text = text_of_reasoning(value)
        if text and text not in self.reasoning:
            self.reasoning.append(text)

    def messages(self, tool_call_id: str | None = None, name: str | None = None) -> list[Message]:
        """The messages that the content makes up, in order."""
        is_empty = not (self.text or self.reasoning or self.calls)
        if not (is_empty and self.done):
            self._finish(tool_call_id, name)
        return self.done

    def _finish(self, tool_call_id: str | None = None, name: str | None = None) -> None:
        if self.calls and self.role != "assistant":
            raise BadRowError("tool calls may only stand in an assistant's message", self.index)
        self.done.append(
            Message(
                role=self.role,
                content="".join(self.text),
                reasoning="\n".join(self.reasoning) or None,
                tool_calls=tuple(self.calls),
                tool_call_id=tool_call_id,
                name=name,
            )
        )
        self.text, self.reasoning, self.calls = [], [], []

    def _part(self, part: Any) -> None:
        if isinstance(part, str):
            self.text.append(part)
            return
        if not isinstance(part, dict):
            reason = f"content has a part {part!r:.60}, expected a text or an object with 'type'"
            raise BadRowError(reason, self.index)
        kind, inner = kind_of_part(part)
        if kind in REASONING or (kind in TEXTS and part.get("thought") is True):
            self._reasoning_part(inner)
        elif kind in TEXTS:
            self.text.append(self._said(part, kind))
        elif kind in CALLS:
            self.add_calls([inner])
        elif kind in RESULTS:
            self._result(inner)
        elif kind in MEDIA:
            self._medium(part, kind)
        else:
            self._rare_part(part, kind, inner)

    def _rare_part(self, part: Mapping[str, Any], kind: str, inner: Any) -> None:
        if kind == "message_content":
            # OpenInference marks the place of a call that stands beside the content.
            if kind_of_part(inner)[0] not in CALLS or inner.keys() & {*NAMES, "function"}:
                self._part(inner)
        elif kind in HIDDEN:
            self.notes[f"a part of type {kind} holds nothing that can be read"] = None
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            self.text.append(part["refusal"])
        elif kind == "non_standard" and isinstance(part.get("value"), dict):
            self._part(part["value"])
        else:
            reason = f"content has a part of type {kind!r:.60}, which is not read"
            raise BadRowError(reason, self.index)

    def _said(self, part: Mapping[str, Any], kind: str) -> str:
        said = next((part[key] for key in ("text", "content") if key in part), None)
        if not isinstance(said, str):
            reason = f"content has a part of type {kind!r:.60} without text"
            raise BadRowError(f"{reason}, expected a 'text' in it", self.index)
        return said

    def _reasoning_part(self, inner: Any) -> None:
        if text := text_of_reasoning(inner):
            self.reasoning.append(text)
        elif self.role == "assistant":
            self.notes["reasoning that only the service can read"] = None

    def _result(self, part: Any) -> None:
        result = read_result(object_or_empty(part))
        if self.text or self.reasoning or self.calls:
            if self.role == "assistant":
                self.notes["a service ran a tool within an answer, which begins a new step"] = None
            self._finish()
        self.done.append(result)

    def _medium(self, part: Mapping[str, Any], kind: str) -> None:
        given = part.get("modality")
        name = given if isinstance(given, str) and given else MEDIA[kind]
        if self.role == "assistant":
            self.notes[f"an answer has a part of type {name}, which is not carried over"] = None
        else:
            self.text.append(f"[{name}]")


def read_call(value: Any, index: int) -> ToolCall:
    """A call in any framework's spelling.

    Raises:
        BadRowError: it has no name, or its arguments are neither a text nor JSON.
    """
    given = object_or_empty(value)
    for key in ("tool_call", "toolUse"):
        if isinstance(given.get(key), dict):
            given = {"id": given.get("id"), **given[key]}
    function = object_or_empty(given.get("function", given.get("custom"))) or given
    name = _first(function, NAMES)
    if not isinstance(name, str):
        reason = f"a tool call has no name: {value!r:.60}, expected 'name' and 'arguments' in it"
        raise BadRowError(reason, index)
    found = _first(function, ARGUMENTS)
    arguments = _first(given, ARGUMENTS) if found is None else found
    if arguments is None or arguments == "":
        arguments = "{}"
    if isinstance(arguments, int | float):
        reason = f"the arguments of tool call {name!r:.60} are {arguments!r:.60}"
        raise BadRowError(f"{reason}, expected a JSON text or an object", index)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=_id_of(given, CALL_IDS), name=name, arguments=text)


def read_result(part: Mapping[str, Any]) -> Message:
    """A result in any framework's spelling."""
    name = _first(part, NAMES)
    return Message(
        role="tool",
        content=text_of_result(_first(part, RESULT_VALUES)),
        tool_call_id=_id_of(part, RESULT_IDS),
        name=name if isinstance(name, str) else None,
    )


def text_of_result(value: Any) -> str:
    """What a model saw of a result: a text, the text of its parts, or JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    is_typed = isinstance(value, dict) and set(value) <= {"type", "value", "providerOptions"}
    if is_typed and "value" in value:
        return text_of_result(value["value"])
    if isinstance(value, dict) and set(value) == {"content"} and isinstance(value["content"], list):
        value = value["content"]
    if isinstance(value, list) and value:
        texts = [_shown(part) for part in value]
        if None not in texts:
            return "".join(filter(None, texts))
    return json.dumps(value, ensure_ascii=False)


def kind_of_part(part: Mapping[str, Any]) -> tuple[str, Any]:
    """The kind of a part, and where its fields stand."""
    given = part.get("type")
    if isinstance(given, str) and given:
        return given.lower().replace("-", "_").rpartition(".")[2], part
    for key, inner in part.items():
        kind = NAMED_BY_KEY.get(key.lower()) if isinstance(key, str) else None
        if kind is not None and isinstance(inner, dict):
            return kind, inner
    return ("text" if isinstance(part.get("text"), str) else str(given)), part


def text_of_reasoning(value: Any) -> str:
    """The text of reasoning, which may be nested or a list of summaries."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of_reasoning, value)))
    if isinstance(value, dict):
        texts = (text_of_reasoning(value.get(key)) for key in REASONING_TEXTS)
        return next(filter(None, texts), "")
    return ""


def _shown(part: Any) -> str | None:
    """A part of a result as the model saw it; None where the value is not a list of parts."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return None
    kind, _ = kind_of_part(part)
    if kind in TEXTS and isinstance(part.get("text"), str):
        return str(part["text"])
    return f"[{MEDIA[kind]}]" if kind in MEDIA else None


def _first(owner: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((owner[key] for key in keys if owner.get(key) is not None), None)


def _id_of(owner: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    found = _first(owner, keys)
    return str(found) if isinstance(found, str | int) and found != "" else None


def _is_same(first: ToolCall, second: ToolCall) -> bool:
    if first.id is not None or second.id is not None:
        return first.id == second.id
    return (first.name, first.arguments) == (second.name, second.arguments)
