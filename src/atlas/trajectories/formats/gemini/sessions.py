"""Saved chats of Gemini CLI: `{"sessionId", "projectHash", "messages"}` -> a trajectory.

Each message of type `gemini` is one answer, with its thoughts, and its calls with their results.
Notices of the program (info, warning, error) were not seen by the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from atlas.records import Message, Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import list_of_objects, object_or_empty, text_or_none
from atlas.trajectories.formats.gemini.contents import messages_of_parts
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow
from atlas.trajectories.react_turns import Remark

ANSWERS = ("gemini", "model", "assistant")
SPEAKERS = ("user", *ANSWERS)
NOTICES = ("info", "warning", "error")
# The user gives commands to the program with these.
COMMANDS = ("/", "?")
SESSION_METADATA = (
    "projectHash",
    "lastUpdated",
    "directories",
    "memoryScratchpad",
    "summary",
    "numRewound",
    "numUnseen",
    "messages.displayContent",
    "messages.toolCalls.displayName",
    "messages.toolCalls.description",
    "messages.toolCalls.resultDisplay",
    "messages.toolCalls.renderOutputAsMarkdown",
    "messages.toolCalls.agentId",
)


def is_session(row: Any) -> bool:
    """Whether a row is a whole saved chat."""
    match row:
        case {"messages": [{"type": str(kind)}, *_], "sessionId": str()}:
            return kind in (*SPEAKERS, *NOTICES) and "role" not in row["messages"][0]
    return False


def is_session_line(row: Any) -> bool:
    """Whether a row is a line of a saved chat."""
    match row:
        case {"messages": _}:
            return False
        case {"$set": {}} | {"$rewindTo": str()} | {"sessionId": str(), "projectHash": str()}:
            return True
        case {"id": str(), "type": str(kind), "content": _, "timestamp": _}:
            return kind in (*SPEAKERS, *NOTICES) and row.keys().isdisjoint(("role", "parentUuid"))
    return False


def without_notices(document: Mapping[str, Any]) -> dict[str, Any]:
    """A saved chat without what the model did not see: notices and commands of the program."""
    kept: list[Any] = []
    messages = document["messages"]
    for index, message in enumerate(messages):
        fields = object_or_empty(message)
        if fields.get("type") in NOTICES:
            continue
        if fields.get("type") == "user" and _is_command(fields):
            following = (
                kind
                for one in messages[index + 1 :]
                if (kind := object_or_empty(one).get("type")) in SPEAKERS
            )
            if next(following, None) not in ANSWERS:
                continue
        kept.append(message)
    return {**document, "messages": kept, "numUnseen": len(messages) - len(kept)}


def read_session(row: SourceRow) -> Reading:
    """The trajectory of a saved chat.

    Raises:
        BadRowError: something is not a message; the error names which.
    """
    document = row.value
    messages = list_of_objects(document["messages"], "messages")
    turns: list[Turn] = []
    models: list[str] = []
    for index, message in enumerate(messages):
        kind = message.get("type")
        if kind == "user":
            turns += map(Turn, messages_of_parts(_content_of(message), "user", index))
        elif kind in ANSWERS:
            turns += map(Turn, _answer(message, index))
            models += filter(None, [text_or_none(message.get("model"))])
        else:
            raise BadRowError(
                f"type is {kind!r:.60}, expected one of {', '.join((*SPEAKERS, *NOTICES))}", index
            )
    remarks: list[Remark] = [
        (-1, text.format(number))
        for key, text in (
            ("numUnseen", "{} notices and commands of the program are not read"),
            ("numRewound", "{} messages that a rewind left are not read"),
        )
        if (number := document.get(key))
    ]
    session = text_or_none(document.get("sessionId")) or f"chat-{row.content_hash}"
    return build_reading(
        turns,
        num_leading_system(turns),
        task=Task(id=session, environment="gemini_cli"),
        digest=row.content_hash,
        outcome=Outcome(status="unknown", reason="a saved chat records no outcome"),
        source=row.source("gemini", _details(document, models)),
        remarks=remarks,
    )


def _details(document: Mapping[str, Any], models: list[str]) -> dict[str, Any]:
    details: dict[str, Any] = {"model": models[0]} if models else {}
    if document.get("kind") == "subagent":
        details["kind"] = "subagent"
    return details


def _is_command(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    if isinstance(content, list) and content:
        content = object_or_empty(content[0]).get("text", content[0])
    return isinstance(content, str) and content.lstrip().startswith(COMMANDS)


def _content_of(message: Mapping[str, Any]) -> Any:
    return message["content"] if "content" in message else message.get("parts")


def _answer(message: Mapping[str, Any], index: int) -> Iterator[Message]:
    """An answer and the results of its calls.

    In recent chats the content holds the calls and thoughts; the other fields repeat them.
    """
    content = _content_of(message)
    said = [*messages_of_parts(content, "assistant", index)] if content else []
    calls = list_of_objects(message.get("toolCalls"), "toolCalls", index)
    text = "".join(each.content for each in said)
    reasoning = "".join(each.reasoning or "" for each in said) or _thoughts(message, index)
    in_content = [call for each in said for call in each.tool_calls]
    ids = [call.id for call in in_content]
    if in_content and len(calls) == len(ids) and not any(ids):
        # Only the other field has the ids, by which the results are found.
        in_content = []
    parts = [
        {"functionCall": {key: call[key] for key in call if key in ("id", "name", "args")}}
        for call in calls
        if not in_content or call.get("id") not in ids
    ]
    beside = [
        call for each in messages_of_parts(parts, "assistant", index) for call in each.tool_calls
    ]
    yield Message(
        role="assistant",
        content=text,
        reasoning=reasoning or None,
        tool_calls=(*in_content, *beside),
    )
    for call in calls:
        yield from _results(call, index)


def _results(call: Mapping[str, Any], index: int) -> Iterator[Message]:
    """The result of a call: a text, or parts, the first of which is its response."""
    result = call.get("result")
    if result is None:
        return
    if isinstance(result, str):
        content = result
    else:
        found = [*messages_of_parts(result, "user", index)]
        content = "".join(message.content for message in found)
    yield Message(
        role="tool",
        content=content,
        tool_call_id=text_or_none(call.get("id")),
        name=text_or_none(call.get("name")),
    )


def _thoughts(message: Mapping[str, Any], index: int) -> str:
    thoughts = list_of_objects(message.get("thoughts"), "thoughts", index)
    texts = []
    for thought in thoughts:
        subject = text_or_none(thought.get("subject"))
        texts_in_it = (text_or_none(thought.get(key)) for key in ("description", "text", "summary"))
        description = next(filter(None, texts_in_it), None)
        texts.append("\n".join(filter(None, [f"**{subject}**" if subject else None, description])))
    return "\n\n".join(filter(None, texts))
