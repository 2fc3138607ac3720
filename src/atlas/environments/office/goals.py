"""What a task asks for, and how far an office is from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from atlas.environments.office.state import CalendarEvent, EventKey, OfficeState, SentMail


@dataclass(frozen=True, slots=True)
class OfficeGoal:
    """The end that a task asks for.

    Attributes:
        before: the events at the start.
        after: the events in the end, all of them.
        informed: who must get a mail.
        text: what such a mail must say; capitals do not count.
    """

    before: frozenset[EventKey]
    after: frozenset[EventKey]
    informed: frozenset[str] = frozenset()
    text: str = ""

    def score(self, state: OfficeState) -> float:
        """The share of the asked changes that were made; 0 after a change that nobody asked for."""
        now = keys_of(state.events.values())
        if now - self.after - self.before or (self.before & self.after) - now:
            return 0.0
        if not all(self._is_asked(mail) for mail in state.sent):
            return 0.0
        added, removed = self.after - self.before, self.before - self.after
        told = {address for mail in state.sent for address in mail.to}
        num_made = len(added & now) + len(removed - now) + len(self.informed & told)
        return num_made / (len(added) + len(removed) + len(self.informed))

    def _is_asked(self, mail: SentMail) -> bool:
        said = f"{mail.subject}\n{mail.body}".lower()
        return self.informed.issuperset(mail.to) and self.text.lower() in said


def keys_of(events: Iterable[CalendarEvent]) -> frozenset[EventKey]:
    """What counts of events when two calendars are compared."""
    return frozenset(event.key for event in events)
