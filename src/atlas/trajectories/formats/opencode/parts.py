"""The messages of opencode and their parts: text, reasoning, tools, files; snapshots and the like.

A tool stands in one part with its call (`state.input`) and its result (`state.output`). The results
of a step come after its calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atlas.records import Message
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.responses.items import ItemReader
from atlas.trajectories.formats.rows import BadRowError

# Parts that no model sees. A mention of an agent or a file is repeated as a text.
SILENT = ("snapshot", "patch", "agent", "retry", "subtask")
SEEN_AS_TEXT = ("text/plain", "application/x-directory")
METADATA = (
    *(
        "*.info.tools",
        "*.info.summary",
        "*.info.cost",
        "*.info.path",
        "*.info.agent",
    ),
    *("*.info.mode", "*.info.finish", "*.info.variant", "*.info.model", "*.info.error"),
    *("*.info.providerID", "*.info.modelID", "*.info.parentID"),
    *("*.info.format", "*.info.share", "*.info.permission", "*.info.revert", "*.info.slug"),
    *("*.info.projectID", "*.info.directory", "*.info.title", "*.sessionID", "*.messageID"),
    *("*.callID", "*.snapshot", "*.hash", "*.files", "*.reason", "*.auto", "*.overflow"),
    *("*.tail_start_id", "*.synthetic", "*.ignored", "*.time", "*.mime", "*.filename", "*.url"),
    *("*.source", "*.state.title", "*.state.metadata", "*.state.attachments", "*.parts.metadata"),
    *("*.attempt", "*.parts.error", "*.part.metadata", "info.workspaceID", "error"),
    *("*.parts.agent", "*.parts.command", "*.parts.name", "*.parts.model"),
)
ENDED = ("completed", "error")


def kept_messages(messages: Sequence[Any], revert: Any) -> tuple[list[Any], int]:
    """The messages before the one that was reverted, and the number of the others."""
    at = object_or_empty(revert).get("messageID")
    if not isinstance(at, str):
        return list(messages), 0
    for index, message in enumerate(messages):
        if object_or_empty(object_or_empty(message).get("info")).get("id") == at:
            return list(messages[:index]), len(messages) - index
    return list(messages), 0


def is_left_out(part: Any, role: str) -> bool:
    """Whether a part is a text that the agent did not see, or, in an answer, did not write."""
    given = object_or_empty(part)
    is_added = role == "assistant" and given.get("synthetic") is True
    return given.get("type") == "text" and (is_added or given.get("ignored") is True)


def add_message(reader: ItemReader, message: Mapping[str, Any], index: int) -> None:
    """Read a message.

    Raises:
        BadRowError: it is not a message; the error names which.
    """
    info = object_or_empty(message.get("info"))
    parts = message.get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise BadRowError(f"parts are {parts!r:.60}, expected a list of objects", index)
    match info.get("role"):
        case "user":
            _add_request(reader, info, parts, index)
        case "assistant":
            _add_answer(reader, parts, index)
        case role:
            raise BadRowError(f"role is {role!r:.60}, expected user or assistant", index)


def _add_request(
    reader: ItemReader, info: Mapping[str, Any], parts: Sequence[dict[str, Any]], index: int
) -> None:
    system = text_or_none(info.get("system"))
    if system and not reader.turns:
        reader.turns.append(Turn(Message(role="system", content=system)))
    texts = []
    for part in parts:
        kind = part.get("type")
        if is_left_out(part, "user"):
            reader.note("a text that the agent did not see is left out")
        elif kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "file":
            texts.append(_file(part))
        elif kind == "compaction":
            texts.append("[compaction]")
        elif kind not in SILENT:
            raise BadRowError(f"a part of type {kind!r:.60} is not known in a request", index)
    content = "\n\n".join(text for text in texts if text)
    reader.add_message(Message(role="user", content=content))


def _file(part: Mapping[str, Any]) -> str:
    mime = text_or_none(part.get("mime")) or ""
    if mime in SEEN_AS_TEXT:
        return ""
    return "[image]" if mime.startswith("image/") else "[file]"


def _add_answer(reader: ItemReader, parts: Sequence[dict[str, Any]], index: int) -> None:
    results: list[dict[str, Any]] = []
    has_steps = any(part.get("type") == "step-start" for part in parts)
    reader.end_turn()
    for part in parts:
        kind = part.get("type")
        if kind in ("step-start", "step-finish"):
            _end_step(reader, results)
        elif kind == "tool":
            call, result = _tool(part, index)
            reader.add(call, index)
            results += result
            if object_or_empty(object_or_empty(part.get("state")).get("time")).get("compacted"):
                reader.note("later steps saw a result of this step without its content")
        elif kind in ("text", "reasoning"):
            if results and not has_steps:
                _end_step(reader, results)
            _add_text(reader, part, str(kind), index)
        elif kind == "file":
            reader.note("a file in an answer is left out")
        elif kind not in (*SILENT, "compaction"):
            raise BadRowError(f"a part of type {kind!r:.60} is not known in an answer", index)
    _end_step(reader, results)


def _add_text(reader: ItemReader, part: Mapping[str, Any], kind: str, index: int) -> None:
    text = part.get("text")
    if not isinstance(text, str):
        raise BadRowError(f"a part of type '{kind}' has no 'text'", index)
    if is_left_out(part, "assistant"):
        reader.note("a text in an answer that the agent did not write is left out")
    elif kind == "text":
        reader.add({"type": "message", "role": "assistant", "content": text}, index)
    else:
        reader.add({"type": "reasoning", "content": [{"text": text}]}, index)


def _end_step(reader: ItemReader, results: list[dict[str, Any]]) -> None:
    reader.end_turn()
    for result in results:
        reader.add(result)
    results.clear()


def _tool(part: Mapping[str, Any], index: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The call in a part, and its result where it ended."""
    state = object_or_empty(part.get("state"))
    id_ = text_or_none(part.get("callID"))
    given = state.get("input")
    if not given and text_or_none(state.get("raw")):
        given = state["raw"]
    if given is None:
        raise BadRowError(f"the call of {part.get('tool')!r:.60} has no 'input'", index)
    call = {"type": "function_call", "name": part.get("tool"), "arguments": given, "call_id": id_}
    output = state.get("output", state.get("error"))
    if state.get("status") not in ENDED and output is None:
        return call, []
    if output is None:
        raise BadRowError(f"the result of {part.get('tool')!r:.60} has no 'output'", index)
    return call, [{"type": "function_call_output", "call_id": id_, "output": output}]
