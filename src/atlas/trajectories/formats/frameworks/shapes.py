"""Shapes of messages in any framework: what looks like messages, and what is only data."""

from __future__ import annotations

import json
import re
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.frameworks.kinds import (
    CALLS,
    MEDIA,
    REASONING,
    RESULTS,
    TEXTS,
    kind_of_part,
)
from atlas.trajectories.formats.langchain import messages as langchain_messages
from atlas.trajectories.formats.messages import decode_nested
from atlas.trajectories.formats.rows import BadRowError

# Items of OpenAI's Responses; several may make up one turn.
ITEMS = ("message", "reasoning", *CALLS, *RESULTS)
# How a JSON text of messages or calls begins, also where its end was cut.
_BEGINS_MESSAGES = re.compile(
    r"\s*(?:\[\s*)*\{\s*\"(?:role|parts|messages|message|choices|candidates|contents|generations"
    r"|tool_calls|toolCallId|toolName|type\"\s*:\s*\"(?:text|thinking|tool_use|tool_call|tool-call|image_url))\"\s*[:,]"
)
ITEM_KEYS = {"content", "name", "summary", "output", "call_id"}
MAX_LOOKED_AT = 10_000
# An object with one of these holds messages, or is one.
TELLING_KEYS = (
    "role",
    "messages",
    "choices",
    "candidates",
    "contents",
    "generations",
    "parts",
    "tool_calls",
    "toolCallId",
)


def holds_messages(value: Any) -> bool:
    """Whether a decoded value looks like messages, or an object that holds them."""
    if isinstance(value, list):
        return (
            bool(value)
            and all(isinstance(each, dict | list) for each in value)
            and all(holds_messages(each) for each in value[:3])
        )
    if not isinstance(value, dict):
        return False
    return (
        any(key in value for key in TELLING_KEYS)
        or isinstance(value.get("message"), dict)
        or langchain_messages.is_telling(value)
        or (value.get("type") in ITEMS and bool(value.keys() & ITEM_KEYS))
        or (isinstance(value.get("content"), dict) and "parts" in value["content"])
        or (value.get("object") == "response" and isinstance(value.get("output"), list))
        or set(value) == {"content"}
    )


def tells_messages(value: Any) -> bool:
    """Whether a value certainly holds messages somewhere, also within JSON texts."""
    waiting, seen = [value], 0
    while waiting and seen < MAX_LOOKED_AT:
        value, seen = decode_nested(waiting.pop()), seen + 1
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if isinstance(value.get("role"), str) and {"content", "parts"} & value.keys():
                return True
            waiting += value.values()
    return False


def decoded_messages(value: Any) -> Any:
    """A JSON text of messages as its value; any other text is words."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        decoded = decode_nested(value)
        refuse_cut(decoded)
        return decoded if holds_messages(decoded) else value
    return value


def parts_in_text(value: Any) -> Any:
    """The parts of a content that was written as a JSON text; anything else as it is.

    Raises:
        BadRowError: the text was cut.
    """
    if not isinstance(value, str) or not _BEGINS_MESSAGES.match(value):
        return value
    refuse_cut(parts := decode_nested(value))
    known = (*TEXTS, *REASONING, *CALLS, *RESULTS, *MEDIA)
    is_parts = isinstance(parts, list) and all(
        isinstance(part, dict) and kind_of_part(part)[0] in known for part in parts
    )
    return parts if is_parts else value


def refuse_cut(value: Any) -> None:
    """Raise BadRowError for a text, not decodable, that began as the JSON of messages or calls."""
    if isinstance(value, str) and _BEGINS_MESSAGES.match(value):
        raise BadRowError(
            f"messages that are not JSON, {value!r:.60}: the text was cut or damaged. "
            "Exporters of spans have a limit for the length of attributes"
        )


def as_words(value: Any) -> Any:
    """An answer that is data, and not a message, as the JSON text that a model wrote."""
    decoded = decoded_messages(value)
    if isinstance(decoded, dict | list) and not holds_messages(decoded):
        return json.dumps(decoded, ensure_ascii=False)
    return decoded


def finish_reason_of(answered: Any) -> str | None:
    """Why the model stopped, where its answer says so."""
    found: Any = None
    value = decode_nested(answered)
    for key in ("choices", "candidates"):
        if isinstance(value, dict) and isinstance(value.get(key), list):
            value = value[key]
    value = value[-1] if isinstance(value, list) and value else value
    if isinstance(value, dict):
        inner = (value, object_or_empty(value.get("message")), langchain_messages.fields_of(value))
        names = ("finish_reason", "finishReason", "stop_reason", "done_reason")
        owners = (*inner, *(object_or_empty(one.get("response_metadata")) for one in inner))
        found = next((one[name] for one in owners for name in names if one.get(name)), None)
        if value.get("status") == "incomplete":
            found = object_or_empty(value.get("incomplete_details")).get("reason", "incomplete")
    return found if isinstance(found, str) else None
