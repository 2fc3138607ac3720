"""Steps after which a model's own chances of success are better (IPR, arXiv 2406.11176).

    score of step t = V(state after t) - V(state before t)
    V = the share of N sampled rollouts that end in success (ATLaS, Table 4)

A state is reached again by resetting the environment to the task and repeating the recorded
responses. If it shows anything other than what was recorded, the trajectory is a problem. A rollout
that broke says nothing about the model and is left out of V.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from atlas.environments.base import ENVIRONMENTS
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Worlds
from atlas.kinds import Choice
from atlas.models.players import PLAYER, Player
from atlas.records import Message, Outcome, Problem, Source, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, Scores

SOURCE = Source(name="rollout")


class RolloutValueSelector:
    """The steps after which the model itself finishes the episode more often than before."""

    def __init__(self, config: SelectConfig, others: Others) -> None:
        self._config = config
        self._rollouts = config.rollouts
        self._worlds: dict[str, Worlds] = {}
        self._player: Player | None = None

    def models(self) -> dict[str, str]:
        """The model that plays."""
        return {"model": self._config.model}

    def forecast(self, num_trajectories: int, num_steps: int) -> str:
        """How many episodes will be played."""
        states = num_steps + num_trajectories
        return (
            f"rollout-value: {self._rollouts.number} rollouts from the start of "
            f"{num_trajectories:,} trajectories and after each of their {num_steps:,} steps: "
            f"up to {self._rollouts.number * states:,} episodes"
        )

    def score(self, trajectory: Trajectory) -> Scores | Problem:
        """A value jump for each step, or a problem.

        A problem is: no environment to play in, a replay that differs, or rollouts that all broke.

        Raises:
            DependencyError: the environment's package is not installed.
            ModelError: the model cannot be loaded.
        """
        worlds = self._worlds_of(trajectory)
        if worlds is None:
            known = ", ".join(sorted(ENVIRONMENTS))
            return _problem(
                trajectory,
                f"environment '{trajectory.task.environment}' cannot be played here. "
                f"Known: {known}. Name your own by rollouts.environment",
            )
        if not trajectory.steps:
            return []
        whole = _opening(trajectory, len(trajectory.steps), trajectory.id)
        [(_, final)] = play_episodes([whole], worlds, None)
        if (difference := _difference(final, trajectory)) is not None:
            return _problem(trajectory, difference)
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
        """V of each state, the one before the first step included.

        The state after an episode's end is worth that end.
        """
        num_steps = len(trajectory.steps)
        states = range(num_steps + 1 if end is None else num_steps)
        outcomes = self._play(trajectory, worlds, states)
        values: list[float] = []
        for state in states:
            valid = [outcome for outcome in outcomes[state] if outcome.is_valid]
            if not valid:
                where = f"after step {state - 1}" if state else "from the start"
                return _problem(
                    trajectory,
                    f"all {len(outcomes[state])} rollouts {where} broke; "
                    f"the last: {outcomes[state][-1].reason}",
                )
            values.append(sum(outcome.status == "success" for outcome in valid) / len(valid))
        return values if end is None else [*values, float(end.status == "success")]

    def _play(
        self, trajectory: Trajectory, worlds: Worlds, states: Sequence[int]
    ) -> list[list[Outcome]]:
        """The outcomes of the rollouts from each state."""
        state_of = {
            f"{trajectory.id} {state} {rollout}": state
            for state in states
            for rollout in range(self._rollouts.number)
        }
        openings = [_opening(trajectory, state, name) for name, state in state_of.items()]
        if self._player is None:
            self._player = _load_player(self._config)
        outcomes: list[list[Outcome]] = [[] for _ in states]
        for name, episode in play_episodes(openings, worlds, self._player):
            assert episode.outcome is not None
            outcomes[state_of[name]].append(episode.outcome)
        return outcomes

    def _worlds_of(self, trajectory: Trajectory) -> Worlds | None:
        """Worlds of the environment in the config, or of the row that the task names."""
        environment = self._rollouts.environment
        name = environment.name if environment is not None else trajectory.task.environment
        if environment is None and name not in ENVIRONMENTS:
            return None
        if name not in self._worlds:
            self._worlds[name] = Worlds.of(environment or Choice(name), self._rollouts.batch_size)
        return self._worlds[name]


def _load_player(config: SelectConfig) -> Player:
    rollouts = config.rollouts
    settings = {
        "temperature": rollouts.temperature,
        "max_new_tokens": rollouts.max_new_tokens,
        "max_context": rollouts.max_context,
        "batch_size": rollouts.batch_size,
        "precision": config.precision,
    }
    player: Player = PLAYER.make(Choice("local", settings), config.model, config.seed)
    return player


def _opening(trajectory: Trajectory, num_steps: int, name: str) -> Opening:
    """An episode that continues after the first `num_steps` recorded responses."""
    responses = tuple(step.response for step in trajectory.steps[:num_steps])
    return Opening(name, trajectory.task, SOURCE, trajectory.prompt, responses)


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
