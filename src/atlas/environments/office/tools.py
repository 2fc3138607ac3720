"""The tools of the office: their schemas, the check of arguments, and what they do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date as Date
from typing import Any

from atlas.environments.office.state import (
    CalendarEvent,
    OfficeState,
    SentMail,
    minutes_of,
    time_of,
)
from atlas.environments.react import MAX_QUOTED

FINISH = "finish"
DAY_END = 24 * 60
MAX_TEXT = 2_000
MAX_LISTED = 50
TEXT = {"type": "string"}
DATE = {"type": "string", "description": "a date such as 2026-03-02"}
TIME = {"type": "string", "description": "a time such as 09:30"}
MINUTES = {"type": "integer", "description": "the length in minutes"}
ADDRESSES = {
    "type": "array",
    "items": {"type": "string"},
    "description": "mail addresses of contacts",
}
TYPES: Mapping[str, type] = {"string": str, "integer": int, "array": list}


class ToolError(Exception):
    """A call that could not be carried out; the text is meant for the agent."""


@dataclass(frozen=True, slots=True)
class OfficeTool:
    """A tool: all its parameters are required."""

    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    run: Callable[..., Any]

    def schema(self, name: str) -> dict[str, Any]:
        """The schema in OpenAI's form."""
        parameters = {
            "type": "object",
            "properties": {key: dict(value) for key, value in self.parameters.items()},
            "required": list(self.parameters),
            "additionalProperties": False,
        }
        function = {"name": name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


def call_tool(state: OfficeState, name: str, arguments: Any) -> Any:
    """The result of a call, as data that JSON can hold.

    Raises:
        ToolError: the tool is unknown, the arguments do not fit, or the action is not possible.
    """
    tool = TOOLS.get(name)
    if tool is None:
        raise ToolError(f"{name[:MAX_QUOTED]!r} is not a tool. The tools are: {', '.join(TOOLS)}")
    _check(name, tool.parameters, arguments)
    return tool.run(state, **arguments)


def _check(name: str, parameters: Mapping[str, Mapping[str, Any]], arguments: Any) -> None:
    listed = ", ".join(f"{key} ({value['type']})" for key, value in parameters.items())
    expected = f"{name} takes {listed}"
    if not isinstance(arguments, dict):
        raise ToolError(f"the arguments are not a JSON object. {expected}")
    if missing := [key for key in parameters if key not in arguments]:
        raise ToolError(f"'{missing[0]}' is missing. {expected}")
    if unknown := [str(key) for key in arguments if key not in parameters]:
        raise ToolError(f"'{unknown[0][:MAX_QUOTED]}' is not an argument. {expected}")
    for key, schema in parameters.items():
        value = arguments[key]
        wanted = TYPES[schema["type"]]
        is_right = isinstance(value, wanted) and not isinstance(value, bool)
        if is_right and wanted is list:
            is_right = all(isinstance(one, str) for one in value) and len(value) <= MAX_LISTED
        if is_right and wanted is str and len(value) > MAX_TEXT:
            raise ToolError(f"'{key}' has more than {MAX_TEXT:,} characters")
        if not is_right:
            raise ToolError(f"'{key}' is {value!r:.60}. {expected}")


# ---- contacts, mail and notes ----


def _find_contacts(state: OfficeState, query: str) -> list[dict[str, str]]:
    words = query.lower().split()
    found = [
        asdict(contact)
        for contact in state.contacts
        if words and all(word in f"{contact.name} {contact.team}".lower() for word in words)
    ]
    if not found:
        raise ToolError(f"no contact has {query[:MAX_QUOTED]!r} in the name or team")
    return found


def _list_mails(state: OfficeState) -> list[dict[str, str]]:
    return [{"id": mail.id, "from": mail.sender, "subject": mail.subject} for mail in state.inbox]


def _read_mail(state: OfficeState, mail_id: str) -> dict[str, str]:
    for mail in state.inbox:
        if mail.id == mail_id:
            return {"from": mail.sender, "subject": mail.subject, "body": mail.body}
    raise ToolError(f"the inbox has no mail {mail_id[:MAX_QUOTED]!r}. list_mails has the ids")


def _send_mail(state: OfficeState, to: list[str], subject: str, body: str) -> str:
    addresses = _addresses(state, to)
    if not addresses:
        raise ToolError("'to' is empty")
    state.sent.append(SentMail(addresses, subject, body))
    return f"Sent to {', '.join(addresses)}."


def _search_notes(state: OfficeState, query: str) -> list[dict[str, str]]:
    words = query.lower().split()
    found = [
        {"id": note.id, "title": note.title}
        for note in state.notes
        if words and any(word in note.title.lower() for word in words)
    ]
    if not found:
        titles = ", ".join(note.title for note in state.notes)
        raise ToolError(f"no title has {query[:MAX_QUOTED]!r}. The titles are: {titles}")
    return found


def _read_note(state: OfficeState, note_id: str) -> str:
    for note in state.notes:
        if note.id == note_id:
            return note.text
    raise ToolError(f"no note has the id {note_id[:MAX_QUOTED]!r}. search_notes has the ids")


# ---- the calendar ----


def _list_events(state: OfficeState, date: str) -> list[dict[str, Any]]:
    _check_date(date)
    found = sorted((one for one in state.events.values() if one.date == date), key=_start_of)
    return [{**asdict(event), "attendees": list(event.attendees)} for event in found]


def _create_event(
    state: OfficeState, title: str, date: str, start: str, minutes: int, attendees: list[str]
) -> dict[str, Any]:
    end = _end(date, start, minutes)
    _check_free(state, date, start, end)
    if not title.strip():
        raise ToolError("'title' is empty")
    addresses = _addresses(state, attendees)
    made = CalendarEvent(state.new_event_id(), title.strip(), date, start, end, addresses)
    state.events[made.id] = made
    return {**asdict(made), "attendees": list(addresses)}


def _move_event(state: OfficeState, event_id: str, date: str, start: str) -> dict[str, Any]:
    old = _event(state, event_id)
    end = _end(date, start, minutes_of(old.end) - minutes_of(old.start))
    _check_free(state, date, start, end, old.id)
    moved = CalendarEvent(old.id, old.title, date, start, end, old.attendees)
    state.events[old.id] = moved
    return {**asdict(moved), "attendees": list(moved.attendees)}


def _cancel_event(state: OfficeState, event_id: str) -> str:
    event = _event(state, event_id)
    del state.events[event.id]
    return f"'{event.title}' is canceled."


def _event(state: OfficeState, event_id: str) -> CalendarEvent:
    if event_id not in state.events:
        raise ToolError(f"no event has the id {event_id[:MAX_QUOTED]!r}. list_events has the ids")
    return state.events[event_id]


def _start_of(event: CalendarEvent) -> str:
    return event.start


def _check_date(date: str) -> None:
    try:
        is_date = Date.fromisoformat(date).isoformat() == date
    except ValueError:
        is_date = False
    if not is_date:
        raise ToolError(f"'date' is {date[:MAX_QUOTED]!r}, expected a date such as 2026-03-02")


def _end(date: str, start: str, minutes: int) -> str:
    _check_date(date)
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", start):
        raise ToolError(f"'start' is {start[:MAX_QUOTED]!r}, expected a time such as 09:30")
    if not 0 < minutes <= DAY_END - 1 - minutes_of(start):
        raise ToolError(f"'minutes' is {minutes!r:.60}: an event must end on the same day")
    return time_of(minutes_of(start) + minutes)


def _check_free(state: OfficeState, date: str, start: str, end: str, but: str = "") -> None:
    if (other := state.clash(date, start, end, but)) is not None:
        when = f"{other.start} to {other.end}"
        raise ToolError(f"the time is taken by '{other.title}' ({when})")


def _addresses(state: OfficeState, given: list[str]) -> tuple[str, ...]:
    known = {contact.email for contact in state.contacts}
    for one in given:
        if one not in known:
            hint = "find_contacts has the addresses"
            raise ToolError(f"{one[:MAX_QUOTED]!r} is not the mail address of a contact. {hint}")
    return tuple(dict.fromkeys(given))


def _finish(state: OfficeState, summary: str) -> str:
    return "The task is finished."


TOOLS: Mapping[str, OfficeTool] = {
    "find_contacts": OfficeTool(
        "Contacts whose name or team has these words.", {"query": TEXT}, _find_contacts
    ),
    "list_events": OfficeTool("The events of a day.", {"date": DATE}, _list_events),
    "create_event": OfficeTool(
        "Put an event into the calendar.",
        {"title": TEXT, "date": DATE, "start": TIME, "minutes": MINUTES, "attendees": ADDRESSES},
        _create_event,
    ),
    "move_event": OfficeTool(
        "Move an event to another time; its length stays.",
        {"event_id": TEXT, "date": DATE, "start": TIME},
        _move_event,
    ),
    "cancel_event": OfficeTool("Cancel an event.", {"event_id": TEXT}, _cancel_event),
    "list_mails": OfficeTool("The mails in the inbox.", {}, _list_mails),
    "read_mail": OfficeTool("The text of a mail.", {"mail_id": TEXT}, _read_mail),
    "send_mail": OfficeTool(
        "Send a mail.", {"to": ADDRESSES, "subject": TEXT, "body": TEXT}, _send_mail
    ),
    "search_notes": OfficeTool(
        "Notes with one of these words in the title.", {"query": TEXT}, _search_notes
    ),
    "read_note": OfficeTool("The text of a note.", {"note_id": TEXT}, _read_note),
    FINISH: OfficeTool(
        "End the task; call it when everything is done.",
        {"summary": {"type": "string", "description": "what was done"}},
        _finish,
    ),
}
