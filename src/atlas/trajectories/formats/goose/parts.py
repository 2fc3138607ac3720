"""The parts of goose's messages: text, thinking, requests and responses of tools, notices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.responses.items import ItemReader
from atlas.trajectories.formats.rows import BadRowError

REQUESTS = ("toolRequest", "frontendToolRequest")
# Keys of a call without arguments, which goose leaves out.
NO_ARGUMENTS = {"name", "arguments", "_meta", "meta", "task"}
# Shown to the user only.
NOTICES = (
    "contextLengthExceeded",
    "summarizationRequested",
    "conversationCompacted",
    "systemNotification",
    "toolConfirmationRequest",
    "actionRequired",
)
# Types that no other agent writes.
PART_TYPES = (*REQUESTS, "toolResponse", "redactedThinking", *NOTICES)


def is_goose_message(message: Any) -> bool:
    """Whether a message has a mark or a part that only goose writes; never raises."""
    if not isinstance(message, dict):
        return False
    content = message.get("content")
    return "agentVisible" in object_or_empty(message.get("metadata")) or (
        isinstance(content, list)
        and any(object_or_empty(part).get("type") in PART_TYPES for part in content)
    )


def is_hidden_part(part: Any) -> bool:
    """Whether only the user sees a part: a notice, or one with an audience without the agent."""
    given = object_or_empty(part)
    if given.get("type") in NOTICES:
        return True
    audience = object_or_empty(given.get("annotations")).get("audience", given.get("audience"))
    return isinstance(audience, list) and bool(audience) and "assistant" not in audience


def add_part(reader: ItemReader, part: Any, role: str, texts: list[str], index: int) -> None:
    """Read a part; texts are gathered in `texts`, which become one message.

    Raises:
        BadRowError: it is not a part.
    """
    given = object_or_empty(part)
    kind = given.get("type")
    if kind in REQUESTS and role == "assistant":
        _add_request(reader, given, index)
    elif kind == "toolResponse":
        output = _result(given, index)
        item = {"type": "function_call_output", "call_id": given.get("id"), "output": output}
        reader.add(item, index)
    elif kind == "thinking" and role == "assistant":
        reader.add({"type": "reasoning", "content": [{"text": given.get("thinking")}]}, index)
    elif kind == "redactedThinking":
        reader.note("redacted thinking is not carried over")
    elif kind == "image":
        if role != "assistant":
            texts.append("[image]")
        else:
            reader.note("an image in an answer is left out")
    elif kind == "resource":
        texts.append(_resource(given))
    elif kind in ("text", None) and isinstance(given.get("text"), str):
        texts.append(given["text"])
    else:
        raise BadRowError(f"content has a part of type {kind!r:.60} that is not known", index)


def _add_request(reader: ItemReader, part: Mapping[str, Any], index: int) -> None:
    given = object_or_empty(part.get("toolCall", part.get("tool_call")))
    call = object_or_empty(given.get("value", given.get("Ok", given)))
    if not call.get("name"):
        if given.get("status") == "error" or "Err" in given or "error" in given:
            reader.note("a call that goose could not read is not carried over")
            return
        raise BadRowError("a toolRequest has no 'toolCall' with a 'name'", index)
    arguments = call.get("arguments", call.get("args"))
    if arguments is None and call.keys() <= NO_ARGUMENTS:
        arguments = {}
    item = {"type": "function_call", "name": call["name"], "arguments": arguments}
    reader.add({**item, "call_id": part.get("id")}, index)


def _result(part: Mapping[str, Any], index: int) -> str:
    """The text of a result, as goose sends it to the model."""
    given = part.get("toolResult", part.get("tool_result"))
    if isinstance(given, dict):
        error = given.get("error", given.get("Err"))
        given = given.get("value", given.get("Ok", None if error is None else str(error)))
    if isinstance(given, dict) and "content" in given:
        content = given["content"]
        if not content and given.get("structuredContent") is not None:
            return json.dumps(given["structuredContent"], ensure_ascii=False)
        given = content
    if isinstance(given, str):
        return given
    if not isinstance(given, list):
        raise BadRowError(f"a toolResponse has the result {given!r:.60}, expected 'content'", index)
    return "\n".join(_result_part(each, index) for each in given if not is_hidden_part(each))


def _result_part(part: Any, index: int) -> str:
    given = object_or_empty(part)
    kind = given.get("type")
    if isinstance(given.get("text"), str):
        return str(given["text"])
    if kind in ("image", "audio"):
        return f"[{kind}]"
    if kind in ("resource", "resource_link"):
        return _resource(given)
    raise BadRowError(f"a toolResponse has a part {part!r:.60} that is not known", index)


def _resource(part: Mapping[str, Any]) -> str:
    inner = object_or_empty(part.get("resource"))
    text = text_or_none(inner.get("text")) or text_or_none(part.get("text"))
    return text or "[resource]"
