"""Events of OpenHands before its SDK (V0): `event -> entry`.

An event has `action` or `observation`. An action of the agent names the answer of the model that it
was taken from (`tool_call_metadata.model_response`); that answer is the response, verbatim. Older
logs do not have it: there the call is made of the action, and a remark says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from atlas.records import Message, ToolCall
from atlas.trajectories.formats.fields import object_or_empty, read_one_message, text_or_none
from atlas.trajectories.formats.messages import read_message
from atlas.trajectories.formats.openhands.event_views import Condensation, Entry, EventId, event_id
from atlas.trajectories.formats.openhands.workspace import workspace_text
from atlas.trajectories.formats.rows import BadRowError

# What happens between the user, the server and the agent; no model sees it.
UNSEEN_ACTIONS = (
    "null",
    "change_agent_state",
    "condensation_request",
    "loop_recovery",
    "pause",
    "resume",
    "stop",
    "start",
    "initialize",
)
UNSEEN_OBSERVATIONS = ("null", "agent_state_changed", "loop_detection")
# What the program keeps with an action besides what the model wrote.
# What repeats the call in the answer that an event was taken from.
OF_CALLS = ("function_name", "tool_call_id", "total_calls_in_response")
BOOKKEEPING = (
    "thought",
    "confirmation_state",
    "is_confirmed",
    "security_risk",
    "action_risk",
    "hidden",
    "blocking",
    "is_static",
    "is_input",
    "keep_prompt",
    "cwd",
    "impl_source",
    "translated_ipython_code",
    "kernel_init_code",
    "wait_for_response",
    "include_extra",
    "return_axtree",
    "file_urls",
    "openhands_version",
    "agent_class",
)
# Fields of the event, where older logs have the arguments beside them.
EVENT_FIELDS = (
    "id",
    "timestamp",
    "source",
    "message",
    "action",
    "observation",
    "cause",
    "timeout",
    "tool_call_metadata",
    "llm_metrics",
    "success",
)
# What an observation has beside its content, where older logs have no `extras`.
OF_OLD_OBSERVATIONS = (
    "command",
    "command_id",
    "exit_code",
    "code",
    "path",
    "url",
    "screenshot",
    "error",
    "agent_state",
)
IMAGES = ("image_urls", "images_urls")
MADE_OF_ACTION = "the log has no answer of the model; the call is made of the action"


def is_old_event(value: Any) -> bool:
    """Whether a decoded value is an event of V0."""
    if not isinstance(value, dict) or "response" in value or "role" in value:
        return False
    return isinstance(value.get("action"), str) != isinstance(value.get("observation"), str)


class OldEvents:
    """Reads the events of one stream in order; results are paired with the actions before them."""

    def __init__(self) -> None:
        self.tools: list[Any] = []
        # The actions of the agent by event id: the id and the name of the call.
        self._calls: dict[EventId | None, tuple[str | None, str]] = {}
        self._last: tuple[str | None, str] | None = None

    def read(self, event: Mapping[str, Any], index: int) -> Entry | None:
        """What the agent knows of an event; None if it knows nothing.

        Raises:
            BadRowError: the event does not hold what its kind has.
        """
        if isinstance(event.get("action"), str):
            return self._action(event, index)
        return self._observation(event, index)

    def _action(self, event: Mapping[str, Any], index: int) -> Entry | None:
        kind, id_ = event["action"], event_id(event.get("id"))
        args = _arguments(event, index)
        if kind in UNSEEN_ACTIONS:
            return None
        if kind == "recall":
            # It has a place in the view, but no words.
            return Entry(id_)
        if kind == "condensation":
            return Entry(id_, condensation=_condensation(args, index))
        if kind == "system":
            tools = args.get("tools")
            self.tools = tools if isinstance(tools, list) else self.tools
            return Entry(id_, read_one_message("system", args.get("content"), index))
        is_agent = _is_agents(event, args)
        answer = _answer(event, index)
        if answer is None and (kind == "message" or not is_agent):
            self._last = None
            message = _message_of(kind, args, "assistant" if is_agent else "user", index)
            return Entry(id_, message)
        metadata = object_or_empty(event.get("tool_call_metadata"))
        if answer is not None:
            message, generation = answer
            self._last = (
                text_or_none(metadata.get("tool_call_id")),
                text_or_none(metadata.get("function_name")) or kind,
            )
            self._calls[id_] = self._last
            return Entry(id_, message, generation)
        given = {key: value for key, value in args.items() if key not in BOOKKEEPING}
        text = args.get("thought")
        call = ToolCall(name=kind, arguments=json.dumps(given, ensure_ascii=False))
        thought = text if isinstance(text, str) else ""
        self._last = self._calls[id_] = (None, kind)
        message = Message(role="assistant", content=thought, tool_calls=(call,))
        return Entry(id_, message, remark=MADE_OF_ACTION)

    def _observation(self, event: Mapping[str, Any], index: int) -> Entry | None:
        kind, id_ = event["observation"], event_id(event.get("id"))
        extras = object_or_empty(event.get("extras"))
        if kind in UNSEEN_OBSERVATIONS:
            return None
        if kind == "recall":
            text = workspace_text(extras)
            return Entry(id_, Message(role="user", content=text) if text else None)
        content = event.get("content")
        if kind == "delegate":
            said = object_or_empty(extras.get("outputs")).get("content")
            content = said if isinstance(said, str) else content
        metadata = object_or_empty(event.get("tool_call_metadata"))
        call = (
            text_or_none(metadata.get("tool_call_id")),
            text_or_none(metadata.get("function_name")),
        )
        found: tuple[str | None, str | None] | None = call if call[0] else None
        if found is None:
            cause = event_id(event.get("cause"))
            found = self._calls.get(cause) if cause is not None else None
        if found is None and "cause" not in event and "id" not in event:
            found = self._last
        message = read_one_message(
            "tool" if found else "user",
            content,
            index,
            tool_call_id=found[0] if found else None,
            name=found[1] if found else None,
        )
        shown = object_or_empty(extras.get("metadata"))
        ends = [shown.get(key) for key in ("prefix", "suffix")]
        before, after = (end if isinstance(end, str) else "" for end in ends)
        if kind == "run" and (before or after):
            update = {"content": f"{before}{message.content}{after}"}
            message = message.model_copy(update=update)
        return Entry(id_, message)


def essential(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what the program made of other parts of it, for the accounting.

    The arguments of an action that names its answer are such a part: the answer holds them as the
    model wrote them. So is what an observation has beside its content.
    """
    kept = dict(event)
    dropped = ["source", "message", "cause", "timeout", "llm_metrics", "success"]
    if event.get("action") in (*UNSEEN_ACTIONS, "recall", "condensation"):
        dropped.append("args")
    if event.get("observation") in UNSEEN_OBSERVATIONS:
        dropped += ["content", "extras"]
    metadata = object_or_empty(event.get("tool_call_metadata"))
    if "observation" in event:
        dropped.append("tool_call_metadata")
        if event.get("observation") == "recall":
            # A notice for the user; the extras are what the agent saw.
            dropped.append("content")
        elif event.get("observation") != "delegate":
            dropped.append("extras")
        if "extras" not in event:
            dropped += OF_OLD_OBSERVATIONS
    elif metadata.get("model_response") is not None:
        dropped.append("args")
        kept["tool_call_metadata"] = {
            key: value for key, value in metadata.items() if key not in OF_CALLS
        }
    elif "args" not in event:
        dropped += [key for key in event if key in BOOKKEEPING and key != "thought"]
    elif isinstance(event["args"], dict):
        kept["args"] = {
            key: value
            for key, value in event["args"].items()
            if key == "thought" or key not in (*BOOKKEEPING, *IMAGES)
        }
    # Which kind of event it is.
    dropped += ["action", "observation"]
    return {key: value for key, value in kept.items() if key not in dropped}


def _arguments(event: Mapping[str, Any], index: int) -> Mapping[str, Any]:
    if "args" not in event:
        return {key: value for key, value in event.items() if key not in EVENT_FIELDS}
    args = event["args"]
    if not isinstance(args, dict):
        raise BadRowError(f"args is {args!r:.60}, expected an object", index)
    return args


def _is_agents(event: Mapping[str, Any], args: Mapping[str, Any]) -> bool:
    source = event.get("source")
    if source is None:
        # Older logs name no source; a message that waits for an answer is the agent's.
        return event["action"] != "message" or args.get("wait_for_response") is True
    return bool(source == "agent")


def _answer(event: Mapping[str, Any], index: int) -> tuple[Message, str | None] | None:
    """The answer of the model in an action, and its id."""
    response = object_or_empty(event.get("tool_call_metadata")).get("model_response")
    if response is None:
        return None
    match response:
        case {"choices": [{"message": dict(given)}, *_]}:
            [turn] = read_message({"role": "assistant", "content": None, **given}, index)
            return turn.message, text_or_none(response.get("id"))
    raise BadRowError(
        "tool_call_metadata.model_response has no choices.message, expected the model's answer",
        index,
    )


def _message_of(kind: str, args: Mapping[str, Any], role: Any, index: int) -> Message | None:
    """A message, or what a user did in the workspace."""
    if kind == "message":
        images: list[Any] = next(
            (args[key] for key in IMAGES if isinstance(args.get(key), list)), []
        )
        message = read_one_message(role, args.get("content"), index)
        marks = "[image]" * len(images) if role == "user" else ""
        return message.model_copy(update={"content": message.content + marks})
    given = {key: value for key, value in args.items() if key not in BOOKKEEPING}
    if not given:
        return None
    command = given.get("command")
    is_command = isinstance(command, str) and len(given) == 1
    text = str(command) if is_command else json.dumps(given, ensure_ascii=False)
    return Message(role="user", content=text)


def _condensation(args: Mapping[str, Any], index: int) -> Condensation:
    ids = args.get("forgotten_event_ids")
    first, last = args.get("forgotten_events_start_id"), args.get("forgotten_events_end_id")
    forgotten: Any
    if isinstance(ids, list):
        forgotten = {id_ for value in ids if (id_ := event_id(value)) is not None}
    elif type(first) is int and type(last) is int:
        forgotten = range(first, last + 1)
    else:
        raise BadRowError("a condensation does not say which events are forgotten", index)
    given = args.get("summary_offset")
    offset = given if type(given) is int and given >= 0 else None
    summary = text_or_none(args.get("summary"))
    # Without a new summary, the last one stays.
    is_replaced = summary is not None and offset is not None
    return Condensation(forgotten, summary, offset, replaces_summary=is_replaced)
