"""The tasks of the office: a random office and a request for each seed, divided by content.

`train` and `held_in_test` have four kinds of requests, `held_out_test` three others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date as Date
from datetime import timedelta

from atlas.environments.experts import stream
from atlas.environments.office.goals import OfficeGoal, keys_of
from atlas.environments.office.state import (
    CalendarEvent,
    Contact,
    EventKey,
    Mail,
    OfficeNote,
    OfficeState,
    time_of,
)
from atlas.environments.splits import check_split, draw_tasks, kinds_in_turn, split_of
from atlas.errors import DataError
from atlas.records import Task

SPLITS = ("train", "held_in_test", "held_out_test")
FIRST_DAY = Date(2026, 3, 2)
NUM_WEEKS = 20
WEEK = 5
OPENS, CLOSES = 9, 17
FIRST_NAMES = (
    "Ada", "Ben", "Clara", "David", "Elena", "Farid", "Gina", "Henrik", "Iris", "Jakob",
    "Karin", "Leo", "Maya", "Nils",
)  # fmt: skip
LAST_NAMES = (
    "Adler", "Brandt", "Cohen", "Duarte", "Ek", "Fischer", "Gruber", "Haas", "Ito", "Jensen",
    "Keller", "Lund",
)  # fmt: skip
TEAMS = ("sales", "design", "finance", "support")
TITLES = (
    "Budget review", "Planning", "Interview", "Demo", "Retrospective", "Roadmap", "Training",
    "Contract talk", "Weekly sync", "Quarterly report", "Onboarding", "Release check",
)  # fmt: skip
# Title of a note -> how its text begins; a number ends it.
SECRETS = {
    "guest wifi": "The password of the guest wifi is",
    "door code": "The code of the front door is",
    "printer": "The code of the printer is",
    "parking": "The number of our parking space is",
    "hotline": "The number of the hotline is",
}
LENGTHS = (30, 60, 90)


@dataclass(frozen=True, slots=True)
class Person:
    """A contact and how the request speaks of them: by the full name, or by name and team."""

    contact: Contact
    said: str


@dataclass(frozen=True, slots=True)
class OfficeTask:
    """An office, a request and its goal. What the request names is kept for the expert."""

    kind: str
    today: str
    request: str
    state: OfficeState
    goal: OfficeGoal
    people: tuple[Person, ...] = ()
    event: CalendarEvent | None = None
    planned: EventKey | None = None
    mail: Mail | None = None
    note: OfficeNote | None = None
    text: str = ""


class OfficeMaker:
    """Draws one office, and what a request may name."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        monday = FIRST_DAY + timedelta(weeks=rng.randrange(NUM_WEEKS))
        self.days = [(monday + timedelta(days=number)).isoformat() for number in range(WEEK)]
        firsts = rng.sample(FIRST_NAMES, 6)
        # Two people share a first name, in different teams.
        names = [*firsts, firsts[0]]
        lasts = rng.sample(LAST_NAMES, len(names))
        teams = [*rng.choices(TEAMS, k=len(names) - 1), ""]
        teams[-1] = rng.choice([team for team in TEAMS if team != teams[0]])
        self.contacts = tuple(
            Contact(f"{first} {last}", f"{first}.{last}@office.example".lower(), team)
            for first, last, team in zip(names, lasts, teams, strict=True)
        )
        self.titles = rng.sample(TITLES, len(TITLES))
        self.notes = tuple(
            OfficeNote(f"note{number}", title, f"{start} {rng.randint(1000, 9999)}.")
            for number, (title, start) in enumerate(rng.sample(list(SECRETS.items()), 4), start=1)
        )
        self.events = self._draw_events()

    def _draw_events(self) -> dict[str, CalendarEvent]:
        events: dict[str, CalendarEvent] = {}
        for day in self.days:
            for hour in sorted(self.rng.sample(range(OPENS, CLOSES), self.rng.randint(1, 2))):
                id_ = f"e{len(events) + 1}"
                guests = self.rng.sample(self.contacts, self.rng.randint(1, 2))
                emails = tuple(guest.email for guest in guests)
                start, end = time_of(60 * hour), time_of(60 * hour + 60)
                events[id_] = CalendarEvent(id_, self.titles.pop(), day, start, end, emails)
        return events

    def state(self, inbox: tuple[Mail, ...] = ()) -> OfficeState:
        """The office, with other mails beside the given ones."""
        mails = [*inbox]
        for number in range(3):
            sender = self.rng.choice(self.contacts).email
            subject = ("Lunch", "Thank you", "News")[number]
            mails.append(Mail("", sender, subject, "Nothing to do, just so that you know."))
        self.rng.shuffle(mails)
        numbered = (
            Mail(f"m{number}", mail.sender, mail.subject, mail.body)
            for number, mail in enumerate(mails, start=1)
        )
        return OfficeState(self.contacts, tuple(numbered), self.notes, dict(self.events))

    def people(self, num_people: int) -> tuple[Person, ...]:
        """Some contacts. Those who share a first name are named by it and their team."""
        shared = {self.contacts[0], self.contacts[-1]}
        chosen = self.rng.sample(self.contacts, num_people)
        return tuple(
            Person(one, f"{one.first_name} from {one.team}" if one in shared else one.name)
            for one in chosen
        )

    def free_time(self, minutes: int) -> tuple[str, str, str]:
        """A day, start and end at which nothing else is."""
        state = OfficeState((), (), (), self.events)
        while True:
            day = self.rng.choice(self.days)
            start = 60 * self.rng.randrange(OPENS, CLOSES - 1) + self.rng.choice((0, 30))
            times = day, time_of(start), time_of(start + minutes)
            if state.clash(*times) is None:
                return times

    def planned(self, people: tuple[Person, ...]) -> tuple[EventKey, int]:
        """A new event with these people, and its length."""
        minutes = self.rng.choice(LENGTHS)
        day, start, end = self.free_time(minutes)
        emails = frozenset(person.contact.email for person in people)
        return (self.titles.pop(), day, start, end, emails), minutes


def _invite(make: OfficeMaker) -> OfficeTask:
    people = make.people(make.rng.randint(1, 2))
    key, minutes = make.planned(people)
    title, day, start, _, _ = key
    request = (
        f"Put a meeting called '{title}' into the calendar, on {day} at {start} for {minutes} "
        f"minutes, with {_listed(people)}."
    )
    return _task(make, "invite", request, make.state(), {key}, people=people, planned=key)


def _reschedule(make: OfficeMaker) -> OfficeTask:
    event = make.rng.choice(list(make.events.values()))
    day, start, end = make.free_time(60)
    key = (event.title, day, start, end, frozenset(event.attendees))
    request = (
        f"Move the event '{event.title}' of {event.date} to {day} at {start}, and send everyone "
        "who attends it a mail with the new time."
    )
    return _task(
        make, "reschedule", request, make.state(), {key}, {event.key},
        informed=frozenset(event.attendees), text=start, event=event, planned=key,
    )  # fmt: skip


def _send_note(make: OfficeMaker) -> OfficeTask:
    people, note = make.people(1), make.rng.choice(make.notes)
    value = _value_of(note)
    request = f"Look up what my notes say about '{note.title}', and mail it to {people[0].said}."
    return _task(
        make, "send-note", request, make.state(), people=people, note=note, text=value,
        informed=frozenset(person.contact.email for person in people),
    )  # fmt: skip


def _do_as_asked(make: OfficeMaker) -> OfficeTask:
    people = make.people(1)
    sender = people[0].contact
    event = None
    if make.rng.random() < 0.5:
        event = make.rng.choice(list(make.events.values()))
        body = f"Please cancel '{event.title}' on {event.date}. I cannot make it."
        added: set[EventKey] = set()
        key = None
    else:
        key, minutes = make.planned(people)
        title, day, start, _, _ = key
        body = f"Can we meet on {day} at {start} for {minutes} minutes? Please call it '{title}'."
        added = {key}
    mail = Mail(
        "asked", sender.email, make.rng.choice(("A request", "Our meeting", "A favor")), body
    )
    request = f"Read the mail with the subject '{mail.subject}', and do what it asks."
    removed = {event.key} if event is not None else set()
    return _task(
        make, "do-as-asked", request, make.state((mail,)), added, removed,
        people=people, event=event, planned=key, mail=mail,
    )  # fmt: skip


def _first_free(make: OfficeMaker) -> OfficeTask:
    people, day = make.people(1), make.rng.choice(make.days)
    state = make.state()
    hours = (time_of(60 * hour) for hour in range(OPENS, CLOSES))
    start = next(one for one in hours if state.clash(day, one, time_of(_hour_after(one))) is None)
    emails = frozenset(person.contact.email for person in people)
    key = (make.titles.pop(), day, start, time_of(_hour_after(start)), emails)
    request = (
        f"Find the first full hour from 09:00 on that is free on {day}, and put a meeting called "
        f"'{key[0]}' with {people[0].said} there."
    )
    return _task(make, "first-free", request, state, {key}, people=people, planned=key)


def _clear_day(make: OfficeMaker) -> OfficeTask:
    day = make.rng.choice(make.days)
    gone = [event for event in make.events.values() if event.date == day]
    informed = frozenset(address for event in gone for address in event.attendees)
    request = (
        f"I am away on {day}. Cancel everything on that day, and send a mail with the subject "
        "'Away' to everyone who attends one of these events."
    )
    return _task(
        make, "clear-day", request, make.state(), set(), {event.key for event in gone},
        informed=informed, subject="Away", event=gone[0],
    )  # fmt: skip


def _tell_team(make: OfficeMaker) -> OfficeTask:
    team = make.rng.choice(make.contacts).team
    note = make.rng.choice(make.notes)
    value = _value_of(note)
    members = tuple(Person(one, one.name) for one in make.contacts if one.team == team)
    request = f"Mail what my notes say about '{note.title}' to everyone of the team {team}."
    return _task(
        make, "tell-team", request, make.state(), people=members, note=note, text=value,
        informed=frozenset(person.contact.email for person in members),
    )  # fmt: skip


KINDS: Mapping[str, Callable[[OfficeMaker], OfficeTask]] = {
    "invite": _invite,
    "reschedule": _reschedule,
    "send-note": _send_note,
    "do-as-asked": _do_as_asked,
}
HELD_OUT_KINDS: Mapping[str, Callable[[OfficeMaker], OfficeTask]] = {
    "first-free": _first_free,
    "clear-day": _clear_day,
    "tell-team": _tell_team,
}


def make_task(kind: str, seed: int | None) -> OfficeTask:
    """The office and the request of a task.

    Raises:
        DataError: the kind is not one of this world.
    """
    make = {**KINDS, **HELD_OUT_KINDS}.get(kind)
    if make is None or seed is None:
        raise DataError(
            f"office: a task has the group '{kind}' and the seed {seed}. Not of office?"
        )
    return make(OfficeMaker(stream("office task", kind, seed)))


def office_tasks(split: str, num_tasks: int, seed: int) -> list[Task]:
    """The first `num_tasks` tasks of a split, one kind after the other.

    Raises:
        ConfigError: the split is unknown, or has fewer tasks.
    """
    check_split("office", split, SPLITS)
    is_held_out = split == "held_out_test"
    candidates = _candidates(HELD_OUT_KINDS if is_held_out else KINDS, split, seed)
    return draw_tasks(
        "office", split, num_tasks, candidates, lambda one: is_held_out or split_of(one) == split
    )


def _candidates(kinds: Mapping[str, object], split: str, seed: int) -> Iterator[tuple[str, Task]]:
    for kind, own_seed in kinds_in_turn(kinds, seed):
        made = make_task(kind, own_seed)
        goal = made.goal
        # Sets are sorted: their own order differs between processes.
        added = sorted((*key, sorted(emails)) for *key, emails in goal.after - goal.before)
        asked = added, sorted(goal.informed), goal.text
        task = Task(
            id=f"office/{kind}/{own_seed}",
            environment="office",
            group=kind,
            split=split,
            seed=own_seed,
            goal=made.request,
        )
        yield repr((made.today, made.request, asked)), task


def _task(
    make: OfficeMaker,
    kind: str,
    request: str,
    state: OfficeState,
    added: set[EventKey] | None = None,
    removed: set[EventKey] | None = None,
    *,
    informed: frozenset[str] = frozenset(),
    text: str = "",
    people: tuple[Person, ...] = (),
    event: CalendarEvent | None = None,
    planned: EventKey | None = None,
    mail: Mail | None = None,
    note: OfficeNote | None = None,
    subject: str = "",
) -> OfficeTask:
    before = keys_of(state.events.values())
    after = (before - frozenset(removed or ())) | frozenset(added or ())
    # Who asks for one note does not ask for the others.
    known = {_value_of(one) for one in make.notes} if note is not None else set()
    goal = OfficeGoal(before, after, informed, text, subject, frozenset(known - {text}))
    return OfficeTask(
        kind, make.days[0], request, state, goal, people, event, planned, mail, note, text
    )


def _value_of(note: OfficeNote) -> str:
    """The number that ends the text of a note."""
    return note.text.rstrip(".").rpartition(" ")[2]


def _listed(people: tuple[Person, ...]) -> str:
    return " and ".join(person.said for person in people)


def _hour_after(start: str) -> int:
    return 60 * (int(start[:2]) + 1)
