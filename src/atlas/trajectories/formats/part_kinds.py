"""Kinds of content parts: text, reasoning, calls, results and media, under all their names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

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
# The fields of a part that its reader leaves out: bytes, or what refers to them; sources.
LEFT_OUT: dict[Kind, frozenset[str]] = {
    "media": frozenset(
        (
            *("value", "url", "uri", "path", "data", "bytes", "base64", "format", "detail"),
            *("filename", "file_id", "fileId", "file_data", "image", "audio", "video"),
            *("image_url", "media_type", "mediaType", "mimeType", "mime_type", "title"),
        )
    ),
    "source": frozenset(("url", "title", "sourceId", "sourceType", "filename", "mediaType")),
    "hidden": frozenset(("data", "encrypted_content", "format")),
}
TEXT_KEYS = ("text", "value", "content")


def text_of_document(part: Mapping[str, Any]) -> str | None:
    """The text of a document that was given as a text."""
    source = part.get("source")
    if isinstance(source, dict) and source.get("type") == "text":
        text = source.get("data")
        return text if isinstance(text, str) else None
    return None


def text_of_part(part: Any) -> str | None:
    """The text of a part of text or reasoning."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or kind_of(part) not in ("text", "reasoning", None):
        return None
    return next((part[key] for key in _ALL_TEXT_KEYS if isinstance(part.get(key), str)), None)


# Of texts and of reasoning.
_ALL_TEXT_KEYS = ("refusal", *TEXT_KEYS, "thinking", "reasoning", "thought", "summary")


def left_out_of(part: Any) -> frozenset[str]:
    """The fields that are known to be left out of a part."""
    kind = kind_of(part)
    if kind is None or (kind == "media" and text_of_document(part) is not None):
        return frozenset()
    return LEFT_OUT.get(kind, frozenset())


def marker(part: Mapping[str, Any]) -> str:
    """What stands for media in an observation."""
    names = (_squeezed(str(name)) for name in (part.get("type"), *part))
    return f"[{next(MEDIA[name] for name in names if name in MEDIA)}]"


def body_of(part: Mapping[str, Any]) -> Any:
    """The object under the key of an untyped part, else the part."""
    if "type" not in part:
        for key, value in part.items():
            if isinstance(value, dict) and _kind_of_name(str(key)) is not None:
                return value
    return part


def kind_of(part: Any) -> Kind | None:
    """The kind of a part; None if it is not known."""
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
