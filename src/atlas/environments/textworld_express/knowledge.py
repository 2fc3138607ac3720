"""What an agent knows of a game from what it was shown: rooms, exits, things, what it holds."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from atlas.environments.textworld_express.game import GameState
from atlas.environments.textworld_express.room_text import (
    OPPOSITE,
    Exit,
    RoomText,
    read_list,
    read_room,
)

_REVEALED = re.compile(r"You open the .+, revealing the (?P<room>[^.]+)\.")
_OPENED = re.compile(r"You open the (?P<place>[^.]+)\. (?:The .+? contains (?P<inside>.+)\.)?")
_TAKEN = re.compile(r"You take the (?P<thing>.+)\.$")
_PUT = re.compile(r"You put the (?P<thing>.+) in the (?P<place>.+)\.$")


@dataclass(slots=True)
class ExpressKnowledge:
    """Grows with each text that is shown; nothing else of the game is read.

    Attributes:
        task: the text of the task.
        actions: what is possible now.
        rooms: the rooms that were entered, by name.
        seen: every thing that was ever seen -> room and place (None: the floor) where it was last.
    """

    task: str
    text: str = ""
    actions: tuple[str, ...] = ()
    room: str = ""
    rooms: dict[str, RoomText] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    seen: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def see(self, action: str, state: GameState) -> None:
        """Take in the text that followed an action (empty: the first text)."""
        self.text, self.actions = state.text, state.actions
        if state.is_refused:
            return
        self.texts[action] = state.text
        self.done.add(action)
        room = read_room(state.text)
        if room is not None:
            self._enter(action, room)
        elif (found := _REVEALED.match(state.text)) is not None:
            way = action.rpartition(" ")[2]
            self.here.exits[way] = Exit(is_closed=False, room=found["room"])
        elif (found := _TAKEN.match(state.text)) is not None:
            self._take(found["thing"])
        elif (found := _PUT.match(state.text)) is not None:
            self._put(found["thing"], found["place"])
        elif (found := _OPENED.match(state.text)) is not None:
            self._open(found["place"], found["inside"])

    @property
    def here(self) -> RoomText:
        """The room that the agent is in."""
        return self.rooms.setdefault(self.room, RoomText(self.room))

    @property
    def movable(self) -> list[str]:
        """The things here that can be taken."""
        return self._with("take ")

    def can(self, action: str) -> bool:
        """Whether an action is possible now."""
        return action in self.actions

    def closed_places(self) -> list[str]:
        """The containers here that are closed and can be opened."""
        return [name for name in self._with("open ") if name in self.here.places]

    def unexplored(self, room: str) -> list[str]:
        """The exits of a room behind which the agent has not been."""
        exits = self.rooms[room].exits if room in self.rooms else {}
        return [way for way, exit_ in exits.items() if exit_.room not in self.rooms]

    def way_to(self, room: str) -> list[str]:
        """The directions from here to a room, over known exits; empty if there is none."""
        ways: dict[str, list[str]] = {self.room: []}
        queue = deque([self.room])
        while queue:
            at = queue.popleft()
            if at == room:
                return ways[at]
            for way, exit_ in self.rooms[at].exits.items() if at in self.rooms else ():
                if exit_.room is not None and exit_.room not in ways:
                    ways[exit_.room] = [*ways[at], way]
                    queue.append(exit_.room)
        return []

    def nearest(self) -> Iterator[str]:
        """The rooms that were entered, the nearest first."""
        reached = [name for name in self.rooms if name == self.room or self.way_to(name)]
        yield from sorted(reached, key=lambda name: len(self.way_to(name)))

    def _with(self, verb: str) -> list[str]:
        return [action.removeprefix(verb) for action in self.actions if action.startswith(verb)]

    def _called(self, described: str) -> str:
        """The name in actions of a described thing, such as `red potato` of `raw red potato`."""
        fitting = [name for name in self._with("take ") if described.endswith(name)]
        return max(fitting, key=len, default=described)

    def _enter(self, action: str, room: RoomText) -> None:
        came_from, self.room = self.room, room.name
        known = self.rooms.get(room.name)
        if known is not None:
            for way, exit_ in room.exits.items():
                earlier = known.exits.get(way)
                exit_.room = exit_.room or (earlier.room if earlier else None)
        if action.startswith("move ") and came_from != room.name:
            way = action.removeprefix("move ")
            self.rooms[came_from].exits.setdefault(way, Exit()).room = room.name
            room.exits.setdefault(OPPOSITE[way], Exit()).room = came_from
        room.floor = [self._called(name) for name in room.floor]
        for place in room.places.values():
            place.contents = [self._called(name) for name in place.contents]
        self.rooms[room.name] = room
        # What was here once and is gone, such as a thing that was taken, is forgotten.
        self.seen = {name: at for name, at in self.seen.items() if at[0] != room.name}
        self.seen |= {name: (room.name, place) for name, place in room.things}

    def _open(self, name: str, inside: str | None) -> None:
        place = self.here.places.get(name)
        if place is None:
            return
        place.is_closed = False
        place.contents = [self._called(thing) for thing in read_list(inside or "")]
        self.seen |= dict.fromkeys(place.contents, (self.room, name))

    def _take(self, thing: str) -> None:
        self.held.append(thing)
        self.seen.pop(thing, None)
        room = self.here
        for names in (room.floor, *(place.contents for place in room.places.values())):
            if thing in names:
                names.remove(thing)

    def _put(self, thing: str, place: str) -> None:
        if thing in self.held:
            self.held.remove(thing)
        self.seen[thing] = (self.room, place)
        if place in self.here.places:
            self.here.places[place].contents.append(thing)
