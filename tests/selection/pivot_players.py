"""Players and settings that tests of `pivot` share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from atlas.models.players import PLAYER, Finish, PlayerAnswer
from atlas.records import Problem, Trajectory, Usage
from atlas.selection.selectors.base import Scores
from tests.environments.players import RoundPlayer
from tests.environments.push import assistant
from tests.models.endpoints.chat_server import Reply, completion
from tests.selection.configs import new_selector, select_config

FILES = ("samples.jsonl", "agreement.jsonl", "scores.jsonl", "selections.jsonl")


def react(action: str) -> str:
    return f"Thought: x\nAction: {action}"


class Script(RoundPlayer):
    """Agrees with the expert in the first `table[step]` of its samples."""

    def __init__(
        self, table: Mapping[int, int], others: Mapping[str, PlayerAnswer] | None = None
    ) -> None:
        super().__init__()
        self.table, self.others = table, others or {}

    def answer(self, name: str) -> PlayerAnswer:
        if name in self.others:
            return self.others[name]
        _, step, sample = name.split(" ")
        right = int(sample) < self.table.get(int(step), 0)
        return PlayerAnswer(assistant(react(f"go to red ball {step}" if right else "sing")))


def ended(finish: Finish, text: str = "", reason: str | None = None) -> PlayerAnswer:
    return PlayerAnswer(assistant(text), finish, reason, usage=Usage(output_tokens=9))


def score(
    trajectory: Trajectory, player: Any, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> Scores | Problem:
    monkeypatch.setattr(PLAYER, "make", lambda *_: player)
    selector = new_selector(select_config("pivot", **{"model": "m", "num_samples": 4} | settings))

    async def run() -> Scores | Problem:
        try:
            found: Scores | Problem = await selector.score(trajectory)
            return found
        finally:
            await selector.close()

    return asyncio.run(run())


TABLE = {1: 1, 2: 2, 3: 3, 4: 4}


def order(scores: Scores | Problem) -> list[int]:
    assert not isinstance(scores, Problem)
    return sorted(
        (index for index, one in enumerate(scores) if one is not None),
        key=lambda index: -(scores[index] or 0.0),
    )


def described(out: Path) -> Any:
    from atlas.store.run_folders import Input

    return Input(path="m", digest="0" * 64)


def answer_of(body: dict[str, Any], number: int) -> Reply:
    """Every other sample of a step does what the expert did."""
    step = sum(message["role"] == "assistant" for message in body["messages"])
    action = f"go to red ball {step}" if body["seed"] % 2 else "sing"
    return completion(react(action), tokens=(100, 10))


def remote(url: str, **settings: Any) -> Any:
    endpoint = {"base_url": url, "max_retries": 0, "max_in_flight": 1}
    player = {"name": "endpoint", "endpoint": endpoint, "temperature": 1.0}
    return select_config("pivot", model="m", num_samples=4, player=player, **settings)


def local(folder: Path, **settings: Any) -> Any:
    player = {"name": "local", "temperature": 1.0, "max_new_tokens": 6, "precision": "fp32"}
    values = {"num_samples": 3, "min_variance": None, "seed": 5} | settings
    return select_config("pivot", model=str(folder), player=player, **values)
