"""What an environment is: tasks, reset, step, close; optionally an expert who plays it well.

Adding one is one file and one row in `ENVIRONMENTS`. `terminated` (the task ended by itself) is kept apart from
`truncated` (a limit cut it), as in Gymnasium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from atlas.lookup import look_up
from atlas.records import Annotation, Message, Task

ENVIRONMENTS: dict[str, str] = {
    "babyai": "atlas.environments.babyai.environment:BabyAIEnvironment",
}


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one action led to. `success` and `score` are the environment's own verdict so far, in [0, 1]."""

    observation: tuple[Message, ...]
    reward: float
    terminated: bool
    truncated: bool
    success: bool
    score: float
    action: str | None = None


class Environment(Protocol):
    """One playable instance; `reset` may be called again and again. Deterministic per task."""

    name: str
    prompt: tuple[Message, ...]

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, the same for the same arguments.

        Raises:
            ConfigError: the split is not known, or holds fewer tasks.
        """
        ...

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start `task`; the first observation."""
        ...

    def step(self, response: str) -> StepResult:
        """Carry out the action in `response` (the whole assistant turn, thought included); never raises on bad text."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ExpertTurn:
    """What an expert says next: the whole response and what it knows about this step."""

    response: str
    annotation: Annotation


class Expert(Protocol):
    """A player that sees the environment's inside. `seed` drives the imperfections it was asked for."""

    def respond(self) -> ExpertTurn: ...


@runtime_checkable
class HasExpert(Protocol):
    """An environment that comes with an expert; call `expert` right after `reset`."""

    def expert(self, seed: int) -> Expert: ...


def make_environment(name: str, **settings: object) -> Environment:
    """The environment named in `ENVIRONMENTS`, or your own `package.module:Class`."""
    environment: Environment = look_up("environment", name, ENVIRONMENTS)(**settings)
    return environment
