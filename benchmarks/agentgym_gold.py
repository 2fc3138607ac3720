"""Writes solved episodes of ScienceWorld and Wordle, as AgentTraj has them for other worlds.

    python benchmarks/agentgym_gold.py --server sciworld --items 3491,4283 --out gold.json
    python benchmarks/agentgym_gold.py --server wordle --url http://127.0.0.1:36001 \
        --items 0-63 --out gold.json

`replay_many.py` plays them at a server. ScienceWorld's come from the package's gold paths, with
what the package itself says after each action; paths longer than --max-steps are left out. Wordle's
are played at the server by a player that keeps the words that fit all answers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from atlas.environments.agentgym.environment import AgentGymEnvironment
from atlas.environments.paper.item_files import numbers_of_ranges
from atlas.environments.react import react_message
from atlas.environments.scienceworld.tasks import PAPER_VARIATIONS
from atlas.records import Task


def science_episode(world: Any, number: int, max_steps: int) -> list[str] | None:
    """What is seen and said in turn on the gold path; None if it is too long."""
    variation, names = number, list(PAPER_VARIATIONS)
    while variation >= PAPER_VARIATIONS[names[0]]:
        variation -= PAPER_VARIATIONS[names.pop(0)]
    name = names[0]
    world.load(name, variation, "", generateGoldPath=True)
    path = world.get_gold_action_sequence()
    if len(path) > max_steps:
        return None
    world.load(name, variation)
    observation, *_ = world.step("look around")
    turns = [f"{world.get_task_description()}\n{observation}"]
    for action in path:
        observation, _, done, _ = world.step(action)
        turns += [react_message("The next step of the path.", action).content, observation]
        if done:
            break
    # A recording ends with a response.
    return turns[:-1]


def science_episodes(numbers: list[int], max_steps: int) -> Iterator[tuple[int, list[str]]]:
    from scienceworld import ScienceWorldEnv

    world = ScienceWorldEnv()
    for number in numbers:
        if (turns := science_episode(world, number, max_steps)) is not None:
            yield number, turns
    world.close()


def answer(guess: str, secret: str) -> str:
    """The letters that the game answers."""
    if guess == secret:
        return "g" * len(guess)
    return "".join(
        "g" if a == b else "y" if a in secret else "b" for a, b in zip(guess, secret, strict=True)
    )


def word_episodes(url: str, numbers: list[int]) -> Iterator[tuple[int, list[str]]]:
    config = AgentGymEnvironment.Config(server="wordle", url=url, rules_text="{words}")
    environment = AgentGymEnvironment(config)
    for number in numbers:
        task = Task(id=f"lmrlgym_wordle_{number}", environment=environment.name)
        [message] = environment.reset(task)
        words, turns, over = message.content.split(), [message.content], False
        while not over:
            guess = words[0]
            response = react_message("It fits all answers.", " ".join(guess))
            result = environment.step(response)
            seen = result.observation[0].content
            turns += [response.content, seen]
            said = "".join(seen.split())
            # The game's own rule for letters that are twice in a word may differ.
            fitting = [word for word in words if word != guess and answer(guess, word) == said]
            words = fitting or [word for word in words if word != guess]
            over = result.terminated or result.truncated or not words
        yield number, turns[:-1]
    environment.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--server", required=True, choices=("sciworld", "wordle"))
    parser.add_argument("--url", help="where the server of Wordle listens")
    parser.add_argument("--items", required=True, help="numbers such as 0-9,20")
    parser.add_argument("--max-steps", type=int, default=30)
    parser.add_argument("--out", required=True, type=Path)
    given = parser.parse_args()
    numbers = numbers_of_ranges(given.items, "items")
    if given.server == "sciworld":
        prefix, episodes = "sciworld_", science_episodes(numbers, given.max_steps)
    else:
        prefix, episodes = "lmrlgym_wordle_", word_episodes(given.url, numbers)
    rows = [
        {
            "item_id": f"{prefix}{number}",
            "conversations": [
                {"from": "human", "loss": None, "value": "-"},
                {"from": "gpt", "loss": False, "value": "OK."},
                *(
                    {
                        "from": ("human", "gpt")[index % 2],
                        "loss": True if index % 2 else None,
                        "value": text,
                    }
                    for index, text in enumerate(turns)
                ),
            ],
        }
        for number, turns in episodes
    ]
    given.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"{len(rows)} of {len(numbers)} episodes in {given.out}")


if __name__ == "__main__":
    main()
