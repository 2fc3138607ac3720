"""The content of a message: `text or parts -> what was said, in order`.

A part is a text, reasoning, a call, a result, or media. It has a `type`, or it is an object under
its only key (`{"toolUse": {…}}`). Within the message of an assistant a result ends what was said
before it: what the model wrote after it is another turn. A part of unknown type is an error; no
marker ever stands in what a model wrote.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from atlas.records import Message, Role, ToolCall
from atlas.trajectories.formats.calls import (
    ID_KEYS,
    decode_nested,
    has_content,
    read_id,
    read_tool_call,
)
from atlas.trajectories.formats.reasoning import HIDDEN, reasoning_text
from atlas.trajectories.formats.rows import BadRowError

Kind = Literal["text", "reasoning", "hidden", "call", "result", "both", "media", "source", "mark"]
# Names of kinds without case and separators: tool_use, tool-use and toolUse are one.
KINDS: dict[str, Kind] = {
    "text": "text",
    "inputtext": "text",
    "outputtext": "text",
    "refusal": "text",
    "thinking": "reasoning",
    "reasoning": "reasoning",
    "reasoningtext": "reasoning",
    "reasoningcontent": "reasoning",
    "thought": "reasoning",
    "summarytext": "reasoning",
    "redactedthinking": "hidden",
    "redactedreasoning": "hidden",
    "reasoningencrypted": "hidden",
    "toolinvocation": "both",
    "dynamictool": "both",
    "toolerror": "result",
    "cachepoint": "mark",
    "stepstart": "mark",
    "stepfinish": "mark",
    "source": "source",
    "sourceurl": "source",
    "sourcedocument": "source",
}
# A kind that ends with one of these: mcp_tool_use, web_search_tool_result, custom_tool_call_output.
ENDS: dict[str, Kind] = {
    "tooluse": "call",
    "toolcall": "call",
    "functioncall": "call",
    "toolrequest": "call",
    "toolresult": "result",
    "toolresponse": "result",
    "calloutput": "result",
    "callresponse": "result",
    "functionresponse": "result",
    "functionresult": "result",
}
MEDIA = {
    "image": "image",
    "imageurl": "image",
    "inputimage": "image",
    "imagefile": "image",
    "audio": "audio",
    "inputaudio": "audio",
    "audiourl": "audio",
    "video": "video",
    "inputvideo": "video",
    "videourl": "video",
    "file": "file",
    "inputfile": "file",
    "filedata": "file",
    "inlinedata": "file",
    "document": "document",
    "media": "media",
}
TEXT_KEYS = ("text", "value", "content")
RESULT_KEYS = (
    "content",
    "output",
    "result",
    "response",
    "toolResult",
    "tool_result",
    "value",
    "text",
    "errorText",
    "error",
)
NAME_KEYS = ("name", "toolName", "tool_name")
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
            if any(_kind_of(part) == "result" for part in parts):
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
        kind = _kind_of(part)
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
        text, hides = reasoning_text(_body(part), "a part of reasoning", self._index)
        said = self._open()
        said.reasoning = (said.reasoning or "") + text
        if hides:
            self.remarks.append(HIDDEN)

    def _take_calls(self, part: Mapping[str, Any]) -> None:
        """Usually one; the JSON text under `value` may hold several."""
        inner = decode_nested(part.get("value"))
        calls = inner if isinstance(inner, list) else [part]
        self._open().calls += [read_tool_call(call, self._index) for call in calls]

    def _take_result(self, part: Mapping[str, Any]) -> None:
        self._settle()
        self.said[-1].results.append(_result(part, self._index))

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
            self._waiting.append(_result({**body, **named}, self._index))

    def _take_media(self, part: Mapping[str, Any]) -> None:
        text = _text_of_document(part)
        if text is not None:
            self._open().text += text
        elif self._role == "assistant":
            self.remarks.append(MEDIA_LEFT_OUT)
        else:
            self._open().text += _marker(part)

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


def result_text(value: Any, index: int) -> str:
    """The text of a result: as it came, the text of its parts, or the JSON of anything else."""
    if value is None or value == [] or isinstance(value, str):
        return value or ""
    if isinstance(value, list) and all(_is_shown(part) for part in value):
        return "".join(_shown(part, index) for part in value)
    if isinstance(value, dict):
        if _is_shown(value) and "type" in value:
            return _shown(value, index)
        wrapped = [key for key in value if key not in _AROUND_RESULTS]
        if len(wrapped) == 1 and wrapped[0] in ("value", "content"):
            inner = value[wrapped[0]]
            if wrapped[0] == "value" or (
                isinstance(inner, list) and inner and all(_is_shown(part) for part in inner)
            ):
                return result_text(inner, index)
    return json.dumps(value, ensure_ascii=False)


# Beside the result in an object that wraps it.
_AROUND_RESULTS = ("status", "type", "isError", "is_error", "structuredContent", "_meta")


def _result(part: Mapping[str, Any], index: int) -> Message:
    owners = [part, *(inner for inner in map(part.get, _WRAPPERS) if isinstance(inner, dict))]
    ids = (read_id(owner, ID_KEYS, index) for owner in owners)
    names = (owner.get(key) for owner in owners for key in NAME_KEYS)
    contents = [owner[key] for owner in owners[::-1] for key in RESULT_KEYS if key in owner]
    content = next(filter(has_content, contents), None)
    return Message(
        role="tool",
        content=result_text(content, index),
        tool_call_id=next(filter(None, ids), None),
        name=next((name for name in names if isinstance(name, str)), None),
    )


# Objects that hold a whole result.
_WRAPPERS = ("toolResult", "functionResponse", "tool_result", "function_response", "toolResponse")


def _is_shown(part: Any) -> bool:
    """Whether a part of a result is a text or media, and no data."""
    if isinstance(part, str):
        return True
    if not isinstance(part, dict):
        return False
    kind = _kind_of(part)
    if kind == "text":
        return any(isinstance(part.get(key), str) for key in TEXT_KEYS) and _is_part(part)
    return kind == "media" and _is_part(part)


def _is_part(part: Mapping[str, Any]) -> bool:
    """A typed part, or an object with one key: `{"text": …, "score": …}` is data."""
    return "type" in part or len(part) == 1


def _shown(part: Any, index: int) -> str:
    if isinstance(part, str):
        return part
    if _kind_of(part) == "text":
        return next(text for text in map(part.get, TEXT_KEYS) if isinstance(text, str))
    text = _text_of_document(part)
    return _marker(part) if text is None else text


def _text_of_document(part: Mapping[str, Any]) -> str | None:
    """The text of a document that was given as a text."""
    source = part.get("source")
    if isinstance(source, dict) and source.get("type") == "text":
        text = source.get("data")
        return text if isinstance(text, str) else None
    return None


def _marker(part: Mapping[str, Any]) -> str:
    names = (_squeezed(str(name)) for name in (part.get("type"), *part))
    return f"[{next(MEDIA[name] for name in names if name in MEDIA)}]"


def _body(part: Mapping[str, Any]) -> Any:
    """The object under the only key of an untyped part, else the part."""
    if "type" not in part:
        for key, value in part.items():
            if isinstance(value, dict) and _kind_of_name(str(key)) is not None:
                return value
    return part


def _kind_of(part: Any) -> Kind | None:
    if not isinstance(part, dict):
        return None
    given = part.get("type")
    if isinstance(given, str):
        if given.startswith("tool-") and "toolCallId" in part and _kind_of_name(given) is None:
            return "both"
        return _kind_of_name(given)
    if given is not None:
        return None
    if isinstance(part.get("text"), str):
        return "reasoning" if part.get("thought") is True else "text"
    for key, value in part.items():
        if isinstance(value, dict) and (kind := _kind_of_name(str(key))) is not None:
            if kind == "reasoning" and "redactedContent" in value:
                return "hidden"
            return kind
    return None


@lru_cache(maxsize=1024)
def _kind_of_name(name: str) -> Kind | None:
    squeezed = _squeezed(name)
    if squeezed in MEDIA:
        return "media"
    ends = (kind for end, kind in ENDS.items() if squeezed.endswith(end))
    return KINDS.get(squeezed) or next(ends, None)


def _squeezed(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(".", "")
