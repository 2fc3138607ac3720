"""A depth-first search over the listed recipes: goal, inventory -> the actions that are left."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from atlas.environments.paper.textcraft.recipes import kinds
from atlas.errors import EpisodeError

_COMMAND = re.compile(r"craft (\d+) (.+?) using (.+)")
_PART = re.compile(r"(\d+) (.+)")
# Of two recipes the one with fewer commands is better, then the one with fewer things to get.
GET_COST = 0.01


@dataclass(frozen=True, slots=True)
class Command:
    """A listed command in words."""

    item: str
    count: int
    parts: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Act:
    """One action of a plan: get `count` of `item`, or craft it from `parts`."""

    item: str
    count: int
    parts: tuple[tuple[int, str], ...] = ()

    @property
    def action(self) -> str:
        """The action in words."""
        if not self.parts:
            return f"get {self.count} {self.item}"
        used = ", ".join(f"{count} {part}" for count, part in self.parts)
        return f"craft {self.count} {self.item} using {used}"


class RecipePlanner:
    """What the listed commands say, and which items belong to a kind such as planks."""

    def __init__(self, commands: str) -> None:
        self.commands = tuple(_read(commands))
        self._kinds = kinds()
        self._best: dict[str, Command] = {}
        self._costs: dict[str, float] = {}
        self._weigh()

    def plan(self, goal: str, inventory: Mapping[str, int]) -> list[Act]:
        """The actions from an inventory to the goal, the things to get at their first use.

        Raises:
            EpisodeError: the listed commands do not lead to the goal.
        """
        acts: list[Act] = []
        held = Counter(dict(inventory))
        self._craft(goal, held, Counter(), acts)
        totals: Counter[str] = Counter()
        for act in acts:
            if not act.parts:
                totals[act.item] += act.count
        merged, seen = [], set()
        for act in acts:
            if act.parts:
                merged.append(act)
            elif act.item not in seen:
                seen.add(act.item)
                merged.append(Act(act.item, totals[act.item]))
        return merged

    def is_kind_or_crafted(self, part: str) -> bool:
        """Whether an ingredient names a kind, or a listed command makes it."""
        return part in self._kinds or part in self._best

    def _craft(
        self, item: str, held: Counter[str], reserved: Counter[str], acts: list[Act]
    ) -> None:
        """Add the actions of one use of the best command for `item`."""
        command = self._best.get(item)
        if command is None:
            raise EpisodeError(f"textcraft: no listed command leads to {item}")
        parts = tuple((count, self._member(part)) for count, part in command.parts)
        needed: Counter[str] = Counter()
        for count, part in parts:
            needed[part] += count
        for part, count in needed.items():
            self._have(part, count + reserved[part], held, reserved, acts)
            reserved[part] += count
        for part, count in needed.items():
            reserved[part] -= count
            held[part] -= count
        acts.append(Act(item, command.count, parts))
        held[item] += command.count

    def _have(
        self,
        item: str,
        count: int,
        held: Counter[str],
        reserved: Counter[str],
        acts: list[Act],
    ) -> None:
        """Add the actions until `count` of `item` are held."""
        while held[item] < count:
            if item in self._best:
                self._craft(item, held, reserved, acts)
            else:
                acts.append(Act(item, count - held[item]))
                held[item] = count

    def _member(self, part: str) -> str:
        """The item for an ingredient, which may be the name of a kind."""
        members = [one for one in self._kinds.get(part, ()) if one in self._best]
        return min(members, key=lambda one: (self._costs[one], one)) if members else part

    def _weigh(self) -> None:
        """Find the best command of each item: the costs are lowered until they stay."""
        outputs = {command.item for command in self.commands}
        changed = True
        while changed:
            changed = False
            for command in self.commands:
                parts = sum(count * self._cost(part, outputs) for count, part in command.parts)
                cost = (1 + parts) / command.count
                if cost < self._costs.get(command.item, math.inf) - 1e-9:
                    self._costs[command.item], self._best[command.item] = cost, command
                    changed = True

    def _cost(self, part: str, outputs: set[str]) -> float:
        members = [one for one in self._kinds.get(part, ()) if one in outputs]
        if members:
            return min(self._costs.get(one, math.inf) for one in members)
        return self._costs.get(part, math.inf) if part in outputs else GET_COST


def _read(commands: str) -> Iterable[Command]:
    for line in commands.splitlines():
        found = _COMMAND.fullmatch(line.strip())
        parts = [_PART.fullmatch(part) for part in found[3].split(", ")] if found else []
        if found and all(parts):
            yield Command(
                found[2],
                int(found[1]),
                tuple((int(part[1]), part[2]) for part in parts if part is not None),
            )
