"""The stream of `codex exec --json` -> trajectories: a thread of items that start and complete.

The stream does not hold the prompt, nor the names and arguments of Codex's own tools: a command is
the call `command_execution`, and what the item says of it the arguments. What completes an item is
the result. A list of things to do has no result.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from atlas.records import Outcome, Task
from atlas.trajectories.formats.agent_logs import build_reading, hash_of_texts
from atlas.trajectories.formats.codex.lines import CodexLine
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.fields import object_or_empty, text_or_none
from atlas.trajectories.formats.responses.items import ItemReader, remarks_of_steps
from atlas.trajectories.formats.rows import BadRowError, Reading, SourceRow

ITEM_EVENTS = ("item.started", "item.updated", "item.completed")
EVENTS = ("thread.started", "turn.started", "turn.completed", "turn.failed", *ITEM_EVENTS)
# Types of items that are calls: the keys of their arguments, and those of their results.
CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "command_execution": (("command",), ("aggregated_output", "exit_code")),
    "file_change": (("changes",), ("status", "error")),
    "mcp_tool_call": (("arguments",), ("result", "error")),
    "collab_tool_call": (("prompt", "receiver_thread_ids"), ("agents_states", "error")),
    "web_search": (("query", "action"), ()),
    "todo_list": (("items",), ()),
}
TEXTS = ("agent_message", "reasoning", "plan")
NO_PROMPT = "the stream of 'codex exec' does not hold the prompt"


def is_exec_event(row: Mapping[str, Any]) -> bool:
    """Whether a row is an event of `codex exec --json`; never raises."""
    kind = row.get("type")
    if kind == "thread.started":
        return isinstance(row.get("thread_id"), str)
    if kind in ITEM_EVENTS:
        return isinstance(row.get("item"), dict)
    if kind == "error":
        return row.keys() == {"type", "message"}
    is_turn = kind in ("turn.started", "turn.completed", "turn.failed")
    return is_turn and row.keys() <= {"type", "usage", "error"}


def read_thread(lines: Sequence[CodexLine]) -> Iterator[tuple[list[SourceRow], Reading]]:
    """The trajectory of a thread, with the rows that it was read from.

    Raises:
        BadRowError: an event is not what its type says.
    """
    reader = ItemReader()
    begun: set[str] = set()
    plans: dict[str, Any] = {}
    rows: list[SourceRow] = []
    outcome = Outcome(status="unknown", reason="the stream records no outcome")
    for line in lines:
        if line.kind in ITEM_EVENTS:
            try:
                _add(reader, line, begun, plans)
            except BadRowError as error:
                error.line = line  # type: ignore[attr-defined]
                raise
            rows.append(line.row)
        elif line.kind in ("turn.failed", "error"):
            error_of = object_or_empty(line.payload.get("error")) or line.payload
            reason = text_or_none(error_of.get("message")) or line.kind
            outcome = Outcome(status="error", reason=reason)
        elif line.kind == "turn.completed":
            outcome = Outcome(status="unknown", reason="the stream records no outcome")
    reader.end_turn()
    turns = reader.turns
    if all(turn.message.role != "assistant" for turn in turns):
        return
    start = num_leading_system(turns)
    whole = {json.dumps(row.value["item"].get("id")) for row in rows if _is_complete(row)}
    read = [row for row in _last_of_each(rows) if not _is_cut(row, whole)]
    remarks = [(0, NO_PROMPT), *remarks_of_steps(turns, reader.remarks, start)]
    if cut := sum(_is_cut(row, whole) for row in _last_of_each(rows)):
        remarks.append((-1, f"{cut} answers are left out: the stream ends within them"))
    reading = build_reading(
        turns,
        start,
        task=Task(id=lines[0].session_id or "thread", environment="codex"),
        digest=hash_of_texts(line.row.content_hash for line in lines),
        outcome=outcome,
        source=lines[0].row.source("codex", {"stream": "exec"}),
        remarks=remarks,
    )
    yield [_accounted(row) for row in read], reading


def _add(reader: ItemReader, line: CodexLine, begun: set[str], plans: dict[str, Any]) -> None:
    item = object_or_empty(line.payload.get("item"))
    kind = _kind_of(item)
    id_ = text_or_none(item.get("id"))
    is_complete = line.kind == "item.completed"
    if kind in TEXTS:
        if is_complete:
            reader.add(_text_item(item, kind))
    elif kind == "todo_list":
        if plans.get(str(id_)) != item.get("items"):
            plans[str(id_)] = item.get("items")
            reader.add(_call(item, kind, id_))
            reader.end_turn()
    elif kind in CALLS:
        if id_ is None or id_ not in begun:
            reader.add(_call(item, kind, id_))
            begun.add(str(id_))
        if is_complete:
            _add_result(reader, item, kind, id_)
    elif kind == "error":
        if is_complete:
            reader.remarks.append((reader.turn_index, "an error that Codex shows is left out"))
    else:
        raise BadRowError(f"an item of type {kind!r:.60} is not known")


def _kind_of(item: Mapping[str, Any]) -> str | None:
    """The type of an item; older versions have other names for it."""
    kind = text_or_none(item.get("type")) or text_or_none(item.get("item_type"))
    return "agent_message" if kind == "assistant_message" else kind


def _text_item(item: Mapping[str, Any], kind: str) -> dict[str, Any]:
    text = item.get("text")
    if not isinstance(text, str):
        raise BadRowError(f"an item of type '{kind}' has no 'text'")
    if kind == "reasoning":
        return {"type": "reasoning", "summary": [text]}
    return {"type": "message", "role": "assistant", "content": text}


def _call(item: Mapping[str, Any], kind: str, id_: str | None) -> dict[str, Any]:
    keys, _ = CALLS[kind]
    given = {key: item[key] for key in keys if item.get(key) is not None}
    if kind == "mcp_tool_call" and "arguments" in item:
        given = {"arguments": {} if item["arguments"] is None else item["arguments"]}
    if not given:
        raise BadRowError(f"an item of type '{kind}' has no '{keys[0]}'")
    name, arguments = kind, given
    if kind == "mcp_tool_call":
        name = f"mcp__{item.get('server')}__{item.get('tool')}"
        arguments = given["arguments"]
    elif kind == "collab_tool_call":
        name = str(item.get("tool"))
    return {"type": "function_call", "name": name, "arguments": arguments, "call_id": id_}


def _add_result(reader: ItemReader, item: Mapping[str, Any], kind: str, id_: str | None) -> None:
    _, keys = CALLS[kind]
    found = {key: item[key] for key in keys if item.get(key) is not None}
    if not found:
        if not keys:
            reader.remarks.append((reader.turn_index, f"the result of a {kind} is not recorded"))
        reader.end_turn()
        return
    result: Any = found
    if kind == "mcp_tool_call":
        result = found.get("result", found.get("error"))
        content = object_or_empty(result).get("content")
        is_only = not object_or_empty(result).get("structured_content")
        result = content if isinstance(content, list) and content and is_only else result
    reader.add({"type": "function_call_output", "call_id": id_, "output": result})


def _last_of_each(rows: Sequence[SourceRow]) -> list[SourceRow]:
    """The rows, for each item only the last one: it holds what the earlier ones hold."""
    last: dict[str, SourceRow] = {}
    for row in rows:
        item = row.value["item"]
        is_list = item.get("type") == "todo_list"
        key = f"{item.get('id')} {row.index if is_list or item.get('id') is None else ''}"
        last[json.dumps(key)] = row
    return [*last.values()]


def _is_complete(row: SourceRow) -> bool:
    return bool(row.value["type"] == "item.completed")


def _is_cut(row: SourceRow, whole: Collection[str]) -> bool:
    """Whether a row is of a text that the stream does not complete."""
    item = row.value["item"]
    return _kind_of(item) in TEXTS and json.dumps(item.get("id")) not in whole


def _accounted(row: SourceRow) -> SourceRow:
    """The part of a row that has to be carried over: of its item, what is content as in any row.

    The fields of a result are carried over as one JSON text.
    """
    item = row.value["item"]
    keys: Collection[str] = CALLS.get(str(item.get("type")), ((), ()))[1]
    if not _is_complete(row):
        keys = ()
    if _kind_of(item) == "error":
        keys = ("message",)
    kept = {key: value for key, value in item.items() if key not in keys}
    beside = {key: value for key, value in row.value.items() if key not in ("item", "type")}
    return replace(row.part({**beside, **kept}), where=f"{row.where}, item")
