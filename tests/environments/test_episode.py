"""One episode as data: whatever the environment or the player does, a trajectory comes out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from atlas.environments.base import ExpertTurn, StepResult
from atlas.environments.episode import Episode, run_episode, trajectory_id
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Annotation, Message, Source, Task

TASK = Task(id="count/3", environment="count", seed=3)
SOURCE = Source(name="player")


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


class Count:
    """Say "stop" after the right number of steps; "crash" breaks it, "wrong" ends it, the fifth step is the last."""

    name = "count"
    prompt = (Message(role="system", content="Count."),)

    def __init__(self, broken: Exception | None = None) -> None:
        self.num_turns = 0
        self.broken = broken

    def tasks(self, split: str, num_tasks: int, seed: int) -> Sequence[Task]:
        return [TASK]

    def reset(self, task: Task) -> tuple[Message, ...]:
        if self.broken:
            raise self.broken
        self.num_turns = 0
        return user("Begin.")

    def step(self, response: str) -> StepResult:
        self.num_turns += 1
        if response == "crash":
            raise ValueError("out of numbers")
        success = response == "stop"
        score = 1.0 if success else 0.0
        over = success or response == "wrong"
        return StepResult(
            user(f"{self.num_turns}"),
            score,
            over,
            not over and self.num_turns == 5,
            success,
            score,
            action=response,
        )

    def close(self) -> None: ...


def play(*responses: str) -> tuple[str, float | None, int]:
    script = iter(responses)
    trajectory = run_episode(Count(), TASK, lambda _: next(script), SOURCE)
    return trajectory.outcome.status, trajectory.outcome.score, len(trajectory.steps)


def test_success_failure_and_truncation_are_told_apart() -> None:
    assert play("on", "stop") == ("success", 1.0, 2)
    assert play("on", "on", "wrong") == ("failure", 0.0, 3)
    assert play("on", "on", "on", "on", "on") == ("truncated", 0.0, 5)


def test_a_crash_of_the_environment_is_an_error_without_a_score() -> None:
    trajectory = run_episode(
        Count(), TASK, lambda messages: "crash" if len(messages) > 2 else "on", SOURCE
    )
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("error", None)
    assert trajectory.outcome.reason == "ValueError: out of numbers"
    assert [step.response.content for step in trajectory.steps] == ["on", "crash"]


def test_a_reset_that_breaks_is_an_error_with_no_steps() -> None:
    trajectory = run_episode(Count(EpisodeError("no such level")), TASK, lambda _: "on", SOURCE)
    assert trajectory.outcome.reason == "no such level"
    assert trajectory.steps == ()


def test_a_missing_package_is_no_episode() -> None:
    with pytest.raises(DependencyError):
        run_episode(Count(DependencyError("minigrid", "babyai")), TASK, lambda _: "on", SOURCE)


def test_a_player_that_breaks_ends_the_episode_as_an_error() -> None:
    def respond(messages: tuple[Message, ...]) -> str:
        raise EpisodeError("lost")

    assert run_episode(Count(), TASK, respond, SOURCE).outcome.status == "error"


def test_the_player_sees_the_whole_conversation_and_the_record_holds_it() -> None:
    seen: list[tuple[Message, ...]] = []
    script = iter(["on", "stop"])

    def respond(messages: tuple[Message, ...]) -> str:
        seen.append(messages)
        return next(script)

    trajectory = run_episode(Count(), TASK, respond, SOURCE)
    assert [[message.content for message in messages] for messages in seen] == [
        ["Count.", "Begin."],
        ["Count.", "Begin.", "on", "1"],
    ]
    assert [message.content for message in trajectory.messages] == [
        "Count.",
        "Begin.",
        "on",
        "1",
        "stop",
    ]
    assert trajectory.final_observation == user("2")
    assert [step.action for step in trajectory.steps] == ["on", "stop"]


def test_an_experts_labels_stay_with_their_step() -> None:
    label = Annotation(kinds=("critical_action",), score=1.0)
    trajectory = run_episode(Count(), TASK, lambda _: ExpertTurn("stop", label), SOURCE)
    assert trajectory.steps[0].annotation == label


def test_an_episode_may_be_truncated_from_outside() -> None:
    episode = Episode(Count(), SOURCE)
    episode.start(TASK)
    episode.advance("on")
    episode.truncate("no room left")
    assert episode.over
    assert (episode.trajectory.outcome.status, episode.trajectory.outcome.reason) == (
        "truncated",
        "no room left",
    )
    assert episode.trajectory.final_observation == user("1")


def test_ids_name_the_task_the_player_and_its_seed() -> None:
    assert trajectory_id(TASK, SOURCE) == "count/3/player"
    assert trajectory_id(TASK, Source(name="expert", details={"seed": 7})) == "count/3/expert-7"
