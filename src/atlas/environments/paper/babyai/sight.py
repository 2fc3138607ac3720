"""What the agent sees, as AgentGym describes it.

Objects are listed by distance, those at the same distance in the order of the view: from its far
row to its near one, each from left to right. Objects that look the same are numbered in this order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atlas.environments.babyai.view import Cell, SeenObject, View

# The codes of minigrid's image (minigrid.core.constants).
UNSEEN = 0
NAMED = {2: "wall", 4: "door", 5: "key", 6: "ball", 7: "box", 8: "goal", 9: "lava"}
COLORS = ("red", "green", "blue", "purple", "yellow", "grey")
STATES = ("open", "closed", "locked")
OBSTACLES = frozenset({"wall", "key", "ball", "box", "lava"})


@dataclass(frozen=True, slots=True)
class Spotted:
    """Something in view; walls are things here, too."""

    name: str
    kind: str
    cell: Cell
    ahead: int
    right: int
    distance: int


@dataclass(frozen=True, slots=True)
class Sight:
    """Everything in view.

    Attributes:
        things: all things with a name, by distance.
        barriers: the walls and boxes straight ahead, the nearest first: kind and distance.
        columns, rows: the cells that AgentGym's paths may use, seen or not.
        blocked: the cells that its paths avoid.
    """

    cell: Cell
    direction: int
    things: tuple[Spotted, ...]
    barriers: tuple[tuple[str, int], ...]
    columns: range
    rows: range
    blocked: frozenset[Cell]
    visible: frozenset[Cell]
    carrying: Any

    @property
    def text(self) -> str:
        """The observation."""
        parts = ["You cannot see any objects within sight."]
        if self.things:
            parts = ["In front of you in this room, you can see several objects: "]
            parts += [f"There is a {label} {_where(one)}  " for label, one in self.labels()]
        parts.append("The room has walls around you. ")
        if self.barriers:
            kind, distance = self.barriers[0]
            parts.append(f"You are facing a {kind} {distance} steps away. ")
        held = self.carrying
        parts.append(
            "You are not carrying anything."
            if held is None
            else f"You are carrying a {held.color} {held.type}."
        )
        return "".join(parts)

    def labels(self) -> list[tuple[str, Spotted]]:
        """The things other than walls, each with its numbered name."""
        counts: dict[str, int] = {}
        found = []
        for one in self.things:
            if one.kind != "wall":
                counts[one.name] = counts.get(one.name, 0) + 1
                found.append((f"{one.name} {counts[one.name]}", one))
        return found

    def view(self, world: Any) -> View:
        """The same as a view of `atlas.environments.babyai`, for its expert."""
        held = self.carrying
        return View(
            objects=tuple(
                SeenObject(
                    name=one.name,
                    number=int(label.rpartition(" ")[2]),
                    cell=one.cell,
                    ahead=one.ahead,
                    right=one.right,
                    thing=world.grid.get(*one.cell),
                )
                for label, one in self.labels()
            ),
            cells=self.visible,
            front="",
            free_left=0,
            free_right=0,
            carrying=f"{held.color} {held.type}" if held else None,
        )


def see(world: Any, image: Any) -> Sight:
    """The sight of the agent of a minigrid environment, from its image observation."""
    size = int(world.agent_view_size)
    x, y = map(int, world.agent_pos)
    fx, fy = map(int, world.dir_vec)
    rx, ry = -fy, fx
    # The first cell of the view, far left of the agent.
    left, top = x + fx * (size - 1) - rx * (size // 2), y + fy * (size - 1) - ry * (size // 2)
    columns = _span(left, left + size * (rx - fx))
    rows = _span(top, top + size * (ry - fy))
    codes = image.tolist()
    things, barriers, visible = [], [], []
    for far in range(size):
        for side in range(size):
            cell = (left - fx * far + rx * side, top - fy * far + ry * side)
            code, color, state = codes[side][far]
            if min(cell) < 0:
                continue
            if code != UNSEEN:
                visible.append(cell)
            ahead, right = size - 1 - far, side - size // 2
            # The carried thing is drawn in the agent's own cell.
            if code not in NAMED or (ahead, right) == (0, 0):
                continue
            kind = NAMED[code]
            words = (
                (COLORS[color], STATES[state], kind) if kind == "door" else (COLORS[color], kind)
            )
            distance = ahead + abs(right)
            things.append(Spotted(" ".join(words), kind, cell, ahead, right, distance))
            if kind in ("box", "wall") and right == 0:
                barriers.append((kind, ahead))
    things.sort(key=lambda one: one.distance)
    barriers.sort(key=lambda one: one[1])
    return Sight(
        cell=(x, y),
        direction=int(world.agent_dir),
        things=tuple(things),
        barriers=tuple(barriers),
        columns=columns,
        rows=rows,
        blocked=frozenset(one.cell for one in things if one.kind in OBSTACLES),
        visible=frozenset(visible),
        carrying=world.carrying,
    )


def _span(first: int, border: int) -> range:
    """The coordinates from `first` to `border`; AgentGym counts a lower border in."""
    return range(border, first + 1) if border < first else range(first, border)


def _where(one: Spotted) -> str:
    if one.right == 0:
        return f"right in front of you {one.ahead} steps away."
    side = "right" if one.right > 0 else "left"
    return f"{one.ahead} steps in front of you and {abs(one.right)} steps to your {side}."
