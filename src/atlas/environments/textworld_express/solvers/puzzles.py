"""Games in one room: calculate, sort, follow the instructions, do what Simon says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from atlas.environments.textworld_express.solvers.base import GameMove, Solver
from atlas.errors import EpisodeError

# Factors to the smallest unit of each kind.
UNITS = {"mg": 1, "g": 1e3, "kg": 1e6, "ml": 1, "l": 1e3, "mm": 1, "cm": 10, "m": 1e3, "km": 1e6}
_QUANTITY = re.compile(r"(?P<number>\d+) ?(?:(?P<unit>[a-z]+) of )?")


class ArithmeticSolver(Solver):
    """Reads the problem, calculates, and puts the thing of that number in the box."""

    def answer(self) -> int | None:
        """The result of the problem; None before it was read."""
        text = self.known.texts.get("read math problem", "")
        found = re.search(r"(add|subtract|multiply|divide) (\d+) (?:and|from|by|with) (\d+)", text)
        if found is None:
            return None
        first, second = int(found[2]), int(found[3])
        match found[1]:
            case "add":
                return first + second
            case "subtract":
                return second - first
            case "multiply":
                return first * second
        return first // second

    def wanted(self) -> set[str]:
        answer = self.answer()
        if answer is None:
            return {"math problem"}
        return {name for name in self._counted() if _number(name) == answer}

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        answer = self.answer()
        if answer is None:
            return None
        found = re.search(r"problem: (.+?) ?\.", self.known.texts["read math problem"])
        return "solved", {"work": found[1] if found else "", "answer": str(answer)}

    def move(self) -> GameMove:
        known, answer = self.known, self.answer()
        if answer is None:
            if known.can("read math problem"):
                return GameMove("read math problem", "read", {"noun": "the math problem"})
            if known.can("take math problem"):
                return GameMove("take math problem", "take", {"noun": "the math problem"})
            return self.search("the math problem")
        for name in known.held:
            if _number(name) == answer and known.can(f"put {name} in box"):
                words = {"noun": f"the {name}", "place": "box"}
                return GameMove(f"put {name} in box", "put", words, 1.0)
        for name in sorted(self.wanted()):
            if known.can(f"take {name}"):
                return GameMove(f"take {name}", "take", {"noun": f"the {name}"})
        return self.search(f"{answer} of something")

    def mistakes(self) -> list[GameMove]:
        answer = self.answer()
        if answer is None:
            return []
        wrong = [name for name in self._counted() if _number(name) != answer]
        return [
            GameMove(f"take {name}", "wrong_number", {"label": f"the {name}"}) for name in wrong
        ]

    def _counted(self) -> list[str]:
        return [name for name in self.known.movable if _number(name) is not None]


class SortingSolver(Solver):
    """Compares the quantities, and puts the smallest that is left in the box each time."""

    def order(self) -> list[str]:
        """The things that are not in the box, by quantity."""
        names = {*self.known.held, *self.known.movable} - self._boxed()
        return sorted((name for name in names if _number(name) is not None), key=_amount)

    def wanted(self) -> set[str]:
        return set(self.order()[:1])

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        if self._boxed():
            return None
        return "order", {"things": ", then ".join(f"the {name}" for name in self.order())}

    def move(self) -> GameMove:
        order = self.order()
        if not order:
            return self.search("things to sort")
        name = order[0]
        words = {"noun": f"the {name}", "place": "box"}
        if self.known.can(f"put {name} in box"):
            return GameMove(
                f"put {name} in box", "put_next", words, 1.0 if len(order) == 1 else 0.0
            )
        if self.known.can(f"take {name}"):
            return GameMove(f"take {name}", "take_smallest", words)
        raise EpisodeError(f"textworld-express: the expert cannot reach the {name}.")

    def mistakes(self) -> list[GameMove]:
        wrong = [name for name in self.order()[1:] if self.known.can(f"take {name}")]
        return [GameMove(f"take {name}", "wrong_size", {"label": f"the {name}"}) for name in wrong]

    def _boxed(self) -> set[str]:
        box = self.known.here.places.get("box")
        return set(box.contents) if box else set()


class PeckingSolver(Solver):
    """Reads the book of instructions, does what it says, and reads it again."""

    # Taking a wrong thing ends the game.
    allows_mistakes = False

    def asked(self) -> str | None:
        """What the book asked for last, if that is not done yet."""
        found = re.search(r"task is to take the (.+?)\.", self.known.texts.get(_BOOK, ""))
        return None if found is None or found[1] in self.known.held else found[1]

    def wanted(self) -> set[str]:
        asked = self.asked()
        return {asked} if asked else set()

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        return ("book", {}) if not self.known.held else None

    def move(self) -> GameMove:
        asked = self.asked()
        if asked is None:
            return GameMove(_BOOK, "read_next" if self.known.held else "read", {"noun": "the book"})
        is_last = len(self.known.movable) == 1
        return GameMove(f"take {asked}", "obey", {"noun": f"the {asked}"}, 1.0 if is_last else 0.0)


class SimonSolver(Solver):
    """Does what Simon says."""

    # The first wrong word ends the game.
    allows_mistakes = allows_detours = False

    def plan(self) -> tuple[str, Mapping[str, str]] | None:
        return "simon", {}

    def move(self) -> GameMove:
        found = re.search(r"Simon says, '(.+)'\.", self.known.text)
        if found is None:
            raise EpisodeError("textworld-express: Simon says nothing that can be done.")
        return GameMove(found[1], "simon", {"work": found[1]})


_BOOK = "read instructions book"


def _number(name: str) -> int | None:
    found = _QUANTITY.match(name)
    return int(found["number"]) if found else None


def _amount(name: str) -> float:
    found = _QUANTITY.match(name)
    if found is None:
        return 0.0
    return int(found["number"]) * UNITS.get(found["unit"] or "", 1)
