"""Draws rooms with a task from what the package alfworld ships, and writes them as PDDL problems.

floor plan + kind of task + random stream -> `HouseRoom` -> the content of a file `game.tw-pddl`

Where things may stand, which of them can be heated, and the goals come from the tables of the
package.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import alfworld
from alfworld.gen import constants, goal_library
from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

Size = Literal["small", "large"]

LAYOUTS = Path(alfworld.__file__).parent / "gen" / "layouts"
PLANS = {"Kitchen": 0, "LivingRoom": 200, "Bedroom": 300, "Bathroom": 400}
# What the object must allow, and where it is changed.
CHANGES = {
    "pick_clean_then_place_in_recep": ("Cleanable", "SinkBasin"),
    "pick_heat_then_place_in_recep": ("Heatable", "Microwave"),
    "pick_cool_then_place_in_recep": ("Coolable", "Fridge"),
}
LOOK, TWO = "look_at_obj_in_light", "pick_two_obj_and_place"
LAMPS = ("DeskLamp", "FloorLamp")
LAMP_STANDS = ("Desk", "SideTable", "Dresser", "DiningTable", "CoffeeTable", "Shelf")
# Cabinets and the like of one kind; things of one kind.
MAX_PLACES = {"small": 2, "large": 8}
MAX_THINGS = {"small": 1, "large": 3}
NUM_BURNERS = 4
MAX_DRAWS = 200

# A place or a thing: its kind, and its number among those of its kind.
Named = tuple[str, int]


@dataclass(frozen=True, slots=True)
class HouseRoom:
    """A room and the task in it. `things` and `lamps` name the index of their place."""

    floor_plan: int
    kind: str
    sentence: str
    target: str
    goal_place: str
    lamp: str
    places: tuple[Named, ...]
    things: tuple[tuple[Named, int], ...]
    lamps: tuple[tuple[Named, int], ...]

    @property
    def game(self) -> dict[str, Any]:
        """The game as in a file `game.tw-pddl`."""
        grammar = _shipped(ALFRED_TWL2_PATH).replace("UNKNOWN GOAL", self.sentence)
        domain = _shipped(ALFRED_PDDL_PATH)
        return {"pddl_domain": domain, "grammar": grammar, "pddl_problem": self.problem}

    @property
    def content(self) -> str:
        """What tells tasks apart: the goal, the places, and where the things of the goal are.

        The first text and the shortest solution depend on nothing else: rooms that differ only in
        other things are one task.
        """
        wanted = [(one, self.places[i]) for one, i in self.things if one[0] == self.target]
        lamps = [(one, self.places[i]) for one, i in self.lamps if one[0] == self.lamp]
        return repr((self.sentence, self.places, sorted(wanted), sorted(lamps)))

    @property
    def problem(self) -> str:
        """The problem in PDDL."""
        goal = goal_library.gdict[self.kind]["pddl"].replace("#", "-")
        goal = goal.format(obj=self.target, recep=self.goal_place, toggle=self.lamp)
        lines = ["(define (problem room)", "(:domain alfred)", "(:objects", *self._objects(), ")"]
        # The template of the goal closes the definition.
        return "\n".join([*lines, "(:init", "(= (total-cost) 0)", *self._facts(), ")", goal])

    def _objects(self) -> list[str]:
        place_kinds = {kind for kind, _ in self.places} | {place for _, place in CHANGES.values()}
        kinds = {kind for (kind, _), _ in (*self.things, *self.lamps)}
        return [
            "agent1 - agent",
            *(f"{kind}Type - otype" for kind in sorted(kinds)),
            *(f"{kind}Type - rtype" for kind in sorted(place_kinds)),
            *(f"{_id(named)} - object" for named, _ in (*self.things, *self.lamps)),
            *(f"{_id(place)} - receptacle" for place in self.places),
            *(f"loc_bar_{index} - location" for index in range(len(self.places) + 1)),
        ]

    def _facts(self) -> list[str]:
        facts = ["(atLocation agent1 loc_bar_0)"]
        kinds = sorted({kind for (kind, _), _ in (*self.things, *self.lamps)})
        for index, (kind, _) in enumerate(self.places):
            place = _id(self.places[index])
            facts.append(f"(receptacleType {place} {kind}Type)")
            facts.append(f"(receptacleAtLocation {place} loc_bar_{index + 1})")
            if kind in constants.OPENABLE_CLASS_LIST:
                facts.append(f"(openable {place})")
        for kind in sorted({kind for kind, _ in self.places}):
            facts += [f"(canContain {kind}Type {one}Type)" for one in kinds if _fits(one, kind)]
        for named, index in (*self.things, *self.lamps):
            facts.append(f"(objectType {_id(named)} {named[0]}Type)")
            facts.append(f"(inReceptacle {_id(named)} {_id(self.places[index])})")
            facts.append(f"(objectAtLocation {_id(named)} loc_bar_{index + 1})")
        for named, _ in self.things:
            facts.append(f"(pickupable {_id(named)})")
            for property_ in ("Cleanable", "Heatable", "Coolable", "Sliceable"):
                if named[0] in constants.VAL_ACTION_OBJECTS[property_]:
                    facts.append(f"({property_.lower()} {_id(named)})")
        facts += [f"(toggleable {_id(named)})" for named, _ in self.lamps]
        return facts


def draw_room(kind: str, size: Size, seed: int) -> HouseRoom:
    """The room of a kind of task, a size and a seed: always the same for the same arguments."""
    rng = random.Random(f"alfworld room {kind} {size} {seed}")
    for _ in range(MAX_DRAWS):
        area = rng.choice(sorted(constants.GOALS_VALID[kind]))
        plan = PLANS[area] + rng.randint(1, 30)
        room = _furnish(rng, kind, size, plan)
        if room is not None:
            return room
    raise AssertionError(f"no room for {kind}")


def _furnish(rng: random.Random, kind: str, size: Size, plan: int) -> HouseRoom | None:
    """A room of a floor plan, or None if it does not allow this kind of task."""
    present, counts = _floor_plan(plan)
    places = _places(present, counts, size)
    place_kinds = {place for place, _ in places}
    allowed, station = CHANGES.get(kind, (None, None))
    if station is not None and station not in place_kinds:
        return None
    movable = [one for one in present if any(_fits(one, place) for place in place_kinds)]
    stands = [index for index, (place, _) in enumerate(places) if place in LAMP_STANDS]
    lamps = [one for one in present if one in LAMPS] if stands else []
    pairs = [
        (one, place)
        for one in movable
        for place in sorted(place_kinds)
        # It must be able to stand elsewhere at the start.
        if _fits(one, place) and sum(_fits(one, other) for other in place_kinds) > 1
        if allowed is None or one in constants.VAL_ACTION_OBJECTS[allowed]
    ]
    if not pairs or (kind == LOOK and not lamps):
        return None
    target, goal_place = rng.choice(pairs)
    lamp = rng.choice(lamps) if kind == LOOK else ""
    things: list[tuple[Named, int]] = []
    for one in movable:
        number = rng.randint(1, MAX_THINGS[size])
        if one == target and kind == TWO:
            number = max(number, 2)
        free = [
            index
            for index, (place, _) in enumerate(places)
            if _fits(one, place) and not (one == target and kind != LOOK and place == goal_place)
        ]
        things += [((one, index + 1), rng.choice(free)) for index in range(number) if free]
    words = {"obj": target.lower(), "recep": goal_place.lower(), "toggle": lamp.lower()}
    return HouseRoom(
        floor_plan=plan,
        kind=kind,
        sentence=rng.choice(goal_library.gdict[kind]["templates"]).format(**words),
        target=target,
        goal_place=goal_place,
        lamp=lamp,
        places=places,
        things=tuple(things),
        lamps=tuple(((one, 1), rng.choice(stands)) for one in lamps),
    )


def _places(present: list[str], counts: Counter[str], size: Size) -> tuple[Named, ...]:
    places: list[Named] = []
    for kind in present:
        if kind in constants.VAL_RECEPTACLE_OBJECTS and kind not in constants.MOVABLE_RECEPTACLES:
            number = NUM_BURNERS if kind == "StoveBurner" else 1
            number = max(number, min(counts[kind], MAX_PLACES[size]))
            places += [(kind, index + 1) for index in range(number)]
    return tuple(places)


@cache
def _floor_plan(plan: int) -> tuple[list[str], Counter[str]]:
    """The kinds of things of a floor plan, and how many of each kind of place it has."""
    present = json.loads((LAYOUTS / f"FloorPlan{plan}-objects.json").read_text())
    places = json.loads((LAYOUTS / f"FloorPlan{plan}-openable.json").read_text())
    return sorted(set(present)), Counter(name.split("|")[0] for name in places)


@cache
def _shipped(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def _fits(thing: str, place: str) -> bool:
    return thing in constants.VAL_RECEPTACLE_OBJECTS[place]


def _id(named: Named) -> str:
    kind, number = named
    if kind in ("SinkBasin", "BathtubBasin"):
        return f"{kind.removesuffix('Basin')}_bar_{number}_bar_{kind}"
    return f"{kind}_bar_{number}"
