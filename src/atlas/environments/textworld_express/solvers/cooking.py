"""Cooking: read the recipe, gather, cut, cook, prepare the meal, eat."""

from __future__ import annotations

import re
from collections.abc import Mapping

from atlas.environments.textworld_express.solvers.base import GameMove, Solver, listed

CUTS = ("chop", "slice", "dice")
DEVICES = {"fry": ("stove",), "roast": ("oven",), "grill": ("barbeque", "toaster")}


class CookSolver(Solver):
    """Reads the cookbook, gathers ingredients and tools, prepares them as it says, and eats."""

    def recipe(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Ingredients and steps (verb, ingredient) of the cookbook, if it was read."""
        text = self.known.texts.get("read cookbook", "")
        first, _, second = text.partition("Directions:")
        ingredients = [line.strip() for line in first.partition("Ingredients:")[2].splitlines()]
        steps = re.findall(r"^\s*(\w+) the (.+?)\s*$", second, re.MULTILINE)
        return [name for name in ingredients if name], steps

    def pending(self) -> list[tuple[str, str]]:
        """The steps of the recipe that are not done yet."""
        _, steps = self.recipe()
        done = self.known.done
        return [
            (verb, name)
            for verb, name in steps
            if not (f"{verb} {name}" in done if verb in CUTS else self._is_cooked(name))
        ]

    def wanted(self) -> set[str]:
        ingredients, _ = self.recipe()
        if not ingredients:
            return {"cookbook"}
        needed = set(ingredients)
        if any(verb in CUTS for verb, _ in self.pending()):
            needed.add("knife")
        return needed - set(self.known.held)

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        ingredients, steps = self.recipe()
        if not ingredients:
            return None
        work = ", ".join(f"{verb} the {name}" for verb, name in steps) or "prepare the meal"
        return "recipe", {"things": listed(ingredients), "work": work}

    def move(self) -> GameMove:
        if self.known.can("eat meal"):
            return GameMove("eat meal", "eat", {}, 1.0)
        if not self.recipe()[0]:
            if self.known.can("read cookbook"):
                return GameMove("read cookbook", "read", {"noun": "the cookbook"})
            return self.fetch({"cookbook"}) or self.search("the cookbook")
        return self._gather() or self._finish()

    def _gather(self) -> GameMove | None:
        """Take or prepare what is here, or go to what is missing."""
        wanted = self.wanted()
        if here := sorted(wanted & set(self.known.movable)):
            return GameMove(f"take {here[0]}", "take", {"noun": f"the {here[0]}"})
        for verb, name in self.pending():
            if (move := self._prepare(verb, name)) is not None:
                return move
        if wanted:
            return self.fetch(wanted) or self.search(f"the {min(wanted)}")
        return None

    def _finish(self) -> GameMove:
        """Do the remaining steps elsewhere, and make the meal."""
        if pending := self.pending():
            return self._to_device(*pending[0])
        if self.known.can("prepare meal"):
            return GameMove("prepare meal", "prepare")
        return self.go_to("kitchen", "to_kitchen") or self.search("the kitchen")

    def mistakes(self) -> list[GameMove]:
        moves = []
        ingredients, _ = self.recipe()
        if ingredients:
            others = [x for x in self.known.movable if x not in (*ingredients, "knife", "cookbook")]
            moves += [GameMove(f"take {x}", "wrong_thing", {"label": f"the {x}"}) for x in others]
            if not self.known.can("prepare meal"):
                moves.append(GameMove("prepare meal", "too_early", {}))
        return moves

    def _is_cooked(self, name: str) -> bool:
        return any(done.startswith(f"cook {name} in ") for done in self.known.done)

    def _prepare(self, verb: str, name: str) -> GameMove | None:
        known = self.known
        if name not in known.held:
            return None
        if verb in CUTS:
            possible = known.can(f"{verb} {name}")
            return GameMove(f"{verb} {name}", "cut", {"noun": f"the {name}"}) if possible else None
        for device in DEVICES.get(verb, ()):
            if known.can(f"cook {name} in {device}"):
                words = {"noun": f"the {name}", "verb": verb, "place": device}
                return GameMove(f"cook {name} in {device}", "cook", words)
        return None

    def _to_device(self, verb: str, name: str) -> GameMove:
        devices = DEVICES.get(verb, ())
        for room in self.known.nearest():
            found = self.known.rooms[room]
            for device in devices:
                if device in (*found.floor, *found.places) and room != self.known.room:
                    move = self.go_to(room, "to_device", noun=f"the {name}", place=device)
                    if move is not None:
                        return move
        return self.search(f"the {devices[0]}" if devices else f"a way to {verb} the {name}")
