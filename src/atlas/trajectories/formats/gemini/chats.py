"""Gemini: contents of the API, rows of its tuning data, and saved chats of Gemini CLI.

A row holds contents as a list, or under `contents`, `history`, `clientHistory` or `messages`. A
saved chat is one object with `messages`, or lines: a header, a message each, changes of the header
(`$set`) and rewinds (`$rewindTo`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from atlas.config import Config
from atlas.records import Message, Problem
from atlas.trajectories.formats.agent_logs import build_reading
from atlas.trajectories.formats.conventions import details_of_row, outcome_of_row, task_of_row
from atlas.trajectories.formats.conversations import num_leading_system, prompt_length
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import object_or_empty
from atlas.trajectories.formats.gemini.contents import (
    CONTENTS_METADATA,
    is_contents,
    read_declarations,
    text_of_parts,
    turns_of_contents,
)
from atlas.trajectories.formats.gemini.sessions import (
    SESSION_METADATA,
    is_session,
    is_session_line,
    read_session,
    without_notices,
)
from atlas.trajectories.formats.gemini.stream import (
    STREAM_METADATA,
    accounted_stream,
    begins,
    end_of_session,
    is_said,
    is_stream_event,
    is_stream_row,
    may_continue,
    read_stream,
    session_of,
    stream_row,
)
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

CONTENTS_KEYS = ("contents", "clientHistory", "history", "messages")
SYSTEM_KEYS = ("systemInstruction", "system_instruction")
CONFIG_KEYS = ("config", "generationConfig", "generation_config")
SAMPLING_KEYS = (
    "topK",
    "topP",
    "maxOutputTokens",
    "candidateCount",
    "responseMimeType",
    "thinkingConfig",
    "seed",
)
ANSWER_KEYS = ("candidates", "response")


@dataclass(slots=True)
class _Lines:
    """The lines of a saved chat so far."""

    row: SourceRow | None = None
    header: dict[str, Any] = field(default_factory=dict)
    # By id; a message that is written again replaces the first one in its place.
    messages: dict[str, Any] = field(default_factory=dict)
    num_rewound: int = 0


class GeminiFormat:
    """Reads contents of Gemini's API, and saved chats of Gemini CLI.

    A saved chat may be spread over lines, so rows are not converted apart from each other.
    """

    metadata = (
        *CONTENTS_METADATA,
        *SESSION_METADATA,
        *STREAM_METADATA,
        *(f"*.{key}" for key in SAMPLING_KEYS),
        "candidates.safetyRatings",
        "candidates.avgLogprobs",
        "response.candidates.safetyRatings",
        "responseId",
        "modelVersion",
        "safetySettings",
        "toolCall",
        "commitHash",
        "authType",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        if is_session(row) or is_contents(row) or is_stream_event(row):
            return True
        if is_session_line(row):
            # Other logs have messages of the other types, with the same keys.
            return "id" not in row or row.get("type") == "gemini"
        return _contents_of(row) is not None

    def read(self, source: SourceFile) -> Iterator[Item]:
        rows = _gathered(_streams(source.rows()), _Lines())
        return convert_rows(rows, _convert, self.metadata, source.ignored, accounted=_accounted)


def _accounted(row: SourceRow) -> list[SourceRow]:
    return [accounted_stream(row) if is_stream_row(row.value) else row]


def _streams(rows: Iterable[SourceRow | Problem]) -> Iterator[SourceRow | Problem]:
    """The rows, the events of each stream as one."""
    events: list[SourceRow] = []
    session: str | None = None
    for row in rows:
        if isinstance(row, Problem):
            yield row
        elif (
            is_stream_event(row.value) or is_said(row.value) or (events and may_continue(row.value))
        ):
            if begins(row.value, session):
                place = end_of_session(events)
                yield stream_row(events[:place])
                events = events[place:]
            session = session_of(row.value) or session
            events.append(row)
        else:
            yield row
    if events:
        yield stream_row(events)


def _convert(row: SourceRow) -> Reading:
    if is_stream_row(row.value):
        return read_stream(row)
    if is_session(row.value) or "numUnseen" in object_or_empty(row.value):
        return read_session(row)
    contents = row.value if isinstance(row.value, list) else _contents_of(row.value)
    if contents is None:
        raise BadRowError(
            "no contents, expected a list of {'role', 'parts'}, bare or under "
            f"{', '.join(CONTENTS_KEYS)}, or a saved chat of Gemini CLI"
        )
    fields = object_or_empty(row.value)
    turns = turns_of_contents([*contents, *_answers_of(fields)])
    config: dict[str, Any] = next(
        (fields[key] for key in CONFIG_KEYS if isinstance(fields.get(key), dict)), {}
    )
    system = _first((fields, config), SYSTEM_KEYS)
    if system is not None:
        text = text_of_parts(system, 0)
        turns = [Turn(Message(role="system", content=text)), *turns]
    tools = _first((fields, config), ("tools",))
    schemas = read_declarations(tools) if tools else ()
    if schemas is None:
        raise BadRowError("tools are not objects, expected a list with functionDeclarations")
    digest = row.content_hash
    used = {*CONTENTS_KEYS, *SYSTEM_KEYS, *CONFIG_KEYS, *ANSWER_KEYS, "success", "reward"}
    return build_reading(
        turns,
        max(prompt_length(turns), num_leading_system(turns)),
        task=task_of_row(fields, otherwise=f"chat-{digest}"),
        digest=digest,
        outcome=outcome_of_row(fields),
        source=row.source("gemini", details_of_row(fields, used)),
        tools=schemas,
    )


def _gathered(rows: Iterable[SourceRow | Problem], lines: _Lines) -> Iterator[SourceRow | Problem]:
    """The rows, those that are lines of a saved chat gathered into one."""
    for row in rows:
        if isinstance(row, SourceRow) and is_session_line(row.value):
            if lines.row is not None and lines.messages and _begins(row.value, lines.header):
                yield _session(lines)
                lines.row, lines.header, lines.messages, lines.num_rewound = None, {}, {}, 0
            lines.row = lines.row or row
            _add(lines, row.value)
        elif isinstance(row, SourceRow) and is_session(row.value):
            yield row.part(without_notices(row.value))
        elif isinstance(row, SourceRow) and is_contents(
            object_or_empty(row.value).get("clientHistory")
        ):
            # A checkpoint: its `history` is what the user saw of the same chat.
            yield row.part({key: row.value[key] for key in row.value if key != "history"})
        else:
            yield row
    if lines.row is not None:
        yield _session(lines)


def _begins(line: Mapping[str, Any], header: Mapping[str, Any]) -> bool:
    """Whether a line begins another chat; one that is resumed has the same header again."""
    return "projectHash" in line and line.get("sessionId") != header.get("sessionId")


def _session(lines: _Lines) -> SourceRow:
    assert lines.row is not None
    value = {**lines.header, "messages": [*lines.messages.values()]}
    if lines.num_rewound:
        value["numRewound"] = lines.num_rewound
    return lines.row.part(without_notices(value))


def _add(lines: _Lines, line: Mapping[str, Any]) -> None:
    if "$rewindTo" in line:
        ids = [*lines.messages]
        target = line["$rewindTo"]
        start = ids.index(target) if target in ids else 0
        for id_ in ids[start:]:
            del lines.messages[id_]
        lines.num_rewound += len(ids) - start
    elif "$set" in line:
        _set(lines, object_or_empty(line["$set"]))
    elif "projectHash" in line:
        lines.header.update({key: value for key, value in line.items() if key != "messages"})
        _set(lines, {"messages": line["messages"]} if "messages" in line else {})
    else:
        lines.messages[str(line["id"])] = line


def _set(lines: _Lines, changes: Mapping[str, Any]) -> None:
    messages = changes.get("messages")
    if isinstance(messages, list):
        given = {
            str(object_or_empty(each).get("id", number)): each
            for number, each in enumerate(messages)
        }
        lines.num_rewound += sum(id_ not in given for id_ in lines.messages)
        lines.messages = given
    lines.header.update({key: value for key, value in changes.items() if key != "messages"})


def _contents_of(row: Any) -> list[Any] | None:
    fields = object_or_empty(row)
    return next((fields[key] for key in CONTENTS_KEYS if is_contents(fields.get(key))), None)


def _answers_of(fields: Mapping[str, Any]) -> list[Any]:
    """The content of the first answer beside the contents."""
    response = fields.get("response")
    holder = response[-1] if isinstance(response, list) and response else response
    for owner in (fields, object_or_empty(holder)):
        candidates = owner.get("candidates")
        if isinstance(candidates, list) and candidates:
            content = object_or_empty(candidates[0]).get("content")
            return [] if content is None else [content]
    return []


def _first(owners: Iterable[Mapping[str, Any]], keys: Iterable[str]) -> Any:
    keys = tuple(keys)
    return next((owner[key] for owner in owners for key in keys if owner.get(key)), None)
