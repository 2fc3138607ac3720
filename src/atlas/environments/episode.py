"""One episode as data: task + player -> Trajectory.

`Episode` grows one step at a time, so that a loop over one player and a loop over a batch of them record the same thing. An
environment that breaks ends the episode as status "error" with the reason and no score: it is data, not a crash of the run,
and not a reward of 0.
"""

from __future__ import annotations

from collections.abc import Callable

from atlas.environments.base import Environment, ExpertTurn, StepResult
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Annotation, Message, Outcome, Source, Step, Task, Trajectory

Respond = Callable[[tuple[Message, ...]], str | ExpertTurn]
"""A player: the conversation so far, its newest observation last -> the next response, or an expert's turn with labels."""


class Episode:
    """The record of one episode under way. Once `over`, its `trajectory` is complete.

    Args:
        prompt: what the player is told first; the environment's own prompt, if None.
    """

    def __init__(
        self, environment: Environment, source: Source, prompt: tuple[Message, ...] | None = None
    ) -> None:
        self.environment = environment
        self._source = source
        self._task: Task | None = None
        self._prompt = environment.prompt if prompt is None else prompt
        self._steps: list[Step] = []
        self._observation: tuple[Message, ...] = ()
        self._outcome: Outcome | None = None

    @property
    def over(self) -> bool:
        return self._outcome is not None

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        return self._outcome

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far, as the player sees it: it ends with the observation to answer."""
        answered = (
            message for step in self._steps for message in (*step.observation, step.response)
        )
        return (*self._prompt, *answered, *self._observation)

    def start(self, task: Task) -> tuple[Message, ...] | None:
        """Reset the environment to `task`; the first observation, or None where that already failed."""
        self._task = task
        try:
            self._observation = self.environment.reset(task)
        except DependencyError:
            raise
        except Exception as error:
            self._break(error)
            return None
        return self._observation

    def advance(
        self, response: str | Message, annotation: Annotation | None = None
    ) -> tuple[Message, ...] | None:
        """Play one response; the observation that follows, or None when the episode is over."""
        assert self._outcome is None, "the episode is over"
        message = (
            response
            if isinstance(response, Message)
            else Message(role="assistant", content=response)
        )
        try:
            result = self.environment.step(message.content)
        except Exception as error:
            self._record(message, None, None, annotation)
            self._observation = ()
            self._break(error)
            return None
        self._record(message, result.action, result.reward, annotation)
        self._observation = result.observation
        self._outcome = outcome_of(result)
        return None if self.over else self._observation

    def truncate(self, reason: str) -> None:
        """End the episode from outside, because the player has no room left to answer."""
        self._outcome = Outcome(status="truncated", score=0.0, reason=reason)

    def fail(self, reason: str) -> None:
        """End the episode from outside, because the player itself broke."""
        self._outcome = Outcome(status="error", reason=reason)

    @property
    def trajectory(self) -> Trajectory:
        """What happened so far as a record; before the end its outcome is unknown."""
        assert self._task is not None, "the episode was not started"
        return Trajectory(
            id=trajectory_id(self._task, self._source),
            task=self._task,
            prompt=self._prompt,
            steps=tuple(self._steps),
            final_observation=self._observation,
            outcome=self._outcome or Outcome(status="unknown"),
            source=self._source,
        )

    def _record(
        self,
        message: Message,
        action: str | None,
        reward: float | None,
        annotation: Annotation | None,
    ) -> None:
        self._steps.append(
            Step(
                observation=self._observation,
                response=message,
                action=action,
                reward=reward,
                annotation=annotation,
            )
        )

    def _break(self, error: Exception) -> None:
        reason = (
            str(error) if isinstance(error, EpisodeError) else f"{type(error).__name__}: {error}"
        )
        self._outcome = Outcome(status="error", reason=reason)


def outcome_of(result: StepResult) -> Outcome | None:
    """The outcome after a step, or None while the episode goes on. A task that ended by itself without success is a failure."""
    if result.terminated:
        return Outcome(status="success" if result.success else "failure", score=result.score)
    if result.truncated:
        return Outcome(
            status="success" if result.success else "truncated",
            score=result.score,
            reason="step limit",
        )
    return None


def trajectory_id(task: Task, source: Source) -> str:
    """The task and who played it, with the seed where the source has one: `babyai/GoToLocal/7/expert-0`."""
    seed = source.details.get("seed")
    return f"{task.id}/{source.name}" + (f"-{seed}" if seed is not None else "")


def run_episode(
    environment: Environment, task: Task, respond: Respond, source: Source
) -> Trajectory:
    """Play `task` to its end with one player.

    Args:
        respond: is given the conversation so far and answers it; an EpisodeError from it ends the episode as an error.
        source: who plays.
    """
    episode = Episode(environment, source)
    episode.start(task)
    while not episode.over:
        try:
            turn = respond(episode.messages)
        except EpisodeError as error:
            episode.fail(str(error))
            break
        if isinstance(turn, ExpertTurn):
            episode.advance(turn.response, turn.annotation)
        else:
            episode.advance(turn)
    return episode.trajectory
