"""The content of a message in any framework's spelling: text, reasoning, calls and results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.calls import (
    NAMES,
    read_call,
    read_result,
    text_of_result,
)
from atlas.trajectories.formats.frameworks.kinds import (
    CALLS,
    HIDDEN,
    MEDIA,
    REASONING,
    RESULTS,
    TEXTS,
    kind_of_part,
)
from atlas.trajectories.formats.rows import BadRowError

REASONING_TEXTS = ("content", "thinking", "reasoning", "reasoningText", "text", "summary")


class FrameworkContent:
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


def _is_same(first: ToolCall, second: ToolCall) -> bool:
    if first.id is not None or second.id is not None:
        return first.id == second.id
    return (first.name, first.arguments) == (second.name, second.arguments)
