"""Mistakes of the expert: arguments that a tool refuses, and a time that was not asked for."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date as Date
from typing import Any

from atlas.environments.office.state import OfficeState, minutes_of, time_of
from atlas.environments.office.tasks import CLOSES, OPENS, OfficeTask


@dataclass(frozen=True, slots=True)
class WrongArguments:
    """Arguments that a tool refuses: what is wrong (a key of the phrases), and how it was said."""

    kind: str
    said: str
    arguments: dict[str, Any]


def wrong_arguments(
    rng: random.Random, made: OfficeTask, arguments: Mapping[str, Any], subject: str
) -> WrongArguments:
    """The arguments with one of them in a form that no tool takes."""
    name_of = {contact.email: contact.name for contact in made.state.contacts}
    options: list[tuple[str, str, Any]] = []
    for key, value in arguments.items():
        match key:
            case "to" | "attendees":
                names = [name_of[email] for email in value]
                options.append((key, " and ".join(names), names))
            case "date":
                day = Date.fromisoformat(value)
                said = f"{day.day} {day:%B}"
                options.append((key, said, said))
            case "start":
                said = value.replace(":", ".")
                options.append((key, said, said))
            case "minutes":
                said = f"{value} minutes"
                options.append((key, said, said))
            case "event_id" | "mail_id" | "note_id":
                options.append((key, f"'{subject}'", subject))
    key, said, value = rng.choice(options)
    kind = "id" if key.endswith("_id") else key
    return WrongArguments(kind, said, {**arguments, key: value})


def wrong_start(rng: random.Random, state: OfficeState, arguments: Mapping[str, Any]) -> str | None:
    """Another time of the same day that is free, too."""
    date, minutes = arguments["date"], arguments["minutes"]
    times = [time_of(60 * hour) for hour in range(OPENS, CLOSES)]
    free = [
        one
        for one in times
        if one != arguments["start"]
        and state.clash(date, one, time_of(minutes_of(one) + minutes)) is None
    ]
    return rng.choice(free) if free else None
