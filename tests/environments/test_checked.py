"""What an own environment, expert or player returns may be anything: it never ends the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from atlas.environments.base import ExpertTurn, StepResult
from atlas.environments.checked import list_tasks
from atlas.environments.expert_player import ExpertPlayer
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Limits, Worlds, ask_world
from atlas.errors import ConfigError, EpisodeError, ModelError
from atlas.kinds import Choice
from atlas.models.players import PlayerAnswer
from atlas.records import Annotation, Message, Outcome, Source, Task
from atlas.trajectories.collect_experts import CollectConfig, collect_experts
from tests.environments.players import RoundPlayer
from tests.environments.push import PushConfig, PushEnvironment, assistant, user

Change = Callable[[StepResult], Any]
HERE = "tests.environments.test_checked"
TASK = Task(id="push/0", environment="push", seed=1)
HALF = "\ud800"


class OddEnvironment(PushEnvironment):
    """Returns what the test says."""

    first: Any = user("You see a door.")
    listed: Any = (TASK,)
    tools: Any = ()
    turn: Any = ExpertTurn(assistant("push"), Annotation())

    def __init__(self, change: Change = lambda result: result, **members: Any) -> None:
        super().__init__(PushConfig())
        self.change = change
        vars(self).update(members)

    def tasks(self, split: str, num_tasks: int, seed: int) -> Any:
        return self.listed

    def reset(self, task: Task) -> Any:
        super().reset(task)
        return self.first

    def step(self, response: Message) -> Any:
        return self.change(super().step(response))

    def expert(self, seed: int) -> Any:
        return self

    def respond(self) -> Any:
        if isinstance(self.turn, Exception):
            raise self.turn
        return self.turn


def outcome(
    environment: OddEnvironment, player: Any = None, limits: Limits | None = None
) -> Outcome:
    """How the episode ended; it is a record that can be written."""
    opening = Opening("push/0", TASK, Source(name="test"))
    world: Any = environment
    with Worlds(lambda: world, size=1, limits=limits) as worlds:
        player = player(worlds) if player is ExpertPlayer else player or RoundPlayer()
        if isinstance(player, ExpertPlayer):
            seat = player.seat
            opening = replace(opening, on_start=lambda world: seat("push/0", world, 0))
        [(_, episode)] = play_episodes([opening], worlds, player)
    episode.trajectory.model_dump_json()
    return episode.trajectory.outcome


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda result: None, "step returned None, expected a StepResult"),
        (lambda result: ("seen", 1.0, True, False, {}), "expected a StepResult"),
        (lambda result: replace(result, observation="seen"), "step.observation is 'seen'"),
        (lambda result: replace(result, observation=None), "step.observation is None"),
        (lambda result: replace(result, observation=(assistant("x"),)), "of the assistant"),
        (lambda result: replace(result, observation=user(HALF)), "cannot be recorded"),
        (lambda result: replace(result, reward="much"), "step.reward is 'much'"),
        (lambda result: replace(result, score=float("nan")), "step.score is nan"),
        (lambda result: replace(result, action=3), "step.action is 3"),
    ],
)
def test_a_step_that_cannot_be_recorded_is_an_error_of_its_episode(
    change: Change, said: str
) -> None:
    ended = outcome(OddEnvironment(change))
    assert ended.status == "error"
    assert said in str(ended.reason)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("first", None),
        ("first", "seen"),
        ("first", user(HALF)),
        ("first", (assistant("x"),)),
        ("tools", "all"),
        ("tools", ({"name": object()},)),
    ],
)
def test_a_start_that_cannot_be_recorded_is_an_error_of_its_episode(
    member: str, value: Any
) -> None:
    assert outcome(OddEnvironment(**{member: value})).status == "error"


def test_numbers_of_numpy_and_messages_as_mappings_are_taken() -> None:
    def change(result: StepResult) -> StepResult:
        seen: Any = [{"role": "user", "content": "seen"}]
        return StepResult(
            observation=seen,
            reward=numpy.float32(1.0),  # type: ignore[arg-type]
            terminated=numpy.bool_(True),  # type: ignore[arg-type]
            truncated=numpy.bool_(False),  # type: ignore[arg-type]
            success=numpy.bool_(True),  # type: ignore[arg-type]
            score=numpy.float64(0.5),
            is_invalid=numpy.bool_(False),  # type: ignore[arg-type]
        )

    assert outcome(OddEnvironment(change)) == Outcome(status="success", score=0.5)


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (ValueError("lost"), "the expert raised ValueError: lost"),
        (None, "the expert returned None"),
        (ExpertTurn(assistant("push"), "critical"), "expected an ExpertTurn"),  # type: ignore[arg-type]
        (ExpertTurn(user("push")[0], Annotation()), "its role is 'user'"),
        (ExpertTurn(assistant(HALF), Annotation()), "cannot be recorded"),
    ],
)
def test_an_expert_that_breaks_costs_only_its_episode(turn: Any, said: str) -> None:
    ended = outcome(OddEnvironment(turn=turn), ExpertPlayer)
    assert ended.status == "error"
    assert said in str(ended.reason)


class Hangs:
    """An expert that never answers."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def respond(self) -> None:
        self.released.wait(60)


def test_an_expert_that_hangs_costs_only_its_episode() -> None:
    expert = Hangs()

    class World(OddEnvironment):
        def expert(self, seed: int) -> Any:
            return expert

    start = time.monotonic()
    ended = outcome(World(), ExpertPlayer, Limits(step_seconds=0.2))
    assert time.monotonic() - start < 10
    expert.released.set()
    assert ended.status == "error"
    assert ended.reason == "the expert did not answer in time (limits.step_seconds=0.2)"


@pytest.mark.parametrize("success", ["won", float("nan"), 3, None, [1]])
def test_a_success_that_is_neither_true_nor_false_breaks_the_world(success: Any) -> None:
    found = outcome(OddEnvironment(lambda result: replace(result, success=success)))
    assert found.status == "error"
    assert "step.success is" in (found.reason or "")


@pytest.mark.parametrize("score", [-0.1, 1.01, 100])
def test_a_score_outside_of_0_to_1_is_a_fault_of_the_world(score: float) -> None:
    ended = outcome(OddEnvironment(lambda result: replace(result, score=score)))
    assert ended.status == "error"
    assert "step.score is" in str(ended.reason)


def test_an_answer_that_cannot_be_recorded_is_an_error_of_its_episode() -> None:
    ended = outcome(OddEnvironment(), RoundPlayer({"push/0": HALF}))
    assert ended.status == "error"
    assert "the player's answer cannot be recorded" in str(ended.reason)


@pytest.mark.parametrize(
    "answers",
    [None, {}, {"push/1": PlayerAnswer(assistant("push"))}, {"push/0": "push"}],
    ids=["None", "no answer", "another name", "no PlayerAnswer"],
)
def test_a_player_that_does_not_answer_what_was_asked_ends_the_run(answers: Any) -> None:
    player = RoundPlayer()
    player.next_answers = lambda timeout=None: answers  # type: ignore[method-assign]
    with pytest.raises(ModelError, match="player RoundPlayer: next_answers returned"):
        outcome(OddEnvironment(), player)


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        (None, "tasks is None"),
        (["push/0"], "tasks.0 is 'push/0'"),
        ([TASK], "1 tasks with 1 different ids"),
        ([TASK, TASK], "2 tasks with 1 different ids"),
        ([TASK, TASK.model_copy(update={"id": HALF})], "cannot be recorded"),
    ],
)
def test_tasks_that_are_not_what_was_asked_for_are_named(listed: Any, said: str) -> None:
    world: Any = OddEnvironment(listed=listed)
    with pytest.raises(EpisodeError, match=said):
        list_tasks(world, "train", 2, 0)


class Unmade(PushEnvironment):
    """Cannot be made."""

    def __init__(self, config: PushConfig) -> None:
        raise OSError("the server is down")


class BrokenClose(PushEnvironment):
    """Breaks when it is closed."""

    def close(self) -> None:
        raise OSError("already closed")


class Hanging(PushEnvironment):
    """Hangs when its tasks are asked for."""

    def tasks(self, split: str, num_tasks: int, seed: int) -> Any:
        time.sleep(60)


def test_an_environment_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    config = CollectConfig(environment=Choice(f"{HERE}:Unmade"))
    with pytest.raises(
        ConfigError, match=r"Unmade' broke before .* __init__ raised OSError: the server"
    ):
        collect_experts(config, tmp_path / "run")


def test_a_world_that_is_only_asked_for_its_tasks_has_a_time_limit_and_is_closed() -> None:
    def ask(world: Any) -> Any:
        return world.tasks("train", 2, 0)

    assert len(ask_world(Choice(f"{HERE}:BrokenClose"), ask)) == 2
    with pytest.raises(ConfigError, match="did not answer in time"):
        ask_world(Choice(f"{HERE}:Hanging"), ask, Limits(step_seconds=0.1))
