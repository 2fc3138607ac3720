"""What solvers share: moves, and a search through rooms and containers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atlas.environments.textworld_express.knowledge import ExpressKnowledge
from atlas.errors import EpisodeError


@dataclass(frozen=True, slots=True)
class GameMove:
    """An action, and the reason for it.

    Attributes:
        situation: a row of the phrase tables.
        words: what the phrases name.
        value: how much the action decides, from 0 (nothing) to 1 (it ends the game).
    """

    action: str
    situation: str
    words: Mapping[str, str] = field(default_factory=dict)
    value: float = 0.0


class Solver:
    """Finds the next move from what is known; a search goes through rooms and containers."""

    # Whether a wrong action can be corrected, or a careless one does no harm.
    allows_mistakes = True
    allows_detours = True

    def __init__(self, knowledge: ExpressKnowledge, rng: random.Random) -> None:
        self.known = knowledge
        self.rng = rng

    def wanted(self) -> set[str]:
        """The things that are needed now, by name; empty if that is not known."""
        return set()

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        """The plan as far as it can be made: a row of the phrases for plans, and its words."""
        return None

    def move(self) -> GameMove:
        """The next move.

        Raises:
            EpisodeError: nothing is left to try.
        """
        raise NotImplementedError

    def mistakes(self) -> list[GameMove]:
        """Wrong moves that are possible now and can be corrected."""
        return []

    def go_to(self, room: str, situation: str, **words: str) -> GameMove | None:
        """The first move of the way to a room; None if no way is known."""
        ways = self.known.way_to(room)
        return self.leave(ways[0], situation, room=room, **words) if ways else None

    def fetch(self, wanted: set[str]) -> GameMove | None:
        """Go to the nearest room where a wanted thing was seen; None if none was."""
        known = self.known
        for room in known.nearest():
            there = sorted(name for name in wanted if known.seen.get(name, ("",))[0] == room)
            if there and room != known.room:
                return self.go_to(room, "fetch", noun=f"the {there[0]}")
        return None

    def leave(self, way: str, situation: str, **words: str) -> GameMove:
        """Leave the room, or open the door that is in the way."""
        exit_ = self.known.here.exits.get(way)
        if exit_ is not None and exit_.is_closed:
            return GameMove(f"open door to {way}", "open_door", {"way": way, **words})
        return GameMove(f"move {way}", situation, {"way": way, **words})

    def search(self, what: str) -> GameMove:
        """The next move of a search: containers here, exits here, then the nearest other room."""
        known = self.known
        if closed := known.closed_places():
            place = self.rng.choice(sorted(closed))
            return GameMove(f"open {place}", "open_place", {"place": place, "noun": what})
        for room in known.nearest():
            if room == known.room and (ways := known.unexplored(room)):
                opened = [way for way in ways if not known.here.exits[way].is_closed]
                way = self.rng.choice(sorted(opened or ways))
                beyond = known.here.exits[way].room or "next room"
                return self.leave(way, "explore", noun=what, room=beyond)
            if room != known.room and known.unexplored(room):
                move = self.go_to(room, "turn_back", noun=what)
                if move is not None:
                    return move
        raise EpisodeError(f"textworld-express: the expert has searched everywhere for {what}.")


def listed(names: Sequence[str]) -> str:
    """Names as a list in words: `the map, the coin and the box`."""
    *others, last = [f"the {name}" for name in names]
    return f"{', '.join(others)} and {last}" if others else last
