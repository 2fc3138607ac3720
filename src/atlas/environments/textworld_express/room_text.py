"""Reads the descriptions of rooms: what is where, and which exits there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
_ROOM = re.compile(r"You are in the (?P<name>[^.\n]+)\.")
_START = (
    "In one part of the room you see|In another part of the room you see|There is also|You also see"
)
_THING = re.compile(rf"(?:{_START}) (?P<thing>.+?)\. *(?={_START}|\n|$)")
_EXIT = re.compile(
    r"(?P<through>Through an open [^,.]+, )?to the (?P<way>north|south|east|west) you see "
    r"(?:a (?P<state>closed|locked) (?P<door>[^.]+)|the (?P<room>[^.]+))\.",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"^(?:an?|some|the) ", re.IGNORECASE)
# The forms of a place that may hold things.
_CLOSED_PLACE = re.compile(r"(?P<name>.+) that is closed$")
_EMPTY = re.compile(r"(?P<name>.+), that (?:is empty|has nothing on it)$")
_FULL = re.compile(r"(?P<name>.+?),? that (?:contains (?P<inside>.+)|has (?P<on>.+) on it)$")


@dataclass(slots=True)
class Place:
    """A container or a piece of furniture."""

    name: str
    is_closed: bool = False
    contents: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Exit:
    """A way out of a room; `room` is where it leads, if that is known."""

    is_closed: bool = False
    room: str | None = None


@dataclass(slots=True)
class RoomText:
    """What a description says: places, things that lie on the floor, and exits by direction."""

    name: str
    places: dict[str, Place] = field(default_factory=dict)
    floor: list[str] = field(default_factory=list)
    exits: dict[str, Exit] = field(default_factory=dict)

    @property
    def things(self) -> Iterator[tuple[str, str | None]]:
        """Each thing, and the place that holds it (None: the floor)."""
        yield from ((name, None) for name in self.floor)
        for place in self.places.values():
            yield from ((name, place.name) for name in place.contents)


def read_room(text: str) -> RoomText | None:
    """The room that a text describes; None if it describes none."""
    found = _ROOM.match(text)
    if found is None:
        return None
    room = RoomText(found["name"])
    for part in _THING.finditer(text.partition("\n")[0]):
        _add_thing(room, part["thing"])
    for exit_ in _EXIT.finditer(text):
        room.exits[exit_["way"].lower()] = Exit(exit_["state"] is not None, exit_["room"])
    return room


def read_list(text: str) -> list[str]:
    """The things of a list, such as `a tomato, and some salt`, without articles."""
    parts = re.split(r", and |, ", text.strip().rstrip("."))
    return [bare(part) for part in parts if part.strip()]


def bare(name: str) -> str:
    """A name without its article."""
    return _ARTICLE.sub("", name.strip())


def _add_thing(room: RoomText, text: str) -> None:
    if (found := _CLOSED_PLACE.match(text)) is not None:
        place = Place(bare(found["name"]), is_closed=True)
    elif (found := _EMPTY.match(text)) is not None:
        place = Place(_opened(found["name"]))
    elif (found := _FULL.match(text)) is not None:
        contents = read_list(found["inside"] or found["on"])
        place = Place(_opened(found["name"]), contents=contents)
    else:
        room.floor.append(bare(text))
        return
    room.places[place.name] = place


def _opened(name: str) -> str:
    return bare(name).removeprefix("open ")
