"""What has to come out of a request or a response: the part of it that holds messages.

Media, settings, and what only the service can read are left out on purpose.
"""

from __future__ import annotations

from typing import Any

from atlas.trajectories.formats.frameworks.kinds import HIDDEN, MEDIA, REASONING, kind_of_part
from atlas.trajectories.formats.frameworks.parts import text_of_reasoning

# Fields that only the service can read.
HIDDEN_KEYS = (
    "protectedData",
    "thoughtSignature",
    "thought_signature",
    "encrypted_content",
    "signature",
    "reasoning_signature",
    "redactedContent",
)
# The fields of reasoning that holds no words.
WITHOUT_WORDS = {
    *HIDDEN_KEYS,
    "type",
    "id",
    "data",
    "content",
    "summary",
    "text",
    "status",
    "index",
}
# What instrumentations add to messages.
ADDED_KEYS = ("gen_ai.system", "gen_ai.message.index", "event.name")
# What of a request or response holds messages or tools; the rest are settings.
HOLDERS = frozenset(
    (
        "messages",
        "contents",
        "choices",
        "candidates",
        "generations",
        "output",
        "content",
        "message",
        "system",
        "system_instruction",
        "systemInstruction",
        "system_prompt",
        "instructions",
        "tools",
        "functions",
        "prompt",
        "role",
        "parts",
        "tool_calls",
        "name",
        "tool_call_id",
    )
)

# Settings of models and services, and what responses say of themselves.
SETTINGS = (
    *("reasoning", "thinking", "text", "tool_choice", "metadata", "http_options", "stream"),
    *("parallel_tool_calls", "response_format", "max_completion_tokens", "max_output_tokens"),
    *("max_tool_calls", "n", "stop", "seed", "user", "store", "background", "truncation"),
    *("stream_options", "extra_headers", "extra_query", "extra_body", "reasoning_effort"),
    *("presence_penalty", "frequency_penalty", "top_k", "top_logprobs", "timeout", "billing"),
    *("safety_settings", "labels", "generation_config", "generationConfig", "model_version"),
    *("modelVersion", "usageMetadata", "sdk_http_response", "llm_output", "prompt_cache_key"),
    *("safety_identifier", "previous_response_id", "incomplete_details", "error"),
)
# Facts next to one answer of several.
OF_AN_ANSWER = tuple(
    f"output.candidates.{name}"
    for name in ("avg_logprobs", "avgLogprobs", "score", "safety_ratings", "safetyRatings")
)


def accounted(side: str, value: Any) -> dict[str, Any]:
    """What has to come out of a request or response, with its settings in a field of their own."""
    holders = ("messages", "contents", "choices", "candidates", "generations", "output")
    is_wrapped = (
        isinstance(value, dict)
        and "role" not in value
        and (
            any(isinstance(value.get(key), list | str) for key in holders)
            or isinstance(value.get("content"), dict)
        )
    )
    if not is_wrapped:
        return {side: without_unreadable(value)}
    kept = {key: each for key, each in value.items() if key in HOLDERS}
    rest = {key: each for key, each in value.items() if key not in HOLDERS}
    config = rest.get("config")
    if isinstance(config, dict):
        kept |= {key: each for key, each in config.items() if key in HOLDERS}
        rest["config"] = {key: each for key, each in config.items() if key not in HOLDERS}
    return {side: without_unreadable(kept), f"{side}_settings": rest}


def setting_paths() -> tuple[str, ...]:
    """The paths of settings that are not content, within what `accounted` gives."""
    return OF_AN_ANSWER + tuple(
        f"{side}_settings.{inner}{name}"
        for side in ("input", "output")
        for inner in ("", "config.")
        for name in SETTINGS
    )


def without_unreadable(value: Any) -> Any:
    """A value without media, and without the alternatives that no agent took.

    They are left out on purpose, so they are not accounted for.
    """
    if isinstance(value, list):
        return [without_unreadable(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept: dict[Any, Any] = {}
    # The fields of a message of LangChain are called like the arguments of a call.
    if value.get("type") == "constructor" and isinstance(value.get("kwargs"), dict):
        beside = {key: each for key, each in value.items() if key not in ("kwargs", "lc")}
        value = {**value["kwargs"], **beside}
    for key, each in value.items():
        # Gemini marks thoughts with a flag.
        is_flag = key == "thought" and isinstance(each, bool)
        if key in HIDDEN_KEYS or key in ADDED_KEYS or is_flag:
            continue
        if key in ("choices", "candidates") and isinstance(each, list):
            kept[key] = without_unreadable(each[:1])
        elif isinstance(each, list):
            kept[key] = [without_unreadable(part) for part in each if not _is_unreadable(part)]
        else:
            kept[key] = {} if _is_unreadable(each) else without_unreadable(each)
    return kept


def _is_unreadable(part: Any) -> bool:
    if not isinstance(part, dict):
        return False
    kind, inner = kind_of_part(part)
    if kind == "message_content":
        return _is_unreadable(inner)
    if kind in REASONING and set(inner) <= WITHOUT_WORDS and not text_of_reasoning(inner):
        return True
    return kind in HIDDEN or (kind in MEDIA and "role" not in part and "messages" not in part)
