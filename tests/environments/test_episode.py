"""One episode as data: whatever the environment or the player does, a trajectory comes out."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from atlas.environments.base import StepResult
from atlas.environments.episode import Episode, start_episode, trajectory_id
from atlas.errors import DependencyError, EpisodeError
from atlas.records import Annotation, Message, Source, Task
from tests.environments.push import assistant, user

TASK = Task(id="count/3", environment="count", seed=3)
SOURCE = Source(name="player")


class Count:
    """Say "stop" after the right number of steps; "crash" breaks it, "wrong" ends it.

    The fifth step is the last.
    """

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

    def step(self, response: Message) -> StepResult:
        self.num_turns += 1
        if response.content == "crash":
            raise ValueError("out of numbers")
        success = response.content == "stop"
        over = success or response.content == "wrong"
        return StepResult(
            user(f"{self.num_turns}"),
            float(success),
            over,
            not over and self.num_turns == 5,
            success,
            float(success),
            action=response.content,
            is_invalid=response.content == "nonsense",
        )

    def close(self) -> None: ...


def replay(*responses: str, broken: Exception | None = None) -> Episode:
    return start_episode(Count(broken), TASK, SOURCE, responses=[*map(assistant, responses)])


def end_of(*responses: str) -> tuple[str, float | None, int]:
    trajectory = replay(*responses).trajectory
    return trajectory.outcome.status, trajectory.outcome.score, len(trajectory.steps)


def test_success_failure_and_truncation_are_told_apart() -> None:
    assert end_of("on", "stop") == ("success", 1.0, 2)
    assert end_of("on", "on", "wrong") == ("failure", 0.0, 3)
    assert end_of("on", "on", "on", "on", "on") == ("truncated", 0.0, 5)


def test_a_crash_of_the_environment_is_an_error_without_a_score() -> None:
    trajectory = replay("on", "crash", "on").trajectory
    assert (trajectory.outcome.status, trajectory.outcome.score) == ("error", None)
    assert trajectory.outcome.reason == "ValueError: out of numbers"
    assert [step.response.content for step in trajectory.steps] == ["on", "crash"]


def test_a_reset_that_breaks_is_an_error_with_no_steps() -> None:
    trajectory = replay("on", broken=EpisodeError("no such level")).trajectory
    assert trajectory.outcome.reason == "no such level"
    assert trajectory.steps == ()


def test_a_missing_package_is_not_an_episode() -> None:
    with pytest.raises(DependencyError):
        replay("on", broken=DependencyError("minigrid", "babyai"))


def test_a_player_that_breaks_ends_the_episode_as_an_error_in_a_world_that_is_not_broken() -> None:
    episode = replay("on")
    episode.fail("lost")
    assert (episode.trajectory.outcome.status, episode.is_broken) == ("error", False)


def test_the_record_holds_the_whole_conversation() -> None:
    episode = replay("on")
    assert [message.content for message in episode.messages] == ["Count.", "Begin.", "on", "1"]
    trajectory = replay("on", "stop").trajectory
    contents = [message.content for message in trajectory.messages]
    assert contents == ["Count.", "Begin.", "on", "1", "stop"]
    assert trajectory.final_observation == user("2")
    assert [step.action for step in trajectory.steps] == ["on", "stop"]


def test_what_the_environment_calls_invalid_is_a_flag_of_the_step() -> None:
    steps = replay("nonsense", "on", "crash").trajectory.steps
    assert [step.is_invalid for step in steps] == [True, False, None]


def test_an_experts_labels_stay_with_their_step() -> None:
    label = Annotation(kinds=("critical_action",), score=1.0)
    episode = replay()
    response = assistant("stop")
    episode.add_step(response, Count().step(response), label)
    assert episode.trajectory.steps[0].annotation == label


def test_an_episode_may_be_truncated_from_outside() -> None:
    episode = replay("on")
    episode.truncate("no room left")
    outcome = episode.trajectory.outcome
    assert episode.over
    assert (outcome.status, outcome.reason) == ("truncated", "no room left")
    assert episode.trajectory.final_observation == user("1")


def test_ids_name_the_task_the_player_and_its_seed() -> None:
    assert trajectory_id(TASK, SOURCE) == "count/3/player"
    assert trajectory_id(TASK, Source(name="expert", details={"seed": 7})) == "count/3/expert-7"
