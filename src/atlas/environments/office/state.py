"""What an office holds: contacts, events, mails and notes. Only events and sent mails change."""

from __future__ import annotations

from dataclasses import dataclass, field

# Title, date, start, end, and who attends.
EventKey = tuple[str, str, str, str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Contact:
    """A person of the address book."""

    name: str
    email: str
    team: str

    @property
    def first_name(self) -> str:
        """The part of the name that others may share."""
        return self.name.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """An event of one day. Times are `HH:MM`, dates `YYYY-MM-DD`; attendees are addresses."""

    id: str
    title: str
    date: str
    start: str
    end: str
    attendees: tuple[str, ...]

    @property
    def key(self) -> EventKey:
        """What two equal events share."""
        return self.title, self.date, self.start, self.end, frozenset(self.attendees)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail of the inbox."""

    id: str
    sender: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class SentMail:
    """A mail that was sent."""

    to: tuple[str, ...]
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class OfficeNote:
    """A note."""

    id: str
    title: str
    text: str


@dataclass(slots=True)
class OfficeState:
    """The office of one episode."""

    contacts: tuple[Contact, ...]
    inbox: tuple[Mail, ...]
    notes: tuple[OfficeNote, ...]
    events: dict[str, CalendarEvent]
    sent: list[SentMail] = field(default_factory=list)
    num_events_made: int = 0

    def clash(self, date: str, start: str, end: str, but: str = "") -> CalendarEvent | None:
        """An event that overlaps with a time, other than `but`."""
        return next(
            (
                event
                for event in self.events.values()
                if event.id != but
                and event.date == date
                and event.start < end
                and start < event.end
            ),
            None,
        )

    def new_event_id(self) -> str:
        """An id that no event has had."""
        self.num_events_made += 1
        return f"n{self.num_events_made}"


def minutes_of(time: str) -> int:
    """`09:30` in minutes."""
    hours, _, minutes = time.partition(":")
    return 60 * int(hours) + int(minutes)


def time_of(minutes: int) -> str:
    """Minutes as `09:30`."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
