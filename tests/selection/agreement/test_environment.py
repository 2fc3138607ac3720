"""What a response does in the toy environments, compared with what the expert's did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from atlas.environments.base import ENVIRONMENTS
from atlas.environments.episode import start_episode
from atlas.records import Message, Source, Task, ToolCall, Trajectory
from atlas.selection.agreement.base import AGREEMENT, Verdict
from tests.environments.push import (
    PushEnvironment,
    ToolPushConfig,
    ToolPushEnvironment,
    assistant,
    make_push,
    pushed,
    user,
)
from tests.selection.configs import context_of, select_config


@pytest.fixture(autouse=True)
def _toy_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "push", "tests.environments.push:PushEnvironment")
    monkeypatch.setitem(ENVIRONMENTS, "tool-push", "tests.environments.push:ToolPushEnvironment")


@pytest.fixture
def agreement() -> Iterator[Any]:
    config = select_config("pivot", model="m", agreement="environment")
    made: Any = AGREEMENT.make(config.selector.settings.agreement, context_of(config))
    yield made
    for worlds in made._worlds.values():
        worlds.close()


def door(num_steps: int = 4) -> Trajectory:
    return pushed(num_steps, Task(id="push/0", environment="push", seed=4)).trajectory


def compare(agreement: Any, trajectory: Trajectory, step: int, *texts: str) -> list[Verdict]:
    assert agreement.problem(trajectory) is None
    found: list[Verdict] = agreement.compare(trajectory, step, list(map(assistant, texts)))
    return found


def test_the_same_result_agrees_and_another_observation_does_not(agreement: Any) -> None:
    found = compare(agreement, door(), 1, "push", "wait", "push")
    assert found == [Verdict(True), Verdict(False, "the observation differs"), Verdict(True)]


def test_the_last_step_of_an_episode_is_compared_with_its_end(agreement: Any) -> None:
    assert [one.agrees for one in compare(agreement, door(), 3, "wait", "push")] == [False, True]


def test_a_trajectory_of_one_step_and_an_unfinished_one_are_compared(agreement: Any) -> None:
    assert [one.agrees for one in compare(agreement, door(1), 0, "push", "wait")] == [True, False]
    assert [one.agrees for one in compare(agreement, door(2), 1, "push", "wait")] == [True, False]


def test_an_impossible_action_does_not_agree_with_a_possible_one_of_the_same_sight(
    agreement: Any,
) -> None:
    # The expert waits: the door is as after an impossible action.
    task = Task(id="push/0", environment="push", seed=4)
    waited = start_episode(make_push(), task, Source(name="test"), None, [assistant("wait")])
    found = compare(agreement, waited.trajectory, 0, "sing", "wait")
    assert found == [Verdict(False, "whether the action was possible differs"), Verdict(True)]


def test_a_response_that_breaks_the_environment_says_nothing(agreement: Any) -> None:
    broken, pushes = compare(agreement, door(), 1, "crash", "push")
    assert broken.agrees is None
    assert "the floor gave way" in str(broken.reason)
    assert pushes.agrees is True


def test_the_ids_of_calls_do_not_matter(agreement: Any) -> None:
    def push(id_: str, arguments: str = '{"force": 1}') -> Message:
        call = ToolCall(id=id_, name="push", arguments=arguments)
        return Message(role="assistant", tool_calls=(call,))

    task = Task(id="tool-push/0", environment="tool-push", seed=2)
    world = ToolPushEnvironment(ToolPushConfig())
    played = start_episode(world, task, Source(name="test"), None, [push("a"), push("b")])
    assert agreement.problem(played.trajectory) is None
    samples = [push("other"), push("a", '{"force": 7}'), push("a", "{}"), assistant("push")]
    found = agreement.compare(played.trajectory, 0, samples)
    assert [one.agrees for one in found] == [True, True, False, False]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"environment": "unknown"}, "'unknown' cannot be played here"),
        ({"seed": 2}, "its replay was over after 2 of 4 steps"),
    ],
)
def test_what_cannot_be_replayed_is_said_before_anything_is_sampled(
    agreement: Any, changed: dict[str, Any], reason: str
) -> None:
    trajectory = door()
    task = trajectory.task.model_copy(update=changed)
    assert reason in agreement.problem(trajectory.model_copy(update={"task": task}))


class ForgetfulPush(PushEnvironment):
    """An environment that is not deterministic: it shows something else in later episodes."""

    num_episodes = 0

    def reset(self, task: Task) -> tuple[Message, ...]:
        type(self).num_episodes += 1
        seen = super().reset(task)
        # The first episode is the check of the whole trajectory.
        return seen if self.num_episodes == 1 else user("You see a wall.")


def test_a_replay_that_differs_before_the_step_says_nothing(
    monkeypatch: pytest.MonkeyPatch, agreement: Any
) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "push", f"{__name__}:ForgetfulPush")
    monkeypatch.setattr(ForgetfulPush, "num_episodes", 0)
    [verdict] = compare(agreement, door(), 2, "push")
    assert verdict.agrees is None
    assert "something else before the step" in str(verdict.reason)
