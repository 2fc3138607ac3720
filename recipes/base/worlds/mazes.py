"""Lessons of the maze: walks without a plan, what a position says, single moves.

In most walks the goal is where the walk happened to end.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from atlas.environments.paper.maze.config import MazeConfig
from atlas.environments.paper.maze.environment import MazeEnvironment
from atlas.environments.paper.maze.expert import (
    CHOICES,
    CORRECTIONS,
    DEAD_END,
    DETOURS,
    GOAL_SEEN,
    MISTAKES,
    NEW_BRANCH,
    ONWARD,
    PLANS,
)
from atlas.environments.paper.maze.grid import BACK, STEPS, Maze, Place, generate, neighbor
from worlds.common import Conversation, any_phrase, ask, play, request

SIZES = ((3, 3, 1), (3, 4, 1), (4, 4, 1), (4, 5, 1), (5, 5, 2), (6, 6, 2))
# The share of walks whose end is made the goal.
TOLD_END = 0.6
BUMPS = 0.06


def names() -> tuple[str, ...]:
    """The directions."""
    return tuple(STEPS)


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One walk, and questions and requests on its way."""
    maze = generate(rng, *rng.choice(SIZES))
    is_told = rng.random() < TOLD_END
    walk = _walk(rng, maze, rng.randint(2, 6) if is_told else rng.randint(6, 14))
    if is_told:
        maze = replace(maze, goal=walk[-1][1])
        walk = walk[: 1 + next(i for i, (_, cell) in enumerate(walk) if cell == maze.goal)]
    prompt = MazeEnvironment(MazeConfig()).prompt
    here, wrong, steps = maze.start, None, []
    for way, there in walk:
        seen = f"{maze.describe(here)}\n"
        closed = [other for other in STEPS if other not in maze.ways[here]]
        if rng.random() < 0.5:
            yield ask(seen.strip(), *(_question(rng, maze, here) for _ in range(rng.randint(1, 3))))
        if rng.random() < 0.3:
            yield request(rng, seen.strip(), f"move {rng.choice(sorted(maze.ways[here]))}")
        if wrong is None and closed and rng.random() < BUMPS:
            wrong = rng.choice(closed)
            thought = any_phrase(rng, MISTAKES, where=_where(here, maze.goal), way=wrong)
            steps.append((seen, thought, f"move {wrong}"))
        thought = _thought(rng, maze, here, way, wrong, is_first=not steps)
        steps.append((seen, thought, f"move {way}"))
        here, wrong = there, None
        if here == maze.goal:
            break
    yield play(prompt, steps)


def _walk(rng: random.Random, maze: Maze, length: int) -> list[tuple[str, Place]]:
    """Random moves, seldom straight back."""
    here, last, walk = maze.start, "", []
    for _ in range(length):
        options = sorted(maze.ways[here])
        onward = [way for way in options if way != BACK.get(last)]
        way = rng.choice(onward if onward and rng.random() < 0.9 else options)
        here, last = neighbor(here, way), way
        walk.append((way, here))
    return walk if here != maze.start else _walk(rng, maze, length + 1)


def _where(here: Place, goal: Place) -> str:
    down, right = goal[0] - here[0], goal[1] - here[1]
    parts = [f"{abs(down)} {'down' if down > 0 else 'up'}"] if down else []
    parts += [f"{abs(right)} {'right' if right > 0 else 'left'}"] if right else []
    return " and ".join(parts)


def _thought(
    rng: random.Random, maze: Maze, here: Place, way: str, wrong: str | None, is_first: bool
) -> str:
    ways = sorted(maze.ways[here])
    words = {"way": way, "ways": " or ".join(ways), "where": _where(here, maze.goal)}
    if wrong is not None:
        return any_phrase(rng, CORRECTIONS, wrong=wrong, **words)
    if neighbor(here, way) == maze.goal:
        return any_phrase(rng, GOAL_SEEN, **words)
    if is_first:
        return any_phrase(rng, PLANS, **words)
    kinds = [ONWARD, ONWARD, DETOURS, NEW_BRANCH] if len(ways) > 1 else [DEAD_END]
    if len(ways) > 2:
        kinds += [CHOICES, CHOICES]
    return any_phrase(rng, rng.choice(kinds), **words)


def _question(rng: random.Random, maze: Maze, here: Place) -> tuple[str, str]:
    ways, way = sorted(maze.ways[here]), rng.choice(list(STEPS))
    return rng.choice(
        (
            ("Where is the goal from here?", _where(here, maze.goal) or "here"),
            ("Which ways are open?", " or ".join(ways)),
            (f"Can you move {way}?", "yes" if way in ways else "no, there is a wall"),
            ("Where are you?", f"{here[0]}, {here[1]}"),
        )
    )
