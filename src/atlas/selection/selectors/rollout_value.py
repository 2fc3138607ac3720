"""The steps that raise a model's own chances: Monte-Carlo value jumps (arXiv 2406.11176).

    score of step t = V(state after t) - V(state before t)
    V = the share of N sampled rollouts that end in success

A state is reached again by resetting the environment to the task and repeating the recorded
responses. If it shows anything else than what was recorded, the trajectory is a problem. A rollout
that broke says nothing about the model and is left out of V (ATLaS, Table 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from atlas.config import SPEED_ONLY, Config
from atlas.environments.base import ENVIRONMENTS, Environment, make_environment
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_batch
from atlas.errors import ConfigError
from atlas.models.local.load import (
    Precision,
    load_model,
    load_renderer,
    locate_model,
    model_input,
    resolve_precision,
)
from atlas.records import Message, Outcome, Problem, Source, Trajectory
from atlas.selection.selectors.base import Scores, SelectorContext
from atlas.store.run_folders import Input

if TYPE_CHECKING:
    from atlas.models.local.chat_batch import ChatBatch

SOURCE = Source(name="rollout")


class RolloutValueConfig(Config):
    """Settings of `rollout-value`: how the model finishes episodes."""

    model: str = Field(
        min_length=1, description="a hub id, a model folder, or a run folder of train"
    )
    precision: Precision = Field(
        "auto", description="fp32, bf16, or auto: bf16 on a GPU that has it"
    )
    num_rollouts: int = Field(5, ge=1, description="rollouts from the state after each step")
    temperature: float = Field(1.0, ge=0, description="of the model that plays")
    max_new_tokens: int = Field(128, ge=1, description="the longest answer of one turn")
    max_context: int = Field(
        4096,
        ge=16,
        description="tokens of history and answer; a rollout that needs more has failed",
    )
    max_steps: int = Field(
        20,
        ge=1,
        description="turns of an episode, the replayed ones included, as when the data was made",
    )
    batch_size: Annotated[int, SPEED_ONLY] = Field(64, ge=1, description="rollouts at a time")

    @model_validator(mode="after")
    def _rollouts_differ(self) -> RolloutValueConfig:
        if self.num_rollouts > 1 and self.temperature == 0:
            raise ValueError(
                f"at temperature 0 all {self.num_rollouts} rollouts are the same; raise the "
                "temperature, or set num_rollouts=1"
            )
        return self


class RolloutValueSelector:
    """The steps that raise a model's success in rollouts most: it plays on from every state."""

    Config = RolloutValueConfig

    def __init__(self, config: RolloutValueConfig, context: SelectorContext) -> None:
        self._rollouts = config
        self._seed = context.seed
        self._environments: dict[str, list[Environment]] = {}
        self._new_player: Callable[[], ChatBatch] | None = None

    @property
    def sentence(self) -> str:
        return f"the steps that raise the success of rollouts by {self._rollouts.model} most"

    def inputs(self, out: Path) -> dict[str, Input]:
        return {"model": model_input(self._rollouts.model, out)}

    def forecast(self, num_trajectories: int, num_steps: int) -> str:
        states = num_steps + num_trajectories
        number = self._rollouts.num_rollouts
        return (
            f"rollout-value: {number} rollouts from the start of {num_trajectories:,} trajectories "
            f"and after each of their {num_steps:,} steps: up to {number * states:,} episodes of "
            f"at most {self._rollouts.max_steps} turns"
        )

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        """A value jump a step, or a problem.

        A problem is a missing environment, a replay that differs, or rollouts that all broke.

        Raises:
            ConfigError: an environment does not take `max_steps`.
            DependencyError: the environment's package is not installed.
            ModelError: the model cannot be loaded.
        """
        if trajectory.task.environment not in ENVIRONMENTS:
            known = ", ".join(sorted(ENVIRONMENTS))
            return _problem(
                trajectory,
                f"environment '{trajectory.task.environment}' cannot be played here. "
                f"Known: {known}",
            )
        if not trajectory.steps:
            return []
        final = _replay(
            self._free_environments(trajectory, 1)[0], trajectory, len(trajectory.steps)
        )
        if (difference := _difference(final, trajectory)) is not None:
            return _problem(trajectory, difference)
        values = self._values(trajectory, final.outcome)
        if isinstance(values, Problem):
            return values
        return [round(after - before, 9) for before, after in pairwise(values)]

    async def close(self) -> None:
        for environments in self._environments.values():
            for environment in environments:
                environment.close()
        self._environments = {}

    def _values(self, trajectory: Trajectory, end: Outcome | None) -> list[float] | Problem:
        """V of each state, the one before the first step included.

        An episode that is over has no chances left to estimate.
        """
        num_steps = len(trajectory.steps)
        states = range(num_steps + 1 if end is None else num_steps)
        outcomes = self._play(trajectory, states)
        values: list[float] = []
        for state in states:
            valid = [outcome for outcome in outcomes[state] if outcome.is_valid]
            if not valid:
                where = f"after step {state - 1}" if state else "from the start"
                return _problem(
                    trajectory,
                    f"all {len(outcomes[state])} rollouts {where} broke; the last: "
                    f"{outcomes[state][-1].reason}",
                )
            values.append(sum(outcome.status == "success" for outcome in valid) / len(valid))
        return values if end is None else [*values, float(end.status == "success")]

    def _play(self, trajectory: Trajectory, states: Sequence[int]) -> list[list[Outcome]]:
        """The outcomes of the rollouts from each state.

        Each trajectory has its own player, so that what was played before does not matter.
        """
        number = self._rollouts.num_rollouts
        state_of = {
            f"{trajectory.id} {state} {rollout}": state
            for state in states
            for rollout in range(number)
        }
        openings = [
            Opening(name, partial(_replay, trajectory=trajectory, num_steps=state))
            for name, state in state_of.items()
        ]
        environments = self._free_environments(
            trajectory, min(self._rollouts.batch_size, len(openings))
        )
        outcomes: list[list[Outcome]] = [[] for _ in states]
        for name, episode in play_batch(
            openings, environments, self._player(), "no room left in the context"
        ):
            assert episode.outcome is not None
            outcomes[state_of[name]].append(episode.outcome)
        return outcomes

    def _player(self) -> ChatBatch:
        if self._new_player is None:
            self._new_player = _load(self._rollouts, self._seed)
        return self._new_player()

    def _free_environments(self, trajectory: Trajectory, number: int) -> list[Environment]:
        name = trajectory.task.environment
        pool = self._environments.setdefault(name, [])
        try:
            while len(pool) < number:
                pool.append(make_environment(name, max_steps=self._rollouts.max_steps))
        except TypeError as error:
            raise ConfigError(
                f"environment '{name}' cannot be made: {error}. It has to take max_steps."
            ) from error
        return pool[:number]


def _load(config: RolloutValueConfig, seed: int) -> Callable[[], ChatBatch]:
    place = locate_model(config.model)
    renderer = load_renderer(place)
    model = load_model(
        place, "bfloat16" if resolve_precision(config.precision) == "bf16" else "float32"
    )
    from atlas.models.local.chat_batch import ChatBatch

    known = getattr(model.config, "max_position_embeddings", None)
    max_context = min(config.max_context, known or config.max_context)
    return lambda: ChatBatch(
        model,
        renderer,
        temperature=config.temperature,
        max_tokens=config.max_new_tokens,
        max_context=max_context,
        seed=seed,
    )


def _replay(environment: Environment, trajectory: Trajectory, num_steps: int) -> Episode:
    """The episode after the first `num_steps` recorded responses, with the recorded prompt."""
    episode = Episode(environment, SOURCE, trajectory.prompt)
    episode.start(trajectory.task)
    for step in trajectory.steps[:num_steps]:
        if episode.over:
            break
        episode.advance(step.response)
    return episode


def _difference(replayed: Episode, trajectory: Trajectory) -> str | None:
    """What the replay of a whole trajectory showed that the record does not."""
    if replayed.outcome is not None and replayed.outcome.status == "error":
        return f"its replay broke: {replayed.outcome.reason}"
    again = replayed.trajectory
    for index, (step, recorded) in enumerate(zip(again.steps, trajectory.steps, strict=False)):
        if step.observation != recorded.observation:
            both = _both(step.observation, recorded.observation)
            return f"its replay differs before step {index}: {both}"
    if len(again.steps) < len(trajectory.steps):
        return f"its replay was over after {len(again.steps)} of {len(trajectory.steps)} steps"
    if trajectory.final_observation and again.final_observation != trajectory.final_observation:
        both = _both(again.final_observation, trajectory.final_observation)
        return f"its replay differs at the end: {both}"
    return None


def _both(seen: Sequence[Message], recorded: Sequence[Message]) -> str:
    texts = [" ".join(message.content for message in messages) for messages in (seen, recorded)]
    return f"{texts[0]!r:.100} was seen, {texts[1]!r:.100} is recorded"


def _problem(trajectory: Trajectory, reason: str) -> Problem:
    return Problem(where=f"trajectory {trajectory.id}", reason=reason, item=trajectory.id)
