"""Messages of Inspect -> messages of a chat, and what of them a chat cannot hold.

A model reads the error of a failed tool in place of its output. Server tools (`tool_use`), data of
a provider, redacted reasoning, and media in an answer are left out, with a remark.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.rows import BadRowError

# Of a message, below "messages"; a summary repeats reasoning, and media become a marker.
METADATA = tuple(
    f"messages.{key}"
    for key in (
        "metadata",
        "source",
        "model",
        "function",
        "content.internal",
        "content.summary",
        "content.citations",
        "content.refusal",
        "content.redacted",
        "content.image",
        "content.audio",
        "content.video",
        "content.document",
        "content.filename",
        "content.format",
        "content.detail",
        "content.mime_type",
        "tool_calls.parse_error",
        "tool_calls.view",
        "error.type",
    )
)
# Where the arguments of a call are not JSON, Inspect leaves them empty and puts their text into the
# error of the call.
_RAW_ARGUMENTS = re.compile(
    r"Error parsing the following tool call arguments:\n\n(.*?)\n\nError details: ", re.DOTALL
)
_TEXTS = ("text", "reasoning")


def chat_message(message: Mapping[str, Any], index: int) -> tuple[dict[str, Any], list[str]]:
    """The message in the form of a chat, and remarks on what was left out.

    Raises:
        BadRowError: the arguments of a call are not known.
    """
    role, content = message["role"], message.get("content")
    remarks: list[str] = []
    if isinstance(content, list):
        parts = [_part(part, role, remarks) for part in content]
        content = [part for part in parts if part is not None]
    if failure := text_or_none(object_or_empty(message.get("error")).get("message")):
        if isinstance(content, str) and content.strip() and content.strip() not in failure:
            remarks.append("output of a tool beside its error, which the model reads instead")
        content = failure
    chat = {
        "role": role,
        "content": content,
        "tool_calls": [_call(call, index) for call in message.get("tool_calls") or []],
        "tool_call_id": message.get("tool_call_id"),
        "name": message.get("function"),
    }
    return chat, remarks


def carried_parts(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message without the parts on which there is a remark, for the account of its leaves."""
    content, role = message.get("content"), message.get("role")
    if isinstance(content, list):
        content = [kept for part in content if (kept := _part(part, role, [])) is not None]
    if object_or_empty(message.get("error")).get("message"):
        content = None
    return {**message, "content": content}


def _part(part: Mapping[str, Any], role: Any, remarks: list[str]) -> dict[str, Any] | None:
    """A part of a content, or None with a remark."""
    kind = part.get("type")
    if kind == "tool_use":
        remarks.append(f"server tool {part.get('name')!r:.60}")
    elif kind == "reasoning" and part.get("redacted"):
        if part.get("summary"):
            return {"type": "reasoning", "reasoning": part["summary"]}
        remarks.append("redacted reasoning")
    elif kind == "data" or (role == "assistant" and kind not in _TEXTS):
        remarks.append(f"a part of type {kind!r:.60}")
    else:
        return dict(part)
    return None


def _call(call: Mapping[str, Any], index: int) -> dict[str, Any]:
    arguments, name = call.get("arguments"), call.get("function")
    if (failure := text_or_none(call.get("parse_error"))) and not arguments:
        raw = _RAW_ARGUMENTS.search(failure)
        if raw is None:
            raise BadRowError(
                f"the arguments of the call {name!r:.60} are not known, Inspect could not parse "
                f"them: {failure!r:.80}",
                index,
            )
        arguments = raw[1]
    return {"id": call.get("id"), "name": name, "arguments": arguments}
