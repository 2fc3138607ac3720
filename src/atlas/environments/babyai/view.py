"""The agent's view, as data and as text.

Coordinates are relative to the agent: `ahead` counts cells in its direction (0 is its own row), and
`right` counts cells to its right (negative: left). Objects with the same description are numbered
by distance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Cell = tuple[int, int]
# (ahead, right)
Place = tuple[int, int]
# Each visible cell, and what stands there.
Visible = dict[Place, tuple[Cell, Any]]


@dataclass(frozen=True, slots=True)
class SeenObject:
    """One visible object; `thing` is the object of minigrid, `cell` its place in the grid."""

    name: str
    number: int
    cell: Cell
    ahead: int
    right: int
    thing: Any

    @property
    def label(self) -> str:
        """The object's name in actions and observations, such as `red ball 1`."""
        return f"{self.name} {self.number}"

    @property
    def is_in_front(self) -> bool:
        """Whether the object is in the cell that the agent faces."""
        return (self.ahead, self.right) == (1, 0)

    @property
    def where(self) -> str:
        """The object's position in words, such as `2 ahead, 1 left`."""
        parts = [f"{self.ahead} ahead"] if self.ahead else []
        if self.right:
            parts.append(f"{abs(self.right)} {'right' if self.right > 0 else 'left'}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class View:
    """Everything in view: objects by distance, cells, and what bounds the row and column."""

    objects: tuple[SeenObject, ...]
    cells: frozenset[Cell]
    front: str
    free_left: int
    free_right: int
    carrying: str | None

    @property
    def text(self) -> str:
        """The view as an observation."""
        seen = ", ".join(f"{item.label} ({item.where})" for item in self.objects) or "no objects"
        carried = f"a {self.carrying}" if self.carrying else "nothing"
        free = f"{self.free_left} left, {self.free_right} right"
        return f"You see {seen}. {self.front}; free steps: {free}. You carry {carried}."

    def find(self, name: str, number: int) -> SeenObject | None:
        """The object called `name` `number`.

        A door may be named without its state; then all doors of that color count together.
        """
        for item in self.objects:
            if item.name == name and item.number == number:
                return item
        color, _, kind = name.partition(" ")
        colored = [item for item in self.objects if item.thing.color == color]
        doors = [item for item in colored if item.thing.type == kind == "door"]
        return doors[number - 1] if 0 < number <= len(doors) else None

    def of(self, thing: Any) -> SeenObject | None:
        """The visible object that is `thing`, if it is in view."""
        return next((item for item in self.objects if item.thing is thing), None)


def look(world: Any) -> View:
    """Compute the agent's view in a minigrid environment."""
    visible = dict(_visible(world))
    # Sorted by distance; no two objects have the same position.
    places = sorted(
        (ahead + abs(right), ahead, right, cell, thing)
        for (ahead, right), (cell, thing) in visible.items()
        if thing is not None and thing.type != "wall"
    )
    objects: list[SeenObject] = []
    counts: Counter[str] = Counter()
    for _, ahead, right, cell, thing in places:
        name = describe(thing)
        counts[name] += 1
        objects.append(SeenObject(name, counts[name], cell, ahead, right, thing))
    return View(
        objects=tuple(objects),
        cells=frozenset(cell for cell, _ in visible.values()),
        front=_front(world, visible, objects),
        free_left=_free(visible, -1),
        free_right=_free(visible, 1),
        carrying=describe(world.carrying) if world.carrying else None,
    )


def visible_cells(world: Any) -> Iterator[Cell]:
    """The cells in view, for the memory of what was seen."""
    return (cell for _, (cell, _) in _visible(world))


def describe(thing: Any) -> str:
    """A thing in words: `red ball`, `grey locked door`."""
    if thing.type == "door":
        state = "open" if thing.is_open else "locked" if thing.is_locked else "closed"
        return f"{thing.color} {state} door"
    return f"{thing.color} {thing.type}"


def is_passable(thing: Any) -> bool:
    """Whether the agent can enter a cell with this content."""
    return thing is None or (thing.type == "door" and thing.is_open)


def _visible(world: Any) -> Iterator[tuple[Place, tuple[Cell, Any]]]:
    """Each visible cell: (ahead, right) -> (cell, what stands there)."""
    grid, mask = world.gen_obs_grid()
    size = world.agent_view_size
    (x, y), (dx, dy) = map(int, world.agent_pos), map(int, world.dir_vec)
    for row in range(size):
        ahead = size - 1 - row
        for column in range(size):
            if mask[column, row]:
                right = column - size // 2
                cell = (x + dx * ahead - dy * right, y + dy * ahead + dx * right)
                if 0 <= cell[0] < world.width and 0 <= cell[1] < world.height:
                    # minigrid draws the carried object in the agent's own cell.
                    own = ahead == 0 and right == 0
                    yield (ahead, right), (cell, None if own else grid.get(column, row))


def _free(visible: Visible, side: int) -> int:
    """How many cells the agent could walk to one side in its own row, as far as it sees."""
    steps = 0
    while (place := (0, side * (steps + 1))) in visible and is_passable(visible[place][1]):
        steps += 1
    return steps


def _front(world: Any, visible: Visible, objects: list[SeenObject]) -> str:
    for ahead in range(1, world.agent_view_size):
        if (ahead, 0) not in visible:
            return f"The way is free for {ahead - 1} steps"
        _, thing = visible[ahead, 0]
        if thing is not None:
            labels = (item.label for item in objects if item.thing is thing)
            return f"You face {next(labels, 'a wall')}, {ahead} ahead"
    return f"The way is free for {world.agent_view_size - 1} steps"
