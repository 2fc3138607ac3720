"""One episode as data: what was observed, answered and done, step by step -> Trajectory.

An environment that breaks ends the episode with status "error", the reason and no score: the
episode is data with a reason, not a crash of the run and not a reward of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.environments.base import Environment, HasTools, StepResult
from atlas.errors import AtlasError, EpisodeError
from atlas.records import Annotation, Message, Outcome, Source, Step, Task, Trajectory


class Episode:
    """The record of one episode in progress. Once `over`, its `trajectory` is complete.

    Args:
        source: who plays.
        prompt: the first messages of the conversation.
        tools: schemas of the tools that the player may call.
    """

    def __init__(
        self,
        task: Task,
        source: Source,
        prompt: tuple[Message, ...] = (),
        tools: tuple[dict[str, Any], ...] = (),
    ) -> None:
        self.tools = tools
        self.is_broken = False
        self._task = task
        self._source = source
        self._prompt = prompt
        self._steps: list[Step] = []
        self._observation: tuple[Message, ...] = ()
        self._outcome: Outcome | None = None

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self._outcome is not None

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None while it goes on."""
        return self._outcome

    @property
    def observation(self) -> tuple[Message, ...]:
        """What the player sees now."""
        return self._observation

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far; it ends with the observation that the player answers next."""
        answered = (
            message for step in self._steps for message in (*step.observation, step.response)
        )
        return (*self._prompt, *answered, *self._observation)

    def begin(self, observation: tuple[Message, ...]) -> None:
        """Record the first observation."""
        self._observation = observation

    def add_step(
        self, response: Message, result: StepResult, annotation: Annotation | None = None
    ) -> None:
        """Record a response and what it led to."""
        assert self._outcome is None, "the episode is over"
        step = Step(
            observation=self._observation,
            response=response,
            action=result.action,
            reward=result.reward,
            is_invalid=result.is_invalid,
            annotation=annotation,
        )
        self._steps.append(step)
        self._observation = result.observation
        self._outcome = outcome_of(result)

    def break_off(
        self,
        error: Exception,
        response: Message | None = None,
        annotation: Annotation | None = None,
    ) -> None:
        """End the episode because its world broke, at `response` where one was being played."""
        self.is_broken = True
        if response is not None:
            step = Step(observation=self._observation, response=response, annotation=annotation)
            self._steps.append(step)
            self._observation = ()
        is_explained = isinstance(error, EpisodeError)
        self.fail(str(error) if is_explained else f"{type(error).__name__}: {error}")

    def truncate(self, reason: str) -> None:
        """End the episode because the player has no room left to answer."""
        self._outcome = Outcome(status="truncated", score=0.0, reason=reason)

    def fail(self, reason: str) -> None:
        """End the episode because the player gave no answer."""
        self._outcome = Outcome(status="error", reason=reason)

    @property
    def trajectory(self) -> Trajectory:
        """What happened so far as a record; before the end its outcome is unknown."""
        return Trajectory(
            id=trajectory_id(self._task, self._source),
            task=self._task,
            prompt=self._prompt,
            tools=self.tools,
            steps=tuple(self._steps),
            final_observation=self._observation,
            outcome=self._outcome or Outcome(status="unknown"),
            source=self._source,
        )


def start_episode(
    environment: Environment,
    task: Task,
    source: Source,
    prompt: tuple[Message, ...] | None = None,
    responses: Sequence[Message] = (),
) -> Episode:
    """An episode of `task`, led through recorded `responses` as far as it goes.

    Args:
        prompt: the first messages of the conversation; None: those of the environment.

    Raises:
        AtlasError: the fault concerns the whole run, such as a missing package.
    """
    tools = environment.tools if isinstance(environment, HasTools) else ()
    episode = Episode(task, source, environment.prompt if prompt is None else prompt, tools)
    try:
        episode.begin(environment.reset(task))
    except Exception as error:
        if isinstance(error, AtlasError) and not isinstance(error, EpisodeError):
            raise
        episode.break_off(error)
    for response in responses:
        if episode.over:
            break
        try:
            result = environment.step(response)
        except Exception as error:
            episode.break_off(error, response)
        else:
            episode.add_step(response, result)
    return episode


def outcome_of(result: StepResult) -> Outcome | None:
    """The outcome after a step, None while the episode goes on.

    A task that ended by itself without success is a failure.
    """
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
    """The task, who played it, and the seed where there is one: `babyai/GoToLocal/7/expert-0`."""
    seed = source.details.get("seed")
    return f"{task.id}/{source.name}" + (f"-{seed}" if seed is not None else "")
