"""Records an episode step by step (observation, response, action) and turns it into a Trajectory.

If the environment raises an error, the episode ends with status "error", the reason and no score.
The run does not crash, and the episode does not count as a reward of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from atlas.environments.base import Environment, StepResult
from atlas.environments.checked import begin_task, read_tools, take_step
from atlas.errors import AtlasError, EpisodeError
from atlas.models.players import NO_USAGE, PlayerAnswer
from atlas.records import (
    CUT_STEPS,
    REFUSED,
    USAGE,
    Annotation,
    Message,
    Outcome,
    OutcomeStatus,
    Source,
    Step,
    Task,
    Trajectory,
    Usage,
)

STEP_LIMIT = "step limit"


@dataclass(slots=True)
class Episode:
    """One episode in progress. When it is `over`, its `trajectory` is complete.

    Attributes:
        source: who plays.
        prompt: the first messages of the conversation.
        tools: schemas of the tools that the player may call.
        observation: what the player sees now.
        outcome: how the episode ended; None while it is running.
        is_broken: whether its world raised an error.
        cut_steps: the steps whose response was cut off; None if that is not known.
        usage: requests and tokens of the player's answers; without requests, they are not known.
        is_refused: whether the player declined to answer.
    """

    task: Task
    source: Source
    prompt: tuple[Message, ...] = ()
    tools: tuple[dict[str, Any], ...] = ()
    steps: list[Step] = field(default_factory=list)
    observation: tuple[Message, ...] = ()
    outcome: Outcome | None = None
    is_broken: bool = False
    cut_steps: list[int] | None = None
    usage: Usage = NO_USAGE
    is_refused: bool = False
    _last: StepResult | None = None

    @property
    def over(self) -> bool:
        """Whether the episode has ended."""
        return self.outcome is not None

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation so far; it ends with the observation that the player answers next."""
        answered = (
            message for step in self.steps for message in (*step.observation, step.response)
        )
        return (*self.prompt, *answered, *self.observation)

    def add_step(
        self,
        response: Message,
        result: StepResult,
        annotation: Annotation | None = None,
        is_cut: bool | None = None,
    ) -> None:
        """Record a response, its result, and whether the response was cut off (None: unknown)."""
        assert self.outcome is None, "the episode is over"
        if is_cut is not None:
            self.cut_steps = [*(self.cut_steps or ()), *([len(self.steps)] if is_cut else ())]
        step = Step(
            observation=self.observation,
            response=response,
            action=result.action,
            reward=result.reward,
            is_invalid=result.is_invalid,
            annotation=annotation,
        )
        self.steps.append(step)
        self.observation = result.observation
        self._last = result
        if result.terminated or result.truncated:
            # A task that ended by itself without success is a failure.
            unsolved: OutcomeStatus = "failure" if result.terminated else "truncated"
            self.outcome = Outcome(
                status="success" if result.success else unsolved,
                score=result.score,
                reason=None if result.terminated else STEP_LIMIT,
            )

    def break_off(
        self,
        error: Exception,
        last: PlayerAnswer | Message | None = None,
    ) -> None:
        """End the episode because its world raised an error, `last` being its last input."""
        self.is_broken = True
        if last is not None:
            response, annotation = (
                (last, None) if isinstance(last, Message) else (last.message, last.annotation)
            )
            step = Step(observation=self.observation, response=response, annotation=annotation)
            self.steps.append(step)
            self.observation = ()
        is_explained = isinstance(error, EpisodeError)
        self.fail(str(error) if is_explained else f"{type(error).__name__}: {error}")

    def truncate(self, reason: str) -> None:
        """End the episode at a limit. What was reached before counts."""
        is_solved = self._last is not None and self._last.success
        score = 0.0 if self._last is None else self._last.score
        status: OutcomeStatus = "success" if is_solved else "truncated"
        self.outcome = Outcome(status=status, score=score, reason=reason)

    def fail(self, reason: str, *, is_refused: bool = False) -> None:
        """End the episode because the player gave no answer."""
        self.is_refused = is_refused
        self.outcome = Outcome(status="error", reason=reason)

    @property
    def trajectory(self) -> Trajectory:
        """The episode so far as a record. Until the episode ends, the outcome is "unknown"."""
        return Trajectory(
            id=trajectory_id(self.task, self.source),
            task=self.task,
            prompt=self.prompt,
            tools=self.tools,
            steps=tuple(self.steps),
            final_observation=self.observation,
            outcome=self.outcome or Outcome(status="unknown"),
            source=self._source,
        )

    @property
    def _source(self) -> Source:
        found: dict[str, Any] = {}
        if self.cut_steps is not None:
            found[CUT_STEPS] = self.cut_steps
        if self.usage.requests:
            found[USAGE] = {name: getattr(self.usage, name) for name in Usage.model_fields}
        if self.is_refused:
            found[REFUSED] = True
        if not found:
            return self.source
        return self.source.model_copy(update={"details": {**self.source.details, **found}})


def start_episode(
    environment: Environment,
    task: Task,
    source: Source,
    prompt: tuple[Message, ...] | None = None,
    responses: Sequence[Message] = (),
) -> Episode:
    """Start an episode of `task` and replay the recorded `responses`, until it ends.

    Args:
        prompt: the first messages of the conversation; None: the environment's own.

    Raises:
        AtlasError: the error affects the whole run, for example a missing package.
    """
    episode = Episode(task, source, environment.prompt if prompt is None else prompt)
    try:
        episode.tools = read_tools(environment)
        episode.observation = begin_task(environment, task)
    except Exception as error:
        if concerns_run(error):
            raise
        episode.break_off(error)
    for response in responses:
        if episode.over:
            break
        try:
            result = take_step(environment, response)
        except Exception as error:
            episode.break_off(error, response)
        else:
            episode.add_step(response, result)
    return episode


def concerns_run(error: Exception) -> bool:
    """Whether an error of a world must end the whole run, for example a missing package."""
    is_of_run = isinstance(error, AtlasError) and not isinstance(error, EpisodeError)
    return is_of_run or isinstance(error, ImportError)


def trajectory_id(task: Task, source: Source) -> str:
    """The id: task, player and, if there is one, seed: `babyai/GoToLocal/7/expert-0`."""
    seed = source.details.get("seed")
    return f"{task.id}/{source.name}" + (f"-{seed}" if seed is not None else "")
