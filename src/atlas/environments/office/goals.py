"""What a task asks for, and how far an office is from it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from atlas.environments.office.state import (
    CalendarEvent,
    EventKey,
    OfficeState,
    SentMail,
    time_of,
)

# A time with minutes, or with `am` or `pm`: `9:30`, `09.30`, `9 am`, `1:00 p.m.`.
_TIME = re.compile(
    r"\b(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2}))?(?:\s?(?P<half>[ap])\.?m\b|(?<=[:.]\d\d)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class OfficeGoal:
    """The end that a task asks for.

    Attributes:
        before: the events at the start.
        after: the events in the end, all of them.
        informed: who must get a mail.
        text: what such a mail must say, as a separate word; anything if empty.
        subject: what its subject must be; any if empty.
        others: words that no mail may say, such as what other notes say.
    """

    before: frozenset[EventKey]
    after: frozenset[EventKey]
    informed: frozenset[str] = frozenset()
    text: str = ""
    subject: str = ""
    others: frozenset[str] = frozenset()

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
        said = _with_plain_times(f"{mail.subject}\n{mail.body}")
        return (
            self.informed.issuperset(mail.to)
            and (not self.subject or mail.subject.strip(" .!'\"").lower() == self.subject.lower())
            and (not self.text or _says(said, self.text))
            and not any(_says(said, other) for other in self.others)
        )


def _says(said: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", said, re.IGNORECASE) is not None


def _with_plain_times(said: str) -> str:
    """The text with each time as `09:30`, as the tools write it."""

    def plain(found: re.Match[str]) -> str:
        hour, half = int(found["hour"]), (found["half"] or "").lower()
        if half and not 1 <= hour <= 12:
            return found[0]
        hour = hour % 12 + 12 * (half == "p") if half else hour
        return time_of(60 * hour + int(found["minute"] or 0))

    return _TIME.sub(plain, said)


def keys_of(events: Iterable[CalendarEvent]) -> frozenset[EventKey]:
    """What counts of events when two calendars are compared."""
    return frozenset(event.key for event in events)
