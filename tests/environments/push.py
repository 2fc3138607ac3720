"""The smallest environment: a door opens after as many pushes as the task's seed says; anything else only takes a turn."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.environments.base import StepResult
from atlas.errors import EpisodeError
from atlas.records import Message, Task


class PushEnvironment:
    name = "push"
    prompt = (Message(role="system", content="Open the door."),)

    def __init__(self, max_steps: int = 6) -> None:
        self.max_steps = max_steps
        self.num_turns = self.num_pushes = self.num_needed = 0

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        return [
            Task(id=f"push/{number}", environment="push", seed=number)
            for number in range(1, num_tasks + 1)
        ]

    def reset(self, task: Task) -> tuple[Message, ...]:
        assert task.seed is not None
        self.num_turns, self.num_pushes, self.num_needed = 0, 0, task.seed
        return (Message(role="user", content="You see a door."),)

    def step(self, response: str) -> StepResult:
        if response == "crash":
            raise EpisodeError("the floor gave way")
        self.num_turns += 1
        self.num_pushes += response == "push"
        is_open = self.num_pushes == self.num_needed
        return StepResult(
            observation=(Message(role="user", content=f"You pushed {self.num_pushes} times."),),
            reward=float(is_open),
            terminated=is_open,
            truncated=not is_open and self.num_turns >= self.max_steps,
            success=is_open,
            score=float(is_open),
            action=response,
        )

    def close(self) -> None:
        pass
