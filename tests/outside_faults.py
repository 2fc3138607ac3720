"""Classes of a user that break in every method, for tests/test_outside.py."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

from atlas.config import Config
from atlas.environments.base import StepResult
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Task
from atlas.store.run_folders import Input


def break_in(method: str) -> None:
    if os.environ.get("BREAK_IN") == method:
        raise ZeroDivisionError(f"in {method}\x1b[31m")


class Base:
    Config = Config

    def __init__(self, *given: Any) -> None:
        break_in("__init__")


class Selecting(Base):
    def select(self, trajectory: Any, budget: int) -> Any:
        break_in("select")
        raise AssertionError("not reached")


class SelectingLater(Base):
    async def select(self, trajectory: Any, budget: int) -> Any:
        await asyncio.sleep(0)
        break_in("select")


class Scoring(Base):
    def score(self, trajectory: Any) -> list[float]:
        break_in("score")
        return [1.0] * len(trajectory.steps)

    @property
    def sentence(self) -> str:
        break_in("sentence")
        return "the first steps"


class World(Base):
    name = "faulty"
    prompt = ()

    def tasks(self, split: str, num_tasks: int, seed: int) -> list[Task]:
        break_in("tasks")
        return [Task(id=f"t/{number}", environment="faulty") for number in range(num_tasks)]

    def reset(self, task: Task) -> tuple[Message, ...]:
        break_in("reset")
        return (Message(role="user", content="You see a door."),)

    def step(self, response: Message) -> StepResult:
        break_in("step")
        return StepResult((), 1.0, True, False, True, 1.0, action="go")

    def close(self) -> None:
        break_in("close")


class Playing(Base):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.asked: list[str] = []

    @staticmethod
    def describe_model(model: str, out: Any) -> Any:
        break_in("describe_model")
        return Input(path=model)

    def submit(self, name: str, new_messages: Any, tools: Any = ()) -> None:
        break_in("submit")
        self.asked.append(name)

    def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
        break_in("next_answers")
        asked, self.asked = self.asked, []
        return {one: PlayerAnswer(Message(role="assistant", content="go")) for one in asked}

    def close(self, name: str) -> None:
        break_in("close")

    def end(self) -> None:
        break_in("end")


class Reading(Base):
    def read(self, source: Any) -> Iterator[Any]:
        break_in("read")
        yield from ()


class Converting(Base):
    suffixes = (".jsonl",)
    notes = stanza = ""
    changes = ()
    one_row_per_step = stops_at_last_step = False
    max_tokens = None

    def rows(self, trajectory: Any, selection: Any) -> Iterator[Any]:
        break_in("rows")
        yield {"a": 1}

    def read(self, row: Any) -> Any:
        raise ValueError

    def losses(self, trajectory: Any, selection: Any) -> tuple[str, ...]:
        break_in("losses")
        return ()


class LacksEverything(Base):
    pass
