"""Mazes: cells with ways between them, and how LMRL-Gym's maze describes a place.

A position is (row, column), both from the top left; rows count down, columns to the right.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

Place = tuple[int, int]

# Direction -> its step; the words of its wall, in the order of the text.
STEPS: dict[str, Place] = {"right": (0, 1), "left": (0, -1), "up": (-1, 0), "down": (1, 0)}
WALLS = {"right": "to your right", "left": "to your left", "up": "above you", "down": "below you"}
BACK = {"right": "left", "left": "right", "up": "down", "down": "up"}

# The maze of all games of AgentGym (LMRL-Gym's double T); the goal is at the end of its trunk.
DOUBLE_T = """\
#############
#.....#.....#
###.#####.###
###.#####.###
###.#####.###
###.......###
######.######
######.######
######.######
#############"""
DOUBLE_T_GOAL: Place = (8, 6)


@dataclass(frozen=True, slots=True)
class Maze:
    """A maze with a start and a goal.

    Attributes:
        ways: cell -> the directions that are open there.
    """

    ways: dict[Place, frozenset[str]]
    start: Place
    goal: Place

    def describe(self, place: Place) -> str:
        """The observation at a place."""
        walls = [words for way, words in WALLS.items() if way not in self.ways[place]]
        told = "There are no walls near you."
        if len(walls) == 1:
            told = f"There is a wall {walls[0]}."
        elif walls:
            told = f"There are walls {', '.join(walls)}."
        goal, here = (f"{row}, {column}" for row, column in (self.goal, place))
        return (
            f"The goal is at position {goal}. Your current position is at position {here}. {told}"
        )


def double_t(start: Place) -> Maze:
    """AgentGym's maze with a start."""
    lines = DOUBLE_T.splitlines()
    cells = {
        (row, column)
        for row, line in enumerate(lines)
        for column, mark in enumerate(line)
        if mark == "."
    }
    ways = {cell: frozenset(way for way in STEPS if neighbor(cell, way) in cells) for cell in cells}
    return Maze(ways, start, DOUBLE_T_GOAL)


def neighbor(cell: Place, way: str) -> Place:
    """The next cell in a direction."""
    row, column = STEPS[way]
    return cell[0] + row, cell[1] + column


def distance(one: Place, other: Place) -> int:
    """The number of steps between two places without walls."""
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def generate(rng: random.Random, num_rows: int, num_columns: int, num_loops: int) -> Maze:
    """A maze in which every cell can be reached, with some more ways than that takes."""
    cells = [
        (row, column) for row in range(1, num_rows + 1) for column in range(1, num_columns + 1)
    ]
    ways: dict[Place, set[str]] = {cell: set() for cell in cells}

    def open_way(cell: Place, way: str) -> None:
        ways[cell].add(way)
        ways[neighbor(cell, way)].add(BACK[way])

    path, reached = [cells[0]], {cells[0]}
    while path:
        options = [
            way
            for way in STEPS
            if neighbor(path[-1], way) in ways and neighbor(path[-1], way) not in reached
        ]
        if not options:
            path.pop()
            continue
        way = rng.choice(options)
        open_way(path[-1], way)
        path.append(neighbor(path[-1], way))
        reached.add(path[-1])
    closed = [
        (cell, way)
        for cell in cells
        for way in ("right", "down")
        if neighbor(cell, way) in ways and way not in ways[cell]
    ]
    for cell, way in rng.sample(closed, num_loops):
        open_way(cell, way)
    frozen = {cell: frozenset(found) for cell, found in ways.items()}
    while True:
        start, goal = rng.sample(cells, 2)
        maze = Maze(frozen, start, goal)
        # Not next to each other.
        if len(search(maze)) > 2:
            return maze


def search(maze: Maze) -> list[str]:
    """The ways of a search from the start to the goal that sees only what is around it.

    Unvisited neighbors first, the nearest to the goal first; from a dead end back the same way.
    """
    here, ways = maze.start, []
    visited, trail = {here}, [""]
    while here != maze.goal:
        options = open_options(maze.ways[here], here, visited, maze.goal)
        if options:
            way = options[0]
            trail.append(way)
        else:
            way = BACK[trail.pop()]
        here = neighbor(here, way)
        visited.add(here)
        ways.append(way)
    return ways


def open_options(ways: frozenset[str], here: Place, visited: set[Place], goal: Place) -> list[str]:
    """The open ways to unvisited neighbors, the best first.

    Of two that are equally near, the one along the longer side of the way that is left.
    """

    def rank(way: str) -> tuple[int, int, int]:
        row, column = neighbor(here, way)
        longer = max(abs(goal[0] - row), abs(goal[1] - column))
        return distance((row, column), goal), longer, list(STEPS).index(way)

    return sorted((way for way in ways if neighbor(here, way) not in visited), key=rank)
