"""Lessons of BabyAI in AgentGym's words: possible actions in any order; the goal is not read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

import corpus

from atlas.environments.paper.babyai.config import BabyAIAgentGymConfig
from atlas.environments.paper.babyai.environment import BabyAIAgentGymEnvironment
from atlas.environments.paper.babyai.tasks import HELD_OUT_LEVELS, TRAIN_LEVELS
from atlas.environments.react import react_message
from atlas.records import Task
from worlds.common import Conversation, ask, play, request

# Far from the seeds of tasks, which begin at 1,000,000 and end below 11,100,000.
FIRST_SEED = 50_000_000
LISTED = "You can take the following actions: "


@cache
def _environment() -> BabyAIAgentGymEnvironment:
    return BabyAIAgentGymEnvironment(BabyAIAgentGymConfig(max_steps=100))


def names() -> tuple[str, ...]:
    """None besides the things with a color."""
    return ()


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One episode of any actions, and questions and requests on its way."""
    environment = _environment()
    level = rng.choice((*TRAIN_LEVELS, *HELD_OUT_LEVELS))
    seed = FIRST_SEED + rng.randrange(50_000_000)
    task = Task(id="base/rooms", environment="babyai-agentgym", group=level, seed=seed)
    seen, steps = environment.reset(task)[0].content, []
    goal = environment.world.mission
    for _ in range(rng.randint(4, 9)):
        listed = environment.step(react_message("", "check available actions")).observation[0]
        actions = listed.content.removeprefix(LISTED).split(", ")
        errands = [action for action in actions if action != "check available actions"]
        action = corpus.any_action(errands, rng)
        if rng.random() < 0.4:
            yield ask(seen, *(_question(rng, seen, errands) for _ in range(2)))
        if rng.random() < 0.4:
            yield request(rng, seen, rng.choice(errands))
        thought = corpus.explorer_thought(environment.view, action, goal, rng)
        steps.append((seen, thought, action))
        result = environment.step(react_message(thought, action))
        seen = result.observation[0].content
        if result.terminated or "completed" in seen:
            break
    yield play(environment.prompt, steps)


def _question(rng: random.Random, seen: str, errands: list[str]) -> tuple[str, str]:
    errand = rng.choice(errands)
    return rng.choice(
        (
            ("What can you go to?", _objects(errands, "go to ")),
            ("What can you pick up?", _objects(errands, "pickup ")),
            (f"Can you {errand}?", "yes"),
            ("Do you carry anything?", "no" if "not carrying anything" in seen else "yes"),
        )
    )


def _objects(errands: list[str], verb: str) -> str:
    found = [one.removeprefix(verb) for one in errands if one.startswith(verb)]
    return ", ".join(found) or "nothing"
