"""Compares what a response and the expert's response do in the environment.

The environment is reset to the task, the recorded responses are replayed up to the step, and then
the sampled one is carried out. It agrees if the environment shows, counts and ends the same as
after the expert's: observation, reward, score, end, and whether the action was possible. What an
environment does not show is not compared: it has no common way to tell its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from atlas.config import SPEED_ONLY, Config
from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.environments.episode import Episode
from atlas.environments.play import Opening, play_episodes
from atlas.environments.recorded_settings import recorded_environment
from atlas.environments.replay import replay_difference, replay_opening
from atlas.environments.worlds import Limits, Worlds
from atlas.kinds import Choice
from atlas.records import Message, Source, Step, Trajectory
from atlas.selection.agreement.base import Verdict
from atlas.selection.selectors.base import SelectorContext

SOURCE = Source(name="sample")


class EnvironmentAgreementConfig(Config):
    """Settings of `environment`: where the responses are carried out."""

    environment: Annotated[Choice, ENVIRONMENT] | None = Field(
        default=None,
        description="the environment to play in, with the same settings as when the "
        "trajectories were made; if none, that of the run of the trajectories with its settings",
    )
    worlds: Annotated[int, SPEED_ONLY] = Field(
        default=16, ge=1, description="how many environments run at a time"
    )
    limits: Limits = Field(default=Limits(), description="time limits for an environment")


class EnvironmentAgreement:
    """The same result of the environment's own step, from the state that the expert was in."""

    Config = EnvironmentAgreementConfig

    def __init__(self, config: EnvironmentAgreementConfig, context: SelectorContext) -> None:
        self._config = config
        self._run = context.trajectories
        self._worlds: dict[str, Worlds] = {}
        # The replays of the trajectories that were checked, by id.
        self._replays: dict[str, Episode] = {}

    def problem(self, trajectory: Trajectory) -> str | None:
        """Whether the whole trajectory can be replayed as it is recorded."""
        worlds = self._worlds_of(trajectory)
        if worlds is None:
            return (
                f"environment '{trajectory.task.environment}' cannot be played here. Known: "
                f"{', '.join(sorted(ENVIRONMENTS))}. Name your own by "
                "agreement.environment.name=…, or compare by another agreement"
            )
        num_steps = len(trajectory.steps)
        opening = replay_opening(trajectory, num_steps, trajectory.id, SOURCE)
        [(_, replay)] = play_episodes([opening], worlds, None)
        if (difference := replay_difference(replay, trajectory, num_steps)) is not None:
            return difference
        self._replays[trajectory.id] = replay
        return None

    def compare(
        self, trajectory: Trajectory, step: int, responses: Sequence[Message]
    ) -> list[Verdict]:
        """Carry out each different response once."""
        worlds = self._worlds_of(trajectory)
        assert worlds is not None, "`problem` was not asked"
        different = list(dict.fromkeys(map(_content, responses)))
        by_name = {str(number): content for number, content in enumerate(different)}
        first = {_content(response): response for response in reversed(responses)}
        openings = (
            self._opening(trajectory, step, name, first[content])
            for name, content in by_name.items()
        )
        expected = self._replays[trajectory.id]
        verdicts = {
            by_name[name]: _compare(expected, episode, step)
            for name, episode in play_episodes(openings, worlds, None)
        }
        return [verdicts[_content(response)] for response in responses]

    def release(self, trajectory: Trajectory) -> None:
        self._replays.pop(trajectory.id, None)

    async def close(self) -> None:
        for worlds in self._worlds.values():
            worlds.close()
        self._worlds, self._replays = {}, {}

    def _opening(self, trajectory: Trajectory, step: int, name: str, response: Message) -> Opening:
        recorded = tuple(one.response for one in trajectory.steps[:step])
        return Opening(name, trajectory.task, SOURCE, trajectory.prompt, (*recorded, response))

    def _worlds_of(self, trajectory: Trajectory) -> Worlds | None:
        environment = self._config.environment
        name = environment.name if environment is not None else trajectory.task.environment
        if name not in self._worlds:
            found = environment or recorded_environment(name, self._run)
            if found is None:
                return None
            self._worlds[name] = Worlds.of(found, self._config.worlds, self._config.limits)
        return self._worlds[name]


def _compare(expected: Episode, found: Episode, step: int) -> Verdict:
    """Compare the step of two replays, and what was seen after it."""
    if found.is_broken or len(found.steps) <= step:
        reason = found.outcome.reason if found.outcome is not None else "the replay was over before"
        return Verdict(None, f"the environment broke: {reason}")
    seen = [step.observation for step in found.steps[: step + 1]]
    if seen != [step.observation for step in expected.steps[: step + 1]]:
        return Verdict(None, "the environment showed something else before the step than before")
    for what, one, other in zip(
        ("the observation", "the end", "the reward", "whether the action was possible"),
        _result(expected, step),
        _result(found, step),
        strict=True,
    ):
        if one != other:
            return Verdict(False, f"{what} differs")
    return Verdict(True)


def _result(episode: Episode, step: int) -> tuple[Any, ...]:
    """What an environment answered to a step: observation, end, reward, validity."""
    taken: Step = episode.steps[step]
    is_last = step == len(episode.steps) - 1
    seen = episode.observation if is_last else episode.steps[step + 1].observation
    # The ids of calls are names that the model or the client made up.
    observation = [message.model_copy(update={"tool_call_id": None}) for message in seen]
    end = episode.outcome if is_last else None
    return observation, end, taken.reward, taken.is_invalid


def _content(response: Message) -> str:
    """A response as text, without the ids of its calls."""
    calls = tuple(call.model_copy(update={"id": None}) for call in response.tool_calls)
    return response.model_copy(update={"tool_calls": calls}).model_dump_json()
