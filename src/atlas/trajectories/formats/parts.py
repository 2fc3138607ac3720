"""The content of a message: `text or parts -> what was said, in order`.

A part is a text, reasoning, a call, a result, or media. It has a `type`, or it is an object under
its only key (`{"toolUse": {…}}`). Within the message of an assistant a result ends what was said
before it: what the model wrote after it is another turn. A part of unknown type is an error; no
marker ever stands in what a model wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.calls import (
    decode_nested,
    has_content,
    read_tool_call,
)
from atlas.trajectories.formats.part_kinds import (
    TEXT_KEYS,
    Kind,
    body_of,
    kind_of,
    marker,
    text_of_document,
)
from atlas.trajectories.formats.reasoning import HIDDEN, reasoning_text
from atlas.trajectories.formats.results import NAME_KEYS, read_result, result_text
from atlas.trajectories.formats.rows import BadRowError

SOURCES_LEFT_OUT = "the sources that an answer names beside its text are left out"
MEDIA_LEFT_OUT = "an answer holds media, which are left out"


@dataclass(slots=True)
class Said:
    """A stretch of a message, up to and with the results of its calls."""

    text: str = ""
    reasoning: str | None = None
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.text or self.reasoning or self.calls or self.results)


class Content:
    """The content of a message, read part by part.

    Attributes:
        said: in the order of the message; one stretch, unless an assistant's message holds results.
        remarks: what is known to be left out.
    """

    def __init__(self, content: Any, role: Role, index: int) -> None:
        self.said = [Said()]
        self.remarks: list[str] = []
        self._role = role
        self._index = index
        # Results that stand within calls come after the calls beside them.
        self._waiting: list[Message] = []
        if role == "tool" and not isinstance(content, str):
            parts = content if isinstance(content, list) else [content]
            if any(kind_of(part) == "result" for part in parts):
                self._read(parts)
            else:
                self.said[0].text = result_text(content, index)
        elif isinstance(content, list):
            self._read(content)
        elif isinstance(content, dict):
            inner = content.get("parts")
            self._read(inner if isinstance(inner, list) else [content])
        elif isinstance(content, str):
            self.said[0].text = content
        elif content is not None:
            raise BadRowError(
                f"content is {content!r:.60}, expected a text or a list of parts", index
            )

    @property
    def results(self) -> list[Message]:
        return [result for each in self.said for result in each.results]

    def add_invocations(self, given: Any) -> None:
        """Calls with their results, beside the content."""
        if isinstance(given, list):
            self._read([{"type": "tool-invocation", "toolInvocation": each} for each in given])

    def add_spoken(self, transcript: str | None) -> None:
        """The words of an answer that was spoken, or a remark that they are left out."""
        if transcript:
            self.said[0].text = transcript
        elif self._role == "assistant":
            self.remarks.append(MEDIA_LEFT_OUT)
        else:
            self.said[0].text = "[audio]"

    def _read(self, parts: list[Any]) -> None:
        for part in parts:
            self._take(part)
        self._settle()

    def _take(self, part: Any) -> None:
        if isinstance(part, str):
            self._open().text += part
            return
        if not isinstance(part, dict):
            raise BadRowError(
                f"content has a part {part!r:.60}, expected a text or an object with 'type'",
                self._index,
            )
        kind = kind_of(part)
        if kind in ("reasoning", "hidden", "call", "both") and self._role != "assistant":
            what = "reasoning" if kind in ("reasoning", "hidden") else "a tool call"
            reason = f"{what} stands in a message of role '{self._role}', expected 'assistant'"
            raise BadRowError(reason, self._index)
        self._takers.get(kind, self._refuse)(part)

    @property
    def _takers(self) -> dict[Kind | None, Callable[[Mapping[str, Any]], None]]:
        return {
            "text": self._take_text,
            "reasoning": self._take_reasoning,
            "hidden": lambda part: self.remarks.append(HIDDEN),
            "call": self._take_calls,
            "both": self._take_both,
            "result": self._take_result,
            "media": self._take_media,
            "source": lambda part: self.remarks.append(SOURCES_LEFT_OUT),
            "mark": lambda part: self._settle(),
        }

    def _take_text(self, part: Mapping[str, Any]) -> None:
        for key in ("refusal", *TEXT_KEYS):
            value = part.get(key)
            if isinstance(value, dict):
                value = value.get("value")
            if isinstance(value, str):
                self._open().text += value
                return
        raise BadRowError(
            f"content has a part of type {part.get('type')!r:.60} without text, "
            "expected a 'text' in it",
            self._index,
        )

    def _take_reasoning(self, part: Mapping[str, Any]) -> None:
        text, hides = reasoning_text(body_of(part), "a part of reasoning", self._index)
        said = self._open()
        said.reasoning = (said.reasoning or "") + text
        if hides:
            self.remarks.append(HIDDEN)

    def _take_calls(self, part: Mapping[str, Any]) -> None:
        """Usually one; the JSON text under `value` may hold several."""
        if any(has_content(part.get(key)) for key in ("result", "output")):
            self._take_both(part)
            return
        inner = decode_nested(part.get("value"))
        calls = inner if isinstance(inner, list) else [part]
        self._open().calls += [read_tool_call(call, self._index) for call in calls]

    def _take_result(self, part: Mapping[str, Any]) -> None:
        self._settle()
        self.said[-1].results.append(read_result(part, self._index))

    def _open(self) -> Said:
        """The stretch that what comes next belongs to."""
        self._settle()
        if self._role == "assistant" and self.said[-1].results:
            self.said.append(Said())
        return self.said[-1]

    def _settle(self) -> None:
        self.said[-1].results += self._waiting
        self._waiting = []

    def _take_both(self, part: Mapping[str, Any]) -> None:
        """A call with its result, once there is one."""
        body = part.get("toolInvocation", part.get("tool_invocation", part))
        if not isinstance(body, dict):
            self._refuse(part)
        kind = str(part.get("type"))
        named = {} if any(key in body for key in NAME_KEYS) else {"name": kind.partition("-")[2]}
        # Calls beside each other are made at once.
        if self._role == "assistant" and self.said[-1].results:
            self.said.append(Said())
        self.said[-1].calls.append(read_tool_call({**body, **named}, self._index))
        if any(has_content(body.get(key)) for key in ("output", "result", "errorText")):
            self._waiting.append(read_result({**body, **named}, self._index))

    def _take_media(self, part: Mapping[str, Any]) -> None:
        text = text_of_document(part)
        source = part.get("source")
        if text is None and isinstance(source, dict) and source.get("type") == "text":
            self._refuse(part)
        if text is not None:
            self._open().text += text
        elif self._role == "assistant":
            self.remarks.append(MEDIA_LEFT_OUT)
        else:
            self._open().text += marker(part)

    def _refuse(self, part: Mapping[str, Any]) -> None:
        kind = part.get("type")
        what = (
            f"of type {kind!r:.60}"
            if kind is not None
            else f"with {', '.join(map(str, part))[:60]!r}"
        )
        raise BadRowError(
            f"content has a part {what}, which is not known; expected a text, reasoning, a call, "
            "a result or media",
            self._index,
        )
