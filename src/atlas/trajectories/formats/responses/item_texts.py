"""The texts within items of OpenAI's Responses API: results, answers, reasoning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.rows import BadRowError

MEDIA = {
    "input_image": "image",
    "image": "image",
    "image_url": "image",
    "computer_screenshot": "image",
    "output_image": "image",
    "input_audio": "audio",
    "output_audio": "audio",
    "audio": "audio",
    "input_file": "file",
    "file": "file",
}


def result_text(value: Any, index: int | None = None) -> str:
    """A result as the model read it: its text or the texts of its parts, anything else as JSON."""
    if isinstance(value, str):
        return value
    part = object_or_empty(value)
    if isinstance(part.get("content"), str) and part.keys() <= {"content", "success"}:
        return str(part["content"])
    parts = value if isinstance(value, list) else [value]
    if parts and all(_is_part(each) for each in parts):
        return text_of(parts, index)
    return json.dumps(value, ensure_ascii=False)


def thoughts_of(given: Any, key: str, index: int | None) -> list[str]:
    """The texts of a summary or of the content of a reasoning."""
    if isinstance(given, str):
        return [given] if given else []
    if given is not None and not isinstance(given, list):
        raise BadRowError(f"the {key} of a reasoning is {given!r:.60}, expected a list", index)
    found = []
    for part in given or ():
        text = part if isinstance(part, str) else object_or_empty(part).get("text")
        if not isinstance(text, str):
            raise BadRowError(
                f"the {key} of a reasoning has a part {part!r:.60} without a text", index
            )
        found.append(text)
    return [text for text in found if text]


def answer_text(content: Any, index: int | None) -> tuple[str, int]:
    """The text of an answer, and how many parts of it are media, which no response may hold."""
    if not isinstance(content, list):
        return text_of(content, index), 0
    media = [part for part in content if type_of(part) in MEDIA]
    text = text_of([part for part in content if type_of(part) not in MEDIA], index)
    return text, sum(1 for part in media if any(part.get(key) for key in _media_keys(part)))


def text_of(content: Any, index: int | None) -> str:
    """The texts of a content, with markers for its media.

    Raises:
        BadRowError: it has a part that is neither a text nor media.
    """
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRowError(f"content is {content!r:.60}, expected a text or a list of parts", index)
    return "".join(_part_text(part, index) for part in content)


def _part_text(part: Any, index: int | None) -> str:
    if isinstance(part, str):
        return part
    kind = type_of(part)
    if kind in MEDIA:
        return f"[{MEDIA[str(kind)]}]" if any(part.get(key) for key in _media_keys(part)) else ""
    given = object_or_empty(part)
    text = given.get("refusal" if kind == "refusal" else "text")
    if not isinstance(text, str):
        raise BadRowError(f"content has a part of type {kind!r:.60} without a text", index)
    return text


def _is_part(value: Any) -> bool:
    given = object_or_empty(value)
    is_text = isinstance(given.get("text"), str) and given.get("type") in (
        "input_text",
        "output_text",
        "text",
    )
    return is_text or given.get("type") in MEDIA


def _media_keys(part: Mapping[str, Any]) -> list[str]:
    return [key for key in part if key not in ("type", "detail")]


def type_of(part: Any) -> str | None:
    """The type of a part, where it has one."""
    kind = object_or_empty(part).get("type")
    return kind if isinstance(kind, str) else None
