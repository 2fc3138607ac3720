"""The interface of an environment: tasks, reset, step, close; optionally tools and an expert.

A new environment is one file and one row in `ENVIRONMENTS`. Its class is made as `Class(settings)`,
where `settings` is an instance of its own `Config`. As in Gymnasium, `terminated` (the task ended)
is kept apart from `truncated` (a limit ended it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from atlas.errors import EpisodeError
from atlas.kinds import Kind
from atlas.records import Annotation, Message, Task

ENVIRONMENTS: dict[str, str] = {
    "agentgym": "atlas.environments.agentgym.environment:AgentGymEnvironment",
    "babyai": "atlas.environments.babyai.environment:BabyAIEnvironment",
    "babyai-agentgym": "atlas.environments.paper.babyai.environment:BabyAIAgentGymEnvironment",
    "textcraft": "atlas.environments.paper.textcraft.environment:TextCraftEnvironment",
    "maze": "atlas.environments.paper.maze.environment:MazeEnvironment",
    "wordle": "atlas.environments.paper.wordle.environment:WordleEnvironment",
    "scienceworld": "atlas.environments.scienceworld.environment:ScienceWorldEnvironment",
    "textworld-express": (
        "atlas.environments.textworld_express.environment:TextWorldExpressEnvironment"
    ),
    "planning": "atlas.environments.planning.environment:PlanningEnvironment",
    "sql": "atlas.environments.sql.environment:SqlEnvironment",
    "alfworld": "atlas.environments.alfworld.environment:AlfworldEnvironment",
    "miniwob": "atlas.environments.miniwob.environment:MiniWobEnvironment",
    "gymnasium": "atlas.environments.gymnasium.environment:GymnasiumEnvironment",
    "openenv": "atlas.environments.openenv.environment:OpenEnvEnvironment",
    "textworld": "atlas.environments.textworld.environment:TextWorldEnvironment",
    "jericho": "atlas.environments.jericho.environment:JerichoEnvironment",
    "verifiers": "atlas.environments.verifiers.environment:VerifiersEnvironment",
    "office": "atlas.environments.office.environment:OfficeEnvironment",
    "tau2": "atlas.environments.tau2.environment:Tau2Environment",
}
# An error of an environment is recorded with its episode.
ENVIRONMENT = Kind(
    "environment",
    ENVIRONMENTS,
    methods=("tasks", "reset", "step", "close"),
    fault=EpisodeError,
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of one response.

    Attributes:
        success: whether the environment considers the task solved so far.
        score: the environment's score so far, in [0, 1].
        action: the action that the environment found in the response; None if there is none.
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
    """One playable world. `reset` may be called repeatedly; a task plays the same each time.

    Each world runs in its own thread, so it may wait for a server. A class with `in_process = True`
    must not wait: it runs in the caller's thread, which is faster but has no time limit.
    """

    name: str
    prompt: tuple[Message, ...]

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        """The first `num_tasks` tasks of a split, the same for the same arguments.

        Raises:
            ConfigError: the split is unknown, or has fewer tasks.
        """
        ...

    def reset(self, task: Task) -> tuple[Message, ...]:
        """Start `task` and return the first observation."""
        ...

    def step(self, response: Message) -> StepResult:
        """Carry out the action in `response`, from its text or its `tool_calls`.

        A response without a usable action gets an observation and the flag `is_invalid`. An
        exception means that the world itself is broken; it is then closed and replaced.
        """
        ...

    def close(self) -> None:
        """Release all resources of the world."""
        ...


@runtime_checkable
class HasTools(Protocol):
    """An environment that offers tools. `tools` holds their schemas in OpenAI's form."""

    @property
    def tools(self) -> tuple[dict[str, Any], ...]: ...


@runtime_checkable
class HasNotes(Protocol):
    """An environment with remarks on its splits, such as test tasks that are training tasks."""

    def notes(self, split: str) -> Sequence[str]:
        """Sentences for the user who plays this split."""
        ...


@dataclass(frozen=True, slots=True)
class ExpertTurn:
    """The next turn of an expert: the response, and the annotation of this step."""

    response: Message
    annotation: Annotation


class Expert(Protocol):
    """Plays one episode with access to the state of the environment."""

    def respond(self) -> ExpertTurn:
        """The next turn.

        Raises:
            EpisodeError: the expert cannot continue.
        """
        ...


@runtime_checkable
class HasExpert(Protocol):
    """An environment with an expert. The expert's settings, if any, are its field `expert`."""

    def expert(self, seed: int) -> Expert:
        """An expert for the episode that was just reset; `seed` drives its random choices."""
        ...
