"""What a player of ALFWorld knows: the goal, and what it has read about the room so far."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NOTHING_HAPPENS = "Nothing happens."
_THING = re.compile(r"\ban? ([a-z]+ \d+)")
_LOOKED = re.compile(r"(?:On the|The) ([a-z]+ \d+)(?: is open\. In it)?, you see (.+?)\.$", re.S)
_CLOSED = re.compile(r"The ([a-z]+ \d+) is closed\.$")
_TAKEN = re.compile(r"You pick up the ([a-z]+ \d+) from the ([a-z]+ \d+)\.")
_PUT = re.compile(r"You put the ([a-z]+ \d+) in/on the ([a-z]+ \d+)\.")
_CHANGED = re.compile(r"You (?:clean|heat|cool) the ([a-z]+ \d+) using the")
_ROOM = re.compile(r"you see (.+?)\.\s*Your task is to: (.+?)\.(?:\n|$)", re.S)
_GOALS: tuple[tuple[str, str | None], ...] = (
    (r"put two (?P<thing>[a-z]+) in (?P<place>[a-z]+)", None),
    (r"find two (?P<thing>[a-z]+) and put them in (?P<place>[a-z]+)", None),
    (r"put a clean (?P<thing>[a-z]+) in (?P<place>[a-z]+)", "clean"),
    (r"clean some (?P<thing>[a-z]+) and put it in (?P<place>[a-z]+)", "clean"),
    (r"put a hot (?P<thing>[a-z]+) in (?P<place>[a-z]+)", "heat"),
    (r"heat some (?P<thing>[a-z]+) and put it in (?P<place>[a-z]+)", "heat"),
    (r"put a cool (?P<thing>[a-z]+) in (?P<place>[a-z]+)", "cool"),
    (r"cool some (?P<thing>[a-z]+) and put it in (?P<place>[a-z]+)", "cool"),
    (r"look at (?P<thing>[a-z]+) under the (?P<lamp>[a-z]+)", None),
    (r"examine the (?P<thing>[a-z]+) with the (?P<lamp>[a-z]+)", None),
    (r"put (?:a|some) (?P<thing>[a-z]+) (?:in|on) (?P<place>[a-z]+)", None),
)
STATIONS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
STATES = {"clean": "clean", "heat": "hot", "cool": "cool"}


@dataclass(frozen=True, slots=True)
class HouseGoal:
    """A goal in parts: what, how often, changed how, and where to, or under which lamp."""

    sentence: str
    thing: str
    place: str = ""
    change: str | None = None
    lamp: str = ""
    number: int = 1


@dataclass(slots=True)
class HouseKnowledge:
    """The places of the room and what was seen there, where the player is and what it holds.

    Attributes:
        contents: what each place held when it was last seen; no entry if it was not seen yet.
        closed: the places that were found closed and have not been opened.
        changed: the things that were cleaned, heated or cooled.
        goal_place: the place that was chosen for what the goal wants to be placed.
        beside: the places in reach from here: in the games of ALFWorld several places may share a
            spot, and going to one of them from another is refused.
    """

    goal: HouseGoal
    places: tuple[str, ...]
    contents: dict[str, list[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    here: str | None = None
    holding: str | None = None
    changed: set[str] = field(default_factory=set)
    goal_place: str | None = None
    beside: set[str] = field(default_factory=set)

    def learn(self, action: str, text: str) -> None:
        """Add what the observation after an action says."""
        verb, _, place = action.partition(" to ")
        if verb == "go" and text == NOTHING_HAPPENS:
            self.beside.add(place)
        elif verb == "go":
            self.beside = set()
        if found := _TAKEN.match(text):
            self.holding = found[1]
            self.contents[found[2]].remove(found[1])
        elif found := _PUT.match(text):
            self.holding = None
            self.contents.setdefault(found[2], []).append(found[1])
        elif found := _CHANGED.match(text):
            self.changed.add(found[1])
        elif found := _CLOSED.search(text):
            self.here = found[1]
            self.closed.add(found[1])
        elif found := _LOOKED.search(text):
            self.here = found[1]
            self.closed.discard(found[1])
            self.contents[found[1]] = _THING.findall(found[2])
            is_goal = self.goal_place is None and kind_of(found[1]) == self.goal.place
            if is_goal and any(map(self.is_wanted, self.contents[found[1]])):
                # One of two is there already, so the other belongs to the same place.
                self.goal_place = found[1]

    def is_wanted(self, thing: str) -> bool:
        """Whether a thing, as it is now, may be put where the goal wants it."""
        is_kind = kind_of(thing) == self.goal.thing
        return is_kind and (self.goal.change is None or thing in self.changed)

    @property
    def placed(self) -> list[str]:
        """The things that are where the goal wants them."""
        there = self.contents.get(self.goal_place or "", ())
        return [thing for thing in there if self.is_wanted(thing)]

    def seen(self, kind: str) -> list[tuple[str, str]]:
        """Pairs of thing and place of this kind, without those that are already placed."""
        placed = self.placed
        return [
            (thing, place)
            for place, things in self.contents.items()
            for thing in things
            if kind_of(thing) == kind and thing not in placed
        ]

    @property
    def unseen(self) -> list[str]:
        """The places whose content is not known."""
        return [place for place in self.places if place not in self.contents]

    def of_kind(self, kind: str) -> list[str]:
        """The places of a kind."""
        return [place for place in self.places if kind_of(place) == kind]


def read_room(text: str) -> HouseKnowledge | None:
    """What the first observation says; None if the goal is of an unknown kind."""
    found = _ROOM.search(text)
    goal = None if found is None else _read_goal(found[2])
    if found is None or goal is None:
        return None
    return HouseKnowledge(goal, tuple(_THING.findall(found[1])))


def kind_of(name: str) -> str:
    """The kind of a thing or place: `mug 2` -> `mug`."""
    return name.partition(" ")[0]


def _read_goal(sentence: str) -> HouseGoal | None:
    for pattern, change in _GOALS:
        if found := re.fullmatch(pattern, sentence):
            parts = found.groupdict()
            return HouseGoal(
                sentence=sentence,
                thing=parts["thing"],
                place=parts.get("place") or "",
                change=change,
                lamp=parts.get("lamp") or "",
                number=2 if " two " in sentence else 1,
            )
    return None
