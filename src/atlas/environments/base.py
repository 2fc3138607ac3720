"""The interface of an environment: tasks, reset, step, close; optionally tools and an expert.

A new environment is one file and one row in `ENVIRONMENTS`. Its class is made as `Class(settings)`,
where `settings` is an instance of its own `Config`. As in Gymnasium, `terminated` (the task ended)
is kept apart from `truncated` (a limit ended it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from atlas.kinds import Kind
from atlas.records import Annotation, Message, Task

ENVIRONMENTS: dict[str, str] = {
    "babyai": "atlas.environments.babyai.environment:BabyAIEnvironment",
}
ENVIRONMENT = Kind("environment", ENVIRONMENTS)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one response led to.

    Attributes:
        success: whether the task is solved so far, as the environment judges it.
        score: the environment's score so far, in [0, 1].
        action: what the environment took as the action, where it found one.
        is_invalid: the response had no action, or the action could not be carried out here.
    """

    observation: tuple[Message, ...]
    reward: float
    terminated: bool
    truncated: bool
    success: bool
    score: float
    action: str | None = None
    is_invalid: bool = False


class Environment(Protocol):
    """One playable world. `reset` may be called again and again; the same task plays the same.

    Each world is driven in its own thread, so it may wait for a server. A class with
    `in_process = True` never waits: it is driven in the loop's thread, which is faster and has no
    time limit.
    """

    name: str
    prompt: tuple[Message, ...]

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, the same for the same arguments.

        Raises:
            ConfigError: the split is unknown, or holds fewer tasks.
        """
        ...

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start `task`: the first observation."""
        ...

    def step(self, response: Message) -> StepResult:
        """Carry out the action in `response`: its text, or its `tool_calls`.

        A response without a usable action is answered and flagged `is_invalid`. An exception means
        that the world itself broke: it is closed and replaced.
        """
        ...

    def close(self) -> None:
        """Stop whatever the world started."""
        ...


@runtime_checkable
class HasTools(Protocol):
    """An environment that offers tools: their schemas, in OpenAI's form."""

    @property
    def tools(self) -> tuple[dict[str, Any], ...]: ...


@dataclass(frozen=True, slots=True)
class ExpertTurn:
    """The next turn of an expert: the response, and what the expert knows about this step."""

    response: Message
    annotation: Annotation


class Expert(Protocol):
    """Plays one episode with access to the state of the environment."""

    def respond(self) -> ExpertTurn:
        """The next turn.

        Raises:
            EpisodeError: the expert cannot go on.
        """
        ...


@runtime_checkable
class HasExpert(Protocol):
    """An environment with an expert. How it plays is the field `expert` of the settings, if any."""

    def expert(self, seed: int) -> Expert:
        """An expert for the episode that was just reset; `seed` drives its random choices."""
        ...
