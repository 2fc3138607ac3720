"""Keys and what they mean in any format: metadata, content, or neither.

A format adds the paths that only it knows (`RowFormat.metadata`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def _keys(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Below these keys stand words, calls, results, reasoning or schemas of tools, wherever they are.
CERTAIN_CONTENT_KEYS = _keys(
    """
    messages conversations conversation contents content parts choices
    tool_calls tool_call toolCall toolCalls function_call functionCall toolRequest tool_use toolUse
    tool_result tool_results toolResult toolResponse functionResponse function_response
    reasoning reasoning_content reasoning_details reasoning_text thinking thinking_blocks
    tools functions available_tools tool_defs tool_schemas tool_definitions toolDefinitions
    """
)
# The same at the root of a row.
CONTENT_KEYS = CERTAIN_CONTENT_KEYS | _keys(
    """
    message blocks text prompt completion completions response responses output outputs
    input inputs chosen delta history trajectory trajectories steps turns events transcript
    dialogue query instruction instructions system system_prompt systemInstruction
    calls function_calls action actions observation observations thought thoughts refusal
    function custom
    """
)
# Below these keys every leaf is an argument of a call.
ARGUMENT_KEYS = _keys(
    "arguments args params parameters kwargs toolInput tool_input function_args function_arguments"
)
# An object with a name and one of these is a call.
CALL_KEYS = _keys("arguments args input params kwargs")
# A number or boolean directly under one of these is a result.
RESULT_KEYS = _keys("content result results output outputs response observation value text")
# Below these keys stands data about a conversation, until a key of certain content follows.
NEUTRAL_KEYS = _keys(
    """
    metadata meta extra extras info details stats statistics metrics config settings
    provider_metadata providerMetadata additional_kwargs attributes resource
    """
)
# Never seen or written by a model, at any place but within arguments.
GENERIC_METADATA = _keys(
    """
    id ids uuid parentUuid sessionId session_id conversation_id thread_id trace_id traceId
    span_id spanId request_id requestId run_id message_id messageId response_id parent_id
    tool_call_id toolCallId call_id tool_use_id toolUseId instance_id traj_id trajectory_id
    item_id task_id task_name environment example_id
    type role from index object kind
    timestamp timestamps created created_at createdAt updated_at updatedAt start_time end_time
    startTime endTime started_at finished_at time ts date duration duration_ms latency
    usage usage_metadata token_usage cost total_cost logprobs token_ids prompt_token_ids
    completion_token_ids prompt_logprobs token_count tokens
    model model_name model_id provider system_fingerprint service_tier temperature top_p
    max_tokens stop_reason finish_reason finishReason stop_sequence version
    weight loss train trainable
    success reward score resolved is_correct correct exit_status
    cache_control signature encrypted_content annotations strict
    media_type mime_type mimeType image_url input_image input_audio audio_url video_url
    inlineData inline_data is_error status
    """
)
# Metadata in which the keys of content mean something else.
OPAQUE_KEYS = _keys("logprobs prompt_logprobs token_ids annotations cache_control")
# Words that a text format writes about who speaks.
SPEAKERS = _keys(
    """
    system user human assistant gpt model tool observation Observation thought Thought action
    Action Input input Final Answer Question think im_start im_end
    """
)

# Characters and spaces of a text that is more than a name, a date or a state.
MIN_PROSE, MIN_SPACES = 40, 5


def is_prose(value: Any) -> bool:
    """Whether a value is a text in sentences, which generic metadata seldom holds."""
    return isinstance(value, str) and len(value) >= MIN_PROSE and value.count(" ") >= MIN_SPACES


@lru_cache(maxsize=4096)
def means_content(key: Any, is_at_root: bool) -> bool:
    """Whether content stands below a key, in whatever case and with whatever separators."""
    squeezed = _squeezed(key) if isinstance(key, str) else ""
    return squeezed in (_SQUEEZED_ROOT if is_at_root else _SQUEEZED)


def _squeezed(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "").replace(" ", "")


_SQUEEZED = frozenset(map(_squeezed, CERTAIN_CONTENT_KEYS))
_SQUEEZED_ROOT = frozenset(map(_squeezed, CONTENT_KEYS))
