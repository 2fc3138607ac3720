"""Lessons of TextCraft: any listed commands in any order, what a command takes, single actions.

In some episodes the goal is the item of a command that happened to be tried.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from atlas.environments.paper.textcraft.config import TextCraftConfig
from atlas.environments.paper.textcraft.environment import TextCraftEnvironment
from atlas.environments.paper.textcraft.expert import (
    AGAIN,
    CRAFTS,
    FINAL,
    GETS,
    LOOKS,
    PLANS,
    TOO_EARLY,
    USELESS,
)
from atlas.environments.paper.textcraft.planner import Command, RecipePlanner
from atlas.environments.paper.textcraft.recipes import goal_depths, id_of, kinds
from atlas.environments.react import react_message
from atlas.records import Task
from worlds.common import Conversation, any_phrase, ask, play, request

MAX_DEPTH = 3
TOLD_END = 0.5


@cache
def _goals() -> tuple[str, ...]:
    return tuple(goal for goal, depth in goal_depths().items() if depth <= MAX_DEPTH)


@cache
def _environment() -> TextCraftEnvironment:
    return TextCraftEnvironment(TextCraftConfig(max_steps=50))


def names() -> tuple[str, ...]:
    """All items, and kinds of items."""
    return tuple(
        {name: None for kind, items in kinds().items() for name in (kind, *items)}
        | dict.fromkeys(goal_depths())
    )


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One list of commands of which some are tried, and questions and requests about it."""
    environment, goal = _environment(), rng.choice(_goals())
    task = Task(id=f"base/{goal}", environment="textcraft", goal=goal)
    seen = environment.reset(task)[0].content
    commands = RecipePlanner(environment.commands).commands
    made = {command.item for command in commands}
    listed = f"Crafting commands:\n{environment.commands}"
    for _ in range(2):
        yield ask(listed, *(_question(rng, commands, made) for _ in range(2)))
    command = rng.choice(commands)
    yield request(rng, listed, f"craft {command.item}", _text(command))
    yield request(rng, listed, f"get {command.parts[0][0]} {command.parts[0][1]}")
    steps: list[tuple[str, str, str]] = []
    tried = rng.sample(commands, min(len(commands), rng.randint(1, 3)))
    if rng.random() < TOLD_END:
        goal, before = tried[-1].item, goal
        seen = seen.replace(f"Goal: craft {before}.", f"Goal: craft {goal}.")
        environment.game.goal = id_of(goal)
    for command in tried:
        for thought, action in _tries(rng, command, made, goal):
            steps.append((seen, thought, action))
            result = environment.step(react_message(thought, action))
            seen = result.observation[0].content
            if result.terminated or len(steps) > 9:
                break
        if result.terminated or len(steps) > 9:
            break
    yield play(environment.prompt, steps)


def _tries(
    rng: random.Random, command: Command, made: set[str], goal: str
) -> Iterator[tuple[str, str]]:
    """Things are taken for a command, perhaps not all, and the command is tried."""
    words = {"goal": goal, "item": command.item}
    parts = []
    for count, part in command.parts:
        name = rng.choice(kinds()[part]) if part in kinds() else part
        parts.append((count, name))
    told = " and ".join(f"{count} {name}" for count, name in command.parts)
    acts = [f"get {count} {name}" for count, name in parts]
    crafted = f"craft {command.count} {command.item} using " + ", ".join(
        f"{count} {name}" for count, name in parts
    )
    first = any_phrase(rng, PLANS, parts=told, acts=", then ".join((*acts, crafted)), **words)
    for (count, name), act in zip(parts, acts, strict=True):
        if rng.random() < 0.1:
            continue
        phrases = rng.choice((GETS, GETS, USELESS))
        thought = any_phrase(rng, phrases, item=name, count=str(count))
        yield f"{first} {thought}".strip() if rng.random() < 0.5 else thought, act
        first = ""
    if rng.random() < 0.1:
        yield any_phrase(rng, LOOKS), "inventory"
    phrases = rng.choice((CRAFTS, CRAFTS, TOO_EARLY, FINAL, AGAIN))
    yield any_phrase(rng, phrases, **words), crafted


def _text(command: Command) -> str:
    used = ", ".join(f"{count} {part}" for count, part in command.parts)
    return f"craft {command.count} {command.item} using {used}"


def _question(rng: random.Random, commands: tuple[Command, ...], made: set[str]) -> tuple[str, str]:
    command = rng.choice(commands)
    part = rng.choice(command.parts)[1]
    return rng.choice(
        (
            (
                f"What does {command.item} take?",
                " and ".join(f"{count} {name}" for count, name in command.parts),
            ),
            (f"Which command makes {command.item}?", _text(command)),
            (f"Does a command make {part}?", "yes" if part in made else "no"),
        )
    )
