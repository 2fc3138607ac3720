"""Events of OpenHands' software agent SDK (V1): `event -> entry`.

An event has a `kind`. Actions of one generation have one `llm_response_id`; each holds its own
call, and the first one the text and the reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.records import Message
from atlas.trajectories.formats.fields import (
    list_of_objects,
    object_or_empty,
    read_one_message,
    text_or_none,
)
from atlas.trajectories.formats.openhands.event_views import Condensation, Entry, event_id
from atlas.trajectories.formats.openhands.old_events import MADE_OF_ACTION
from atlas.trajectories.formats.rows import BadRowError

# What happens around a conversation; no model sees it.
UNSEEN_KINDS = (
    "ConversationStateUpdateEvent",
    "ConversationErrorEvent",
    "CondensationRequest",
    "PauseEvent",
    "InterruptEvent",
    "TokenEvent",
    "StreamingDeltaEvent",
    "LLMCompletionLogEvent",
    "HookExecutionEvent",
)
KINDS = (
    *UNSEEN_KINDS,
    "SystemPromptEvent",
    "SystemPromptUpdateEvent",
    "MessageEvent",
    "ActionEvent",
    "ObservationEvent",
    "UserRejectObservation",
    "AgentErrorEvent",
    "Condensation",
    "CondensationSummaryEvent",
    "ACPToolCallEvent",
)
ITEM_KEYS = ("content", "summary")
TEXT_KEYS = ("content", "output", "error", "message")
REDACTED = "thinking that only the service can read is left out"


def is_sdk_event(value: Any) -> bool:
    """Whether a decoded value is an event of the SDK."""
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        return False
    return value["kind"] in KINDS and ("source" in value or "id" in value)


class SDKEvents:
    """Reads the events of one stream in order."""

    def __init__(self) -> None:
        self.tools: list[Any] = []
        self._system: Message | None = None

    def read(self, event: Mapping[str, Any], index: int) -> Entry | None:
        """What the agent knows of an event; None if it knows nothing.

        Raises:
            BadRowError: the event does not hold what its kind has, or its kind is not known.
        """
        kind, id_ = event.get("kind"), event_id(event.get("id"))
        match kind:
            case _ if kind in UNSEEN_KINDS:
                return None
            case "SystemPromptEvent" | "SystemPromptUpdateEvent":
                tools = event.get("tools")
                self.tools = tools if isinstance(tools, list) else self.tools
                texts = [event.get(key) for key in ("system_prompt", "dynamic_context")]
                message = read_one_message("system", [text for text in texts if text], index)
                # An update may bring other tools only.
                is_new, self._system = message != self._system, message
                return Entry(id_, message if is_new else None)
            case "MessageEvent":
                return self._message(event, index)
            case "ActionEvent":
                return self._action(event, index)
            case "ObservationEvent":
                parts = _shown(object_or_empty(event.get("observation")), index)
                return Entry(id_, _result(event, [*parts, *_added(event, index)], index))
            case "UserRejectObservation":
                return Entry(id_, _result(event, event.get("rejection_reason"), index))
            case "AgentErrorEvent":
                return Entry(id_, _result(event, event.get("error"), index))
            case "Condensation":
                return Entry(id_, condensation=_condensation(event, index))
            case "CondensationSummaryEvent":
                message = read_one_message("user", event.get("summary"), index)
                return Entry(id_, message, is_summary=True)
        raise _unknown(kind, index)

    def _message(self, event: Mapping[str, Any], index: int) -> Entry:
        given = event.get("llm_message")
        if not isinstance(given, dict):
            raise BadRowError("a MessageEvent has no llm_message, expected a message", index)
        role = given.get("role")
        if role not in ("user", "assistant", "system", "tool"):
            raise BadRowError(f"llm_message.role is {role!r:.60}, expected a role", index)
        thought, remark = _reasoning(given, index)
        message = read_one_message(
            role,
            [*_parts(given.get("content"), index), *_added(event, index)],
            index,
            tool_calls=given.get("tool_calls"),
            tool_call_id=given.get("tool_call_id"),
            name=given.get("name"),
            reasoning_content=thought,
        )
        generation = text_or_none(event.get("llm_response_id")) if role == "assistant" else None
        return Entry(event_id(event.get("id")), message, generation, remark=remark)

    def _action(self, event: Mapping[str, Any], index: int) -> Entry:
        call = event.get("tool_call")
        thought, remark = _reasoning(event, index)
        if call is None:
            call, remark = _call_of_action(event, index), MADE_OF_ACTION
        if not isinstance(call, dict):
            raise BadRowError(f"tool_call is {call!r:.60}, expected the call", index)
        message = read_one_message(
            "assistant",
            _parts(event.get("thought"), index),
            index,
            tool_calls=[{**call, "id": call.get("id") or event.get("tool_call_id")}],
            reasoning_content=thought,
        )
        generation = text_or_none(event.get("llm_response_id"))
        return Entry(event_id(event.get("id")), message, generation, remark=remark)


def _unknown(kind: Any, index: int) -> BadRowError:
    """Why an event of that kind is not read."""
    if kind == "ACPToolCallEvent":
        reason = "a call of an agent behind ACP, whose own messages are not in this log"
        return BadRowError(f"{reason}. Import the log of that agent", index)
    return BadRowError(f"an event of kind {kind!r:.60}, expected one of {', '.join(KINDS)}", index)


def _call_of_action(event: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The call that an action was decoded from, where the log does not keep it."""
    action = event.get("action")
    if not isinstance(action, dict):
        raise BadRowError("an ActionEvent has no tool_call and no action", index)
    arguments = {key: value for key, value in action.items() if key != "kind" and value is not None}
    return {"name": event.get("tool_name"), "arguments": arguments}


def essential(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what the program made of other parts of it, for the accounting.

    The `action` of an ActionEvent is its call, decoded. What an observation has beside the content
    that the agent saw is the tool's own record.
    """
    kind = event.get("kind")
    if kind in UNSEEN_KINDS:
        return {"kind": kind}
    dropped = ["source", "key", "sender", "activated_skills", "critic_result", "cause"]
    if kind == "ActionEvent":
        dropped += ["security_risk", "summary", "tool_name"]
        dropped += ["action"] if isinstance(event.get("tool_call"), dict) else []
    kept = {key: value for key, value in event.items() if key not in dropped}
    observation = event.get("observation")
    if isinstance(observation, dict) and (key := _text_key(observation)):
        kept["observation"] = {key: observation[key]}
    if kind == "Condensation":
        kept.pop("forgotten_event_ids", None)
    if kind == "SystemPromptUpdateEvent":
        kept.pop("reason", None)
    return kept


def _text_key(observation: Mapping[str, Any]) -> str | None:
    """The field with the words that the agent saw; earlier versions have one a tool."""
    return next((key for key in TEXT_KEYS if _texts(observation.get(key))), None)


def _texts(content: Any) -> str:
    parts = content if isinstance(content, list) else [content]
    texts = [object_or_empty(part).get("text", part) for part in parts]
    return "".join(text for text in texts if isinstance(text, str))


def _parts(content: Any, index: int) -> list[Any]:
    """The parts of a content, which may be a text."""
    if content is None:
        return []
    return content if isinstance(content, list) else [content]


def _added(event: Mapping[str, Any], index: int) -> Sequence[Any]:
    return list_of_objects(event.get("extended_content"), "extended_content", index)


def _shown(observation: Mapping[str, Any], index: int) -> list[Any]:
    """The parts of an observation that the agent sees; earlier versions have `output`."""
    parts = _parts(observation.get("content"), index)
    key = _text_key(observation)
    if key is not None and key != "content":
        parts = [*parts, observation[key]]
    metadata = object_or_empty(observation.get("metadata"))
    ends = (metadata.get(key) for key in ("prefix", "suffix"))
    before, after = (end if isinstance(end, str) else "" for end in ends)
    return [*([before] if before else []), *parts, *([after] if after else [])]


def _result(event: Mapping[str, Any], content: Any, index: int) -> Message:
    return read_one_message(
        "tool",
        content,
        index,
        tool_call_id=text_or_none(event.get("tool_call_id")),
        name=text_or_none(event.get("tool_name")),
    )


def _reasoning(owner: Mapping[str, Any], index: int) -> tuple[str | None, str | None]:
    """The reasoning under one of its three spellings, and a remark on what is hidden."""
    blocks = list_of_objects(owner.get("thinking_blocks"), "thinking_blocks", index)
    item = object_or_empty(owner.get("responses_reasoning_item"))
    found = [
        owner.get("reasoning_content"),
        "".join(text for block in blocks if (text := text_or_none(block.get("thinking")))),
        *("\n".join(filter(text_or_none, _parts(item.get(key), index))) for key in ITEM_KEYS),
    ]
    hidden = any(block.get("type") == "redacted_thinking" for block in blocks) or bool(
        item.get("encrypted_content")
    )
    thought = next((text for text in found if isinstance(text, str) and text), None)
    return thought, REDACTED if hidden else None


def _condensation(event: Mapping[str, Any], index: int) -> Condensation:
    ids = event.get("forgotten_event_ids")
    if not isinstance(ids, list):
        raise BadRowError("a Condensation has no forgotten_event_ids, expected a list", index)
    offset = event.get("summary_offset")
    return Condensation(
        {id_ for value in ids if (id_ := event_id(value)) is not None},
        text_or_none(event.get("summary")),
        offset if type(offset) is int and offset >= 0 else None,
    )
