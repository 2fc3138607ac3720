"""Selects steps that increase the success rate of rollouts (arXiv 2406.11176).

    score of step t = V(state after t) - V(state before t)
    V = the share of N sampled rollouts that end in success

To restore a state, the environment is reset to the task and the recorded responses are replayed. If
its observations differ from the recorded ones, the trajectory is a problem. A rollout that ended as
an error says nothing about the model and is left out of V (ATLaS, Table 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.environments.play import play_episodes
from atlas.environments.recorded_settings import recorded_environment
from atlas.environments.replay import replay_difference, replay_opening
from atlas.environments.worlds import Worlds
from atlas.kinds import Choice
from atlas.models.local.load import model_input, rendering_inputs
from atlas.models.local.local_player import LocalPlayerConfig
from atlas.models.players import PLAYER, Player
from atlas.records import Outcome, Problem, Source, Trajectory
from atlas.selection.selectors.base import Scores, SelectorContext, problem_with
from atlas.store.run_folders import Input

SOURCE = Source(name="rollout")


class RolloutValueConfig(LocalPlayerConfig):
    """Settings of `rollout-value`: the model, and how it finishes episodes."""

    model: str = Field(
        min_length=1, description="a hub id, a model folder, or a run folder of train"
    )
    num_rollouts: int = Field(
        default=5, ge=1, description="number of rollouts from the state after each step"
    )
    temperature: float = Field(
        default=1.0, ge=0, description="sampling temperature of the model in the rollouts"
    )
    environment: Annotated[Choice, ENVIRONMENT] | None = Field(
        default=None,
        description="the environment to play in, with the same settings as when the "
        "trajectories were made; if none, that of the run of the trajectories with its settings",
    )

    @model_validator(mode="after")
    def _rollouts_differ(self) -> RolloutValueConfig:
        if self.num_rollouts > 1 and self.temperature == 0:
            raise ValueError(
                f"at temperature 0 all {self.num_rollouts} rollouts are the same; raise the "
                "temperature, or set num_rollouts=1"
            )
        return self


class RolloutValueSelector:
    """The steps that increase the success rate of a model's rollouts most."""

    Config = RolloutValueConfig

    def __init__(self, config: RolloutValueConfig, context: SelectorContext) -> None:
        self._config = config
        self._seed = context.seed
        self._run = context.trajectories
        self._worlds: dict[str, Worlds] = {}
        self._player: Player | None = None

    @classmethod
    def draws(cls, config: RolloutValueConfig) -> bool:
        return config.temperature > 0

    @property
    def sentence(self) -> str:
        return f"the steps that raise the success of rollouts by {self._config.model} most"

    def inputs(self, out: Path) -> dict[str, Input]:
        template = rendering_inputs(out, self._config.chat_template)
        return {"model": model_input(self._config.model, out), **template}

    def pin_day(self, day: date | None) -> None:
        self._config = self._config.on_day(day)

    def forecast(self, num_trajectories: int, num_steps: int) -> str:
        states = num_steps + num_trajectories
        number = self._config.num_rollouts
        return (
            f"rollout-value: {number} rollouts from the start of {num_trajectories:,} trajectories "
            f"and after each of their {num_steps:,} steps: up to {number * states:,} episodes"
        )

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        """The increase in value for each step, or a problem.

        Problems are a missing environment, a replay that differs, or no valid rollout.
        """
        worlds = self._worlds_of(trajectory)
        if worlds is None:
            reason = (
                f"environment '{trajectory.task.environment}' cannot be played here. Known: "
                f"{', '.join(sorted(ENVIRONMENTS))}. Name your own by environment=…"
            )
            return problem_with(trajectory.id, reason)
        if not trajectory.steps:
            return []
        whole = replay_opening(trajectory, len(trajectory.steps), trajectory.id, SOURCE)
        [(_, final)] = play_episodes([whole], worlds, None)
        if (difference := replay_difference(final, trajectory, len(trajectory.steps))) is not None:
            return problem_with(trajectory.id, difference)
        values = self._values(trajectory, worlds, final.outcome)
        if isinstance(values, Problem):
            return values
        return [round(after - before, 9) for before, after in pairwise(values)]

    async def close(self) -> None:
        """Close the worlds and the player."""
        for worlds in self._worlds.values():
            worlds.close()
        self._worlds = {}
        if self._player is not None:
            self._player.end()

    def _values(
        self, trajectory: Trajectory, worlds: Worlds, end: Outcome | None
    ) -> list[float] | Problem:
        """V of each state, including the state before the first step.

        The value of the final state is the outcome of the episode.
        """
        num_steps = len(trajectory.steps)
        states = range(num_steps + 1 if end is None else num_steps)
        outcomes = self._play(trajectory, worlds, states)
        values: list[float] = []
        for state in states:
            valid = [outcome for outcome in outcomes[state] if outcome.is_valid]
            if not valid:
                where = f"after step {state - 1}" if state else "from the start"
                last = outcomes[state][-1].reason
                reason = f"all {len(outcomes[state])} rollouts {where} broke; the last: {last}"
                return problem_with(trajectory.id, reason)
            values.append(sum(outcome.status == "success" for outcome in valid) / len(valid))
        return values if end is None else [*values, float(end.status == "success")]

    def _play(
        self, trajectory: Trajectory, worlds: Worlds, states: Sequence[int]
    ) -> list[list[Outcome]]:
        """The outcomes of the rollouts from each state."""
        rollouts = range(self._config.num_rollouts)
        state_of = {f"{trajectory.id} {state} {one}": state for state in states for one in rollouts}
        openings = [
            replay_opening(trajectory, state, name, SOURCE) for name, state in state_of.items()
        ]
        if self._player is None:
            player = Choice("local", self._config)
            self._player = PLAYER.make(player, self._config.model, self._seed)
        outcomes: list[list[Outcome]] = [[] for _ in states]
        for name, episode in play_episodes(openings, worlds, self._player):
            assert episode.outcome is not None
            outcomes[state_of[name]].append(episode.outcome)
        return outcomes

    def _worlds_of(self, trajectory: Trajectory) -> Worlds | None:
        """Worlds of the environment in the config, or of that of the run, which the task names."""
        environment = self._config.environment
        name = environment.name if environment is not None else trajectory.task.environment
        if name not in self._worlds:
            found = environment or recorded_environment(name, self._run)
            if found is None:
                return None
            self._worlds[name] = Worlds.of(found, self._config.batch_size)
        return self._worlds[name]
