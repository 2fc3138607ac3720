"""From the words of an action to the primitive moves that carry it out.

response text -> action text -> `Plan` (primitives) or `Impossible` (why not). Paths lead only over
cells that the agent has seen.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from atlas.environments.babyai.view import Cell, SeenObject, View, describe

# The numbers of minigrid's primitive actions (minigrid.core.actions.Actions).
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
DIRECTIONS: tuple[Cell, ...] = ((1, 0), (0, 1), (-1, 0), (0, -1))
TURNS = {"turn left": LEFT, "turn right": RIGHT}
CHECK_ACTIONS = "check available actions"
FORMAT_HINT = (
    'No action found. Answer with "Thought:", your thought, '
    'then "Action:" and one action on the next line.'
)
_MARKER = re.compile(r"\baction\s*:", re.IGNORECASE)
_OBJECT = re.compile(
    r"(?P<verb>go to|pickup|toggle and go through|go through) "
    r"(?:the |an? )?(?P<name>.+?)(?: (?P<number>\d{1,4}))?"
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The primitives of one action, and what the observation reports when they are done."""

    primitives: tuple[int, ...]
    report: str = ""


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why an action cannot be carried out now."""

    reason: str


def parse_action(response: str) -> str | None:
    """The action in a ReAct response, in lower case without punctuation; None without one.

    It is the first line with words after the last `Action:`.
    """
    markers = list(_MARKER.finditer(response))
    if not markers:
        return None
    rest = response[markers[-1].end() :]
    for line in rest.splitlines():
        words = " ".join(re.sub(r"[^a-z0-9 ]", " ", line.lower()).split())
        if words:
            return re.sub(r"^pick up\b", "pickup", words)
    return None


def plan_action(action: str, world: Any, view: View, seen: Set[Cell]) -> Plan | Impossible:
    """The primitives that carry out `action` from where the agent stands."""
    if action in TURNS:
        return Plan((TURNS[action],))
    if action == "move forward":
        return _move_forward(world)
    if action == "drop":
        return _drop(world)
    if action == "toggle":
        return _toggle(world)
    match = _OBJECT.fullmatch(action)
    if match is None:
        return Impossible(f"'{action[:60]}' is no known action")
    target = view.find(match["name"], int(match["number"] or 1))
    if target is None:
        return Impossible(f"you do not see {match['name'][:40]} {match['number'] or 1}")
    if match["verb"] == "go to":
        return _go_to(target, world, seen)
    if match["verb"] == "pickup":
        return _pickup(target, world, seen)
    return _go_through(target, world, seen, opening=match["verb"] == "toggle and go through")


def available_actions(world: Any, view: View, seen: Set[Cell]) -> list[str]:
    """All actions that would work now."""
    labels = [item.label for item in view.objects]
    candidates = ["turn left", "turn right", "move forward", "drop", "toggle"]
    candidates += [
        f"{verb} {label}"
        for verb in ("go to", "pickup", "go through", "toggle and go through")
        for label in labels
    ]
    return [
        action for action in candidates if isinstance(plan_action(action, world, view, seen), Plan)
    ] + [CHECK_ACTIONS]


def find_path(world: Any, seen: Set[Cell], target: Cell) -> tuple[int, ...] | None:
    """The shortest turns and moves that end next to `target`, facing it; None without a way."""
    start = (int(world.agent_pos[0]), int(world.agent_pos[1]), int(world.agent_dir))
    came_from: dict[tuple[int, int, int], tuple[tuple[int, int, int], int] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        x, y, direction = state
        front = (x + DIRECTIONS[direction][0], y + DIRECTIONS[direction][1])
        if front == target:
            return _moves_to(state, came_from)
        following = [((x, y, (direction - 1) % 4), LEFT), ((x, y, (direction + 1) % 4), RIGHT)]
        if front in seen and _passable(world.grid.get(*front)):
            following.insert(0, ((*front, direction), FORWARD))
        for next_state, move in following:
            if next_state not in came_from:
                came_from[next_state] = (state, move)
                queue.append(next_state)
    return None


def _moves_to(
    state: tuple[int, int, int],
    came_from: dict[tuple[int, int, int], tuple[tuple[int, int, int], int] | None],
) -> tuple[int, ...]:
    moves = []
    while (step := came_from[state]) is not None:
        state, move = step
        moves.append(move)
    return tuple(reversed(moves))


def _go_to(target: SeenObject, world: Any, seen: Set[Cell]) -> Plan | Impossible:
    path = find_path(world, seen, target.cell)
    if path is None:
        return Impossible(f"there is no free way to {target.label}")
    # Where the agent is there already, one idle move lets the verifier check the goal.
    return Plan(path or (DONE,))


def _pickup(target: SeenObject, world: Any, seen: Set[Cell]) -> Plan | Impossible:
    if target.thing.type == "door":
        return Impossible("a door cannot be picked up")
    if world.carrying is not None:
        return Impossible(f"you already carry a {describe(world.carrying)}, drop it first")
    path = find_path(world, seen, target.cell)
    if path is None:
        return Impossible(f"there is no free way to {target.label}")
    return Plan((*path, PICKUP), f"You pick up the {target.name}.")


def _go_through(
    target: SeenObject, world: Any, seen: Set[Cell], opening: bool
) -> Plan | Impossible:
    door = target.thing
    if door.type != "door":
        return Impossible(f"{target.label} is not a door")
    if opening and door.is_open:
        return Impossible(f"{target.label} is open already, go through it")
    if not opening and not door.is_open:
        return Impossible(f"{target.label} is not open, toggle and go through it")
    if opening and door.is_locked and not _holds_key(world, door):
        return Impossible(f"{target.label} is locked and you do not carry a {door.color} key")
    path = find_path(world, seen, target.cell)
    if path is None:
        return Impossible(f"there is no free way to {target.label}")
    verb = "open the" if opening else "go through the"
    tail = f"{door.color} door{' and go through' if opening else ''}."
    return Plan((*path, *((TOGGLE,) if opening else ()), FORWARD, FORWARD), f"You {verb} {tail}")


def _move_forward(world: Any) -> Plan | Impossible:
    thing = world.grid.get(*world.front_pos)
    if not _passable(thing):
        return Impossible(f"{_article(thing)} is in the way")
    return Plan((FORWARD,))


def _drop(world: Any) -> Plan | Impossible:
    if world.carrying is None:
        return Impossible("you carry nothing")
    thing = world.grid.get(*world.front_pos)
    if thing is not None:
        return Impossible(f"{_article(thing)} is where you would put it")
    return Plan((DROP,), f"You put down the {describe(world.carrying)}.")


def _toggle(world: Any) -> Plan | Impossible:
    thing = world.grid.get(*world.front_pos)
    if thing is None or thing.type not in ("door", "box"):
        return Impossible("there is no door right in front of you")
    if thing.type == "box":
        return Plan((TOGGLE,), f"You open the {describe(thing)}; the box is gone.")
    if thing.is_locked and not _holds_key(world, thing):
        return Impossible(
            f"the {thing.color} door is locked and you do not carry a {thing.color} key"
        )
    return Plan((TOGGLE,), f"You {'close' if thing.is_open else 'open'} the {thing.color} door.")


def _holds_key(world: Any, door: Any) -> bool:
    return (
        world.carrying is not None
        and world.carrying.type == "key"
        and world.carrying.color == door.color
    )


def _passable(thing: Any) -> bool:
    return thing is None or (thing.type == "door" and thing.is_open)


def _article(thing: Any) -> str:
    return "a wall" if thing.type == "wall" else f"a {describe(thing)}"
