"""The expert of the office: it looks up what it needs, makes the changes, and finishes.

A step is labeled where the expert plans several lookups or changes, where it has read what decides
the rest, where it makes the change that was asked for, and where it corrects a mistake.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, react_turn, say, stream
from atlas.environments.office import phrases
from atlas.environments.office.played import PlayedRequest
from atlas.environments.office.slips import wrong_arguments, wrong_start
from atlas.environments.office.state import EventKey, minutes_of, time_of
from atlas.environments.office.tasks import CLOSES, OPENS, Person
from atlas.environments.office.tools import FINISH
from atlas.records import Annotation, CriticalKind, Message, ToolCall

Call = tuple[str, dict[str, Any]]
Turns = Generator[ExpertTurn, None, Any]
# How often several lookups are made in one response, and how often the calendar is checked.
TOGETHER = 0.5
CHECK = 0.4
# Turns that are kept; with fewer left, the expert makes no slip.
RESERVE_TURNS = 7


@dataclass(frozen=True, slots=True)
class _Found:
    """Addresses, what is said about them, and whether they were found by a choice."""

    emails: Sequence[str]
    said: str
    is_critical: bool


class OfficeExpert:
    """Carries out the request that was just made. The same seed gives the same turns."""

    Config = ExpertConfig

    def __init__(
        self, config: ExpertConfig, episode: PlayedRequest, seed: int, is_text: bool
    ) -> None:
        self._config = config
        self._episode = episode
        self._made = episode.made
        self._is_text = is_text
        self._rng = stream("office expert", episode.task.id, seed)
        self._num_calls = 0
        self._turns = self._play()

    def respond(self) -> ExpertTurn:
        """The next turn, with its labels."""
        return next(self._turns)

    def _play(self) -> Turns:
        plans: dict[str, Callable[[], Turns]] = {
            "invite": self._invite,
            "reschedule": self._reschedule,
            "send-note": self._send_note,
            "tell-team": self._send_note,
            "do-as-asked": self._do_as_asked,
            "first-free": self._first_free,
            "clear-day": self._clear_day,
        }
        yield from plans[self._made.kind]()
        summary = f"Done: {self._made.kind.replace('-', ' ')}."
        yield self._turn(self._say(phrases.FINISH), [(FINISH, {"summary": summary})])

    # ---- requests ----

    def _invite(self) -> Turns:
        assert self._made.planned is not None
        who = _said(self._made.people)
        thought = self._say(phrases.STARTS["invite"], who=who)
        found = yield from self._resolve(self._made.people, thought)
        yield from self._create(self._made.planned, found)

    def _do_as_asked(self) -> Turns:
        made = self._made
        assert made.mail is not None
        thought = self._say(phrases.STARTS["do-as-asked"], subject=made.mail.subject)
        [mails] = yield from self._call(thought, [("list_mails", {})])
        mail_id = next(one["id"] for one in mails if one["subject"] == made.mail.subject)
        thought = self._say(phrases.READ_MAIL, id=mail_id)
        yield from self._call(thought, [("read_mail", {"mail_id": mail_id})])
        if made.planned is None:
            assert made.event is not None
            title, date = made.event.title, made.event.date
            thought = self._say(phrases.ASKED_TO_CANCEL, title=title, date=date)
            event = yield from self._find_event(thought, title, date, ("plan_creation",))
            yield from self._cancel(event, ("critical_action",))
        else:
            title, date, start, _, _ = made.planned
            # The mail itself has the address.
            [mail] = self._episode.results
            thought = self._say(phrases.ASKED_TO_MEET, title=title, date=date, start=start)
            yield from self._create(made.planned, _Found([mail["from"]], thought, True))

    def _reschedule(self) -> Turns:
        made = self._made
        assert made.event is not None
        assert made.planned is not None
        title, date, start, _, _ = made.planned
        thought = self._say(phrases.PLANS["reschedule"], title=title)
        event = yield from self._find_event(thought, title, made.event.date, ("plan_creation",))
        thought = self._say(phrases.MOVE, title=title, id=event["id"], date=date, start=start)
        arguments = {"event_id": event["id"], "date": date, "start": start}
        yield from self._change(thought, ("move_event", arguments), title)
        body = f"'{title}' is now on {date} at {start}."
        yield from self._tell(event["attendees"], f"{title} moved", body)
        yield from self._check(date)

    def _send_note(self) -> Turns:
        made = self._made
        assert made.note is not None
        is_team = made.kind == "tell-team"
        who = "the team" if is_team else made.people[0].said
        thought = self._say(phrases.STARTS["note"], note=made.note.title)
        calls: list[Call] = [("search_notes", {"query": made.note.title})]
        [notes] = yield from self._call(thought, calls)
        note_id = next(one["id"] for one in notes if one["title"] == made.note.title)
        thought = self._say(phrases.READ_NOTE, id=note_id)
        [text] = yield from self._call(thought, [("read_note", {"note_id": note_id})])
        known = self._say(phrases.KNOWN, text=text.rstrip("."), who=who)
        if is_team:
            team = made.people[0].contact.team
            thought = f"{known} {self._say(phrases.LOOK_UP, who=f'the team {team}')}"
            calls = [("find_contacts", {"query": team})]
            [contacts] = yield from self._call(thought, calls, ("critical_observation",), 0.7)
            emails = [one["email"] for one in contacts if one["team"] == team]
        else:
            thought = f"{known} {self._say(phrases.LOOK_UP, who=who)}"
            found = yield from self._resolve(made.people, thought, ("critical_observation",))
            emails = list(found.emails)
        yield from self._tell(emails, made.note.title, text, ("critical_action",))

    def _first_free(self) -> Turns:
        made = self._made
        assert made.planned is not None
        date = made.planned[1]
        thought = self._say(phrases.STARTS["first-free"], date=date)
        [events] = yield from self._call(thought, [("list_events", {"date": date})])
        taken = [(one["start"], one["end"]) for one in events]
        hours = (f"{hour:02d}:00" for hour in range(OPENS, CLOSES))
        start = next(
            one
            for one in hours
            if all(minutes_of(one) + 60 <= minutes_of(a) or one >= b for a, b in taken)
        )
        listed = ", ".join(f"{a} to {b}" for a, b in taken)
        thought = self._say(phrases.FREE, start=start, taken=listed)
        thought += f" {self._say(phrases.LOOK_UP, who=_said(made.people))}"
        found = yield from self._resolve(made.people, thought, ("critical_observation",))
        yield from self._create(made.planned, found)

    def _clear_day(self) -> Turns:
        assert self._made.event is not None
        date = self._made.event.date
        thought = self._say(phrases.PLANS["clear-day"], date=date)
        calls: list[Call] = [("list_events", {"date": date})]
        [events] = yield from self._call(thought, calls, ("plan_creation",), 0.8)
        for place, event in enumerate(events):
            kinds: tuple[CriticalKind, ...] = ("critical_action",) if place == 0 else ()
            yield from self._cancel(event, kinds)
        emails = dict.fromkeys(email for event in events for email in event["attendees"])
        yield from self._tell(list(emails), "Away", f"I am away on {date}.")
        yield from self._check(date)

    # ---- parts of requests ----

    def _resolve(
        self, people: Sequence[Person], thought: str, kinds: Sequence[CriticalKind] = ()
    ) -> Generator[ExpertTurn, None, _Found]:
        """The addresses of people."""
        calls: list[Call] = [
            ("find_contacts", {"query": person.said.partition(" from ")[0]}) for person in people
        ]
        more = [self._say(phrases.NEXT_PERSON, who=person.said) for person in people[1:]]
        results = yield from self._call(thought, calls, kinds, 0.8 if kinds else 0.0, more)
        emails, choices = [], []
        for person, contacts in zip(people, results, strict=True):
            contact = next(one for one in contacts if _is_meant(person.said, one))
            emails.append(contact["email"])
            if len(contacts) > 1:
                who = person.said.partition(" ")[2]
                words = {"who": who, "name": contact["name"], "email": contact["email"]}
                choices.append(self._say(phrases.WHICH_ONE, **words))
        said = " ".join(choices) or self._say(phrases.ADDRESS, email=" and ".join(emails))
        return _Found(emails, said, bool(choices))

    def _find_event(
        self, thought: str, title: str, date: str, kinds: Sequence[CriticalKind]
    ) -> Generator[ExpertTurn, None, Mapping[str, Any]]:
        calls: list[Call] = [("list_events", {"date": date})]
        [events] = yield from self._call(thought, calls, kinds, 0.8)
        found: Mapping[str, Any] = next(one for one in events if one["title"] == title)
        return found

    def _create(self, key: EventKey, found: _Found) -> Turns:
        title, date, start, end, _ = key
        minutes = minutes_of(end) - minutes_of(start)
        thought = f"{found.said} {self._say(phrases.CREATE, title=title, date=date, start=start)}"
        arguments = {
            "title": title,
            "date": date,
            "start": start,
            "minutes": minutes,
            "attendees": list(found.emails),
        }
        seen: tuple[CriticalKind, ...] = ("critical_observation",) if found.is_critical else ()
        other = wrong_start(self._rng, self._episode.state, arguments)
        if other is not None and self._slips(self._config.mistake_rate / 2):
            wrong = self._say(phrases.WRONG_TIME, start=other)
            [made] = yield from self._call(
                f"{found.said} {wrong}", [("create_event", arguments | {"start": other})], seen, 0.7
            )
            thought = self._say(phrases.RIGHT_TIME, wrong=other, start=start)
            moved = {"event_id": made["id"], "date": date, "start": start}
            kinds: tuple[CriticalKind, ...] = ("self_correction", "critical_action")
            yield self._turn(thought, [("move_event", moved)], kinds, 0.95)
        else:
            kinds = (*seen, "critical_action")
            yield from self._change(thought, ("create_event", arguments), title, kinds)
        yield from self._check(date)

    def _check(self, date: str) -> Turns:
        if self._rng.random() < CHECK:
            yield self._turn(self._say(phrases.CHECK), [("list_events", {"date": date})])

    def _cancel(self, event: Mapping[str, Any], kinds: Sequence[CriticalKind]) -> Turns:
        thought = self._say(phrases.CANCEL, title=event["title"], id=event["id"])
        call = ("cancel_event", {"event_id": event["id"]})
        yield from self._change(thought, call, event["title"], kinds)

    def _tell(
        self,
        emails: Sequence[str],
        subject: str,
        body: str,
        kinds: Sequence[CriticalKind] = (),
    ) -> Turns:
        thought = self._say(phrases.TELL, emails=" and ".join(emails))
        arguments = {"to": list(emails), "subject": subject, "body": body}
        yield from self._change(thought, ("send_mail", arguments), subject, kinds)

    def _change(
        self,
        thought: str,
        call: Call,
        subject: str,
        kinds: Sequence[CriticalKind] = ("critical_action",),
    ) -> Turns:
        """A change that was asked for, now and then with arguments that do not fit at first."""
        name, arguments = call
        if self._slips(self._config.mistake_rate * 2):
            slip = wrong_arguments(self._rng, self._made, arguments, subject)
            sentence = self._say(phrases.SLIPS[slip.kind], value=slip.said)
            yield self._turn(f"{thought} {sentence}", [(name, slip.arguments)])
            thought = self._say(phrases.CORRECTIONS[slip.kind])
            kinds = ("self_correction", *kinds)
        yield self._turn(thought, [call], kinds, 0.9 if kinds else 0.0)

    # ---- turns ----

    def _call(
        self,
        thought: str,
        calls: Sequence[Call],
        kinds: Sequence[CriticalKind] = (),
        score: float = 0.0,
        more: Sequence[str] = (),
    ) -> Generator[ExpertTurn, None, list[Any]]:
        """The results of lookups: together in one response, or one after the other."""
        if self._slips(self._config.detour_rate) and self._num_calls:
            yield self._detour()
        is_together = not self._is_text and self._rng.random() < TOGETHER
        if is_together:
            yield self._turn(thought, calls, kinds, score)
            return list(self._episode.results)
        results = []
        for call, said in zip(calls, (thought, *more), strict=True):
            yield self._turn(said, [call], kinds if said is thought else (), score)
            results += self._episode.results
        return results

    def _detour(self) -> ExpertTurn:
        name = self._rng.choice(tuple(phrases.DETOURS))
        date = self._made.today
        thought = self._say(phrases.DETOURS[name], date=date)
        return self._turn(thought, [(name, {"date": date} if name == "list_events" else {})])

    def _turn(
        self,
        thought: str,
        calls: Sequence[Call],
        kinds: Sequence[CriticalKind] = (),
        score: float = 0.0,
    ) -> ExpertTurn:
        score = score if kinds else 0.0
        if self._is_text:
            [(name, arguments)] = calls
            return react_turn(thought, f"{name} {json.dumps(arguments)}", kinds, score)
        made = []
        for name, arguments in calls:
            self._num_calls += 1
            text = json.dumps(arguments)
            made.append(ToolCall(id=f"call_{self._num_calls}", name=name, arguments=text))
        message = Message(role="assistant", content=thought, tool_calls=tuple(made))
        return ExpertTurn(message, Annotation(kinds=tuple(kinds), score=score))

    def _slips(self, rate: float) -> bool:
        is_slip = self._rng.random() < rate
        return is_slip and self._episode.turns_left >= RESERVE_TURNS

    def _say(self, options: Sequence[str], **words: str) -> str:
        return say(self._rng, options, **words)


def _said(people: Sequence[Person]) -> str:
    return " and ".join(person.said for person in people)


def _is_meant(said: str, contact: Mapping[str, str]) -> bool:
    """Whether `Ada Keller` or `Ada from sales` is this contact."""
    first, _, team = said.partition(" from ")
    name = contact["name"]
    return name == said or (name.startswith(f"{first} ") and team == contact["team"])


def _is_free(start: str, taken: Sequence[tuple[str, str]]) -> bool:
    """Whether the hour from `start` on overlaps with none of these times."""
    end = time_of(minutes_of(start) + 60)
    return all(end <= begin or start >= over for begin, over in taken)
