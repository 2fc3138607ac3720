"""Games in rooms: find the coin, put things in their places, follow the map."""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Mapping

from atlas.environments.textworld_express.knowledge import ExpressKnowledge
from atlas.environments.textworld_express.solvers.base import GameMove, Solver, listed
from atlas.environments.textworld_express.usual_places import usual_places


class CoinSolver(Solver):
    """Searches room by room for the coin."""

    def wanted(self) -> set[str]:
        return {"coin"}

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        return None if "coin" in self.known.seen else ("search", {"noun": "the coin"})

    def move(self) -> GameMove:
        if self.known.can("take coin"):
            return GameMove("take coin", "take", {"noun": "the coin"}, 1.0)
        return self.fetch({"coin"}) or self.search("the coin")

    def mistakes(self) -> list[GameMove]:
        things = [name for name in self.known.movable if name != "coin"]
        return [
            GameMove(f"take {name}", "wrong_thing", {"label": f"the {name}"}) for name in things
        ]


class TidySolver(Solver):
    """Takes what is out of place, and puts it where such things usually are."""

    def __init__(self, knowledge: ExpressKnowledge, rng: random.Random) -> None:
        super().__init__(knowledge, rng)
        self.usual = usual_places()
        # All things that were ever found out of place.
        self.ever: set[str] = set()

    def misplaced(self, name: str, place: str | None) -> bool:
        """Whether a thing is known to belong elsewhere."""
        return name in self.usual and place not in self.usual[name]

    def wanted(self) -> set[str]:
        seen = self.known.seen.items()
        return {name for name, (_, place) in seen if self.misplaced(name, place)}

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        self.ever |= {*self.known.held, *self.wanted()} & self.usual.keys()
        return ("tidy", {"things": listed(sorted(self.ever))}) if self.ever else ("search_tidy", {})

    def move(self) -> GameMove:
        if (move := self._put() or self._take() or self._carry()) is not None:
            return move
        held = self.known.held
        return self.search(f"a place for the {held[0]}" if held else "things out of place")

    def _put(self) -> GameMove | None:
        """Put away what is held, if its place is here."""
        known = self.known
        for name in known.held:
            for place in known.here.places.values():
                if place.name not in self.usual.get(name, ()):
                    continue
                words = {"noun": f"the {name}", "place": place.name}
                if place.is_closed and known.can(f"open {place.name}"):
                    return GameMove(f"open {place.name}", "open_for", words)
                if known.can(f"put {name} in {place.name}"):
                    is_last = len([*known.held, *self.wanted()]) == 1
                    return GameMove(
                        f"put {name} in {place.name}", "put", words, 1.0 if is_last else 0.85
                    )
        return None

    def _take(self) -> GameMove | None:
        """Take something that is out of place here."""
        for name, place in self.known.here.things:
            if name in self.known.movable and self.misplaced(name, place):
                return GameMove(f"take {name}", "take", {"noun": f"the {name}"})
        return None

    def _carry(self) -> GameMove | None:
        """Go to the nearest room with a place for what is held, or with something to take."""
        known = self.known
        for room in known.nearest():
            if room == known.room:
                continue
            for name in known.held:
                for place in known.rooms[room].places:
                    if place in self.usual.get(name, ()):
                        return self.go_to(room, "carry", noun=f"the {name}", place=place)
            if any(known.seen[name][0] == room for name in self.wanted()):
                return self.go_to(room, "fetch", noun="what is out of place")
        return None

    def mistakes(self) -> list[GameMove]:
        known = self.known
        return [
            GameMove(
                f"put {name} in {place}", "wrong_place", {"noun": f"the {name}", "place": place}
            )
            for name in known.held
            for place in known.here.places
            if place not in self.usual.get(name, ()) and known.can(f"put {name} in {place}")
        ]


class MapSolver(Solver):
    """Reads the map, walks to the coin over it, and carries the coin to the box."""

    def __init__(self, knowledge: ExpressKnowledge, rng: random.Random) -> None:
        super().__init__(knowledge, rng)
        found = re.search(
            r"located in the (.+?), and put it into the box found in the (.+?)\.", knowledge.task
        )
        self.coin_room, self.box_room = found.groups() if found else ("", "")
        self.first_route: list[str] = []

    def wanted(self) -> set[str]:
        return {"coin"}

    @property
    def target(self) -> str:
        """The room to go to now."""
        return self.box_room if "coin" in self.known.held else self.coin_room

    def route(self) -> list[str]:
        """The rooms from here to the target, over the map."""
        links: dict[str, set[str]] = {}
        for line in self.known.texts.get("read map", "").splitlines():
            if (found := re.match(r"\s*The (.+?) connects to the (.+?)\.?$", line)) is not None:
                links[found[1]] = set(re.split(r", and |, | and ", found[2]))
        ways = {self.known.room: [self.known.room]}
        queue = deque([self.known.room])
        while queue:
            at = queue.popleft()
            for beside in sorted(links.get(at, ())):
                if beside not in ways:
                    ways[beside] = [*ways[at], beside]
                    queue.append(beside)
        return ways.get(self.target, [])

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        # The way back is on the same map: only the first route is a new plan.
        if "read map" not in self.known.done or "coin" in self.known.held:
            return None
        if not self.first_route:
            self.first_route = self.route()[1:] or [self.target]
        return "route", {"rooms": ", then ".join(f"the {room}" for room in self.first_route)}

    def move(self) -> GameMove:
        known = self.known
        if known.can("take coin") and known.room != self.box_room:
            return GameMove("take coin", "take", {"noun": "the coin"})
        if "coin" in known.held and known.can("put coin in box"):
            return GameMove("put coin in box", "put", {"noun": "the coin", "place": "box"}, 1.0)
        if "read map" not in known.done:
            return GameMove("read map", "read", {"noun": "the map"})
        route = self.route()
        following = route[1] if len(route) > 1 else self.target
        for way, exit_ in known.here.exits.items():
            if exit_.room == following:
                situation = "arrive" if following == self.target else "follow"
                return self.leave(way, situation, room=following, goal=self.target)
        closed = [way for way, exit_ in known.here.exits.items() if exit_.room is None]
        if closed:
            way = self.rng.choice(sorted(closed))
            return self.leave(way, "explore", noun=f"the {following}", room="next room")
        return self.search(f"the {following}")
