"""Translates the text of an action into the primitive moves that carry it out.

response text -> action text -> `Plan` (primitive moves), or a text that says why the action is not
possible. Paths use only cells that the agent has seen.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from atlas.environments.babyai.view import Cell, SeenObject, View, describe, is_passable
from atlas.environments.react import action_lines

# The numbers of minigrid's primitive actions (minigrid.core.actions.Actions).
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
DIRECTIONS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
TURNS = {"turn left": LEFT, "turn right": RIGHT}
CHECK_ACTIONS = "check available actions"
# The position of the agent (x, y), and the index of its direction in DIRECTIONS.
State = tuple[int, int, int]
_ERRAND = re.compile(
    r"(?P<verb>go to|pickup|toggle and go through|go through) "
    r"(?:the |an? )?(?P<name>.+?)(?: (?P<number>\d{1,4}))?"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The primitive moves of one action, and the sentence for the next observation."""

    primitives: tuple[int, ...]
    report: str = ""


def parse_action(response: str) -> str | None:
    """The action in a ReAct response, in lower case and without punctuation; None if there is none.

    It is the first line with words after the last `Action:`.
    """
    for line in action_lines(response):
        words = " ".join(re.sub(r"[^a-z0-9 ]", " ", line.lower()).split())
        if words:
            return re.sub(r"^pick up\b", "pickup", words)
    return None


def plan_action(action: str, world: Any, view: View, seen: Set[Cell]) -> Plan | str:
    """The primitive moves that carry out `action`, or the reason why it is not possible now."""
    if action in TURNS:
        return Plan((TURNS[action],))
    if action in _IN_FRONT:
        return _IN_FRONT[action](world, world.grid.get(*world.front_pos))
    match = _ERRAND.fullmatch(action)
    if match is None:
        return f"'{action[:60]}' is no known action"
    verb, name = match["verb"], match["name"]
    target = view.find(name, int(match["number"] or 1))
    if target is None:
        return f"you do not see {name[:40]} {match['number'] or 1}"
    if (refusal := _refuse(verb, target, world)) is not None:
        return refusal
    path = find_path(world, seen, target.cell)
    if path is None:
        return f"there is no free way to {target.label}"
    if verb == "go to":
        # If the agent is already there, one idle move lets the verifier check the goal.
        return Plan(path or (DONE,))
    if verb == "pickup":
        return Plan((*path, PICKUP), f"You pick up the {target.name}.")
    door = f"the {target.thing.color} door"
    if verb == "go through":
        return Plan((*path, FORWARD, FORWARD), f"You go through {door}.")
    return Plan((*path, TOGGLE, FORWARD, FORWARD), f"You open {door} and go through.")


def _refuse(verb: str, target: SeenObject, world: Any) -> str | None:
    """Why an action is not possible with this object, path aside; None if it is possible."""
    thing, label = target.thing, target.label
    if verb == "go to":
        return None
    if verb == "pickup":
        if thing.type == "door":
            return "a door cannot be picked up"
        if world.carrying is not None:
            return f"you already carry a {describe(world.carrying)}, drop it first"
        return None
    if thing.type != "door":
        return f"{label} is not a door"
    if verb == "go through":
        return None if thing.is_open else f"{label} is not open, toggle and go through it"
    if thing.is_open:
        return f"{label} is open already, go through it"
    if _lacks_key(world, thing):
        return f"{label} is locked and you do not carry a {thing.color} key"
    return None


def available_actions(world: Any, view: View, seen: Set[Cell]) -> list[str]:
    """All actions that are possible now."""
    labels = [item.label for item in view.objects]
    candidates = [*TURNS, *_IN_FRONT]
    candidates += [
        f"{verb} {label}"
        for verb in ("go to", "pickup", "go through", "toggle and go through")
        for label in labels
    ]
    possible = [one for one in candidates if isinstance(plan_action(one, world, view, seen), Plan)]
    return [*possible, CHECK_ACTIONS]


def find_path(world: Any, seen: Set[Cell], target: Cell) -> tuple[int, ...] | None:
    """The shortest path that ends next to `target` and facing it; None if there is none."""
    start = (int(world.agent_pos[0]), int(world.agent_pos[1]), int(world.agent_dir))
    came_from: dict[State, tuple[State, int] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        x, y, direction = state
        front = (x + DIRECTIONS[direction][0], y + DIRECTIONS[direction][1])
        if front == target:
            moves = []
            while (step := came_from[state]) is not None:
                state, move = step
                moves.append(move)
            return tuple(reversed(moves))
        following = [((x, y, (direction - 1) % 4), LEFT), ((x, y, (direction + 1) % 4), RIGHT)]
        if front in seen and is_passable(world.grid.get(*front)):
            following.insert(0, ((*front, direction), FORWARD))
        for next_state, move in following:
            if next_state not in came_from:
                came_from[next_state] = (state, move)
                queue.append(next_state)
    return None


def _move_forward(world: Any, front: Any) -> Plan | str:
    return Plan((FORWARD,)) if is_passable(front) else f"{_article(front)} is in the way"


def _drop(world: Any, front: Any) -> Plan | str:
    if world.carrying is None:
        return "you carry nothing"
    if front is not None:
        return f"{_article(front)} is where you would put it"
    return Plan((DROP,), f"You put down the {describe(world.carrying)}.")


def _toggle(world: Any, front: Any) -> Plan | str:
    if front is None or front.type not in ("door", "box"):
        return "there is no door right in front of you"
    if front.type == "box":
        return Plan((TOGGLE,), f"You open the {describe(front)}; the box is gone.")
    color = front.color
    if _lacks_key(world, front):
        return f"the {color} door is locked and you do not carry a {color} key"
    return Plan((TOGGLE,), f"You {'close' if front.is_open else 'open'} the {color} door.")


_IN_FRONT: dict[str, Callable[[Any, Any], Plan | str]] = {
    "move forward": _move_forward,
    "drop": _drop,
    "toggle": _toggle,
}


def _lacks_key(world: Any, door: Any) -> bool:
    held = world.carrying
    return door.is_locked and not (held and held.type == "key" and held.color == door.color)


def _article(thing: Any) -> str:
    return "a wall" if thing.type == "wall" else f"a {describe(thing)}"
