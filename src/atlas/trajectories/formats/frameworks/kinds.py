"""The kinds of parts of a message, in the spellings of all frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
