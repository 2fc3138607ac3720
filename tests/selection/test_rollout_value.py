"""Value jumps of a scripted player in the smallest environment, and what is a problem instead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas.environments.base import ENVIRONMENTS
from atlas.models.players import PLAYER, PlayerAnswer
from atlas.records import Message, Problem, Task, Trajectory
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.base import Scores
from tests.environments.players import NOTHING, RoundPlayer
from tests.environments.push import assistant
from tests.environments.push import pushed as push_door
from tests.run_folders import write_trajectories
from tests.selection.configs import new_selector, select_config


def pushed(num_steps: int, name: str = "t", num_needed: int = 4) -> Trajectory:
    """An expert's episode, as far as `num_steps`; the door opens after four pushes."""
    task = Task(id=f"push/{name}", environment="push", seed=num_needed)
    prompt = (Message(role="system", content="As it was recorded."),)
    return push_door(num_steps, task, prompt).trajectory.model_copy(update={"id": name})


class Script(RoundPlayer):
    """Says what its table says for (state, rollout), "push" where it says nothing."""

    def __init__(self, table: Mapping[tuple[int, int], str], no_room: bool = False) -> None:
        super().__init__()
        self.table = table
        self.no_room = no_room

    def answer(self, name: str) -> PlayerAnswer:
        if self.no_room:
            return PlayerAnswer(NOTHING, "no_room", "no room left")
        _, state, rollout = name.split(" ")
        return PlayerAnswer(assistant(self.table.get((int(state), int(rollout)), "push")))

    @property
    def opened(self) -> dict[str, Sequence[Message]]:
        """The first messages of each conversation."""
        return {name: heard[0] for name, heard in self.heard.items()}


@pytest.fixture(autouse=True)
def _toy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "push", "tests.environments.push:PushEnvironment")


def score(
    trajectory: Trajectory,
    player: Script,
    monkeypatch: pytest.MonkeyPatch,
    number: int = 2,
    batch_size: int = 64,
    environment: Mapping[str, Any] | None = None,
) -> Scores | Problem:
    monkeypatch.setattr(PLAYER, "make", lambda *_: player)
    selector = new_selector(
        select_config(
            "rollout-value",
            model="m",
            num_rollouts=number,
            batch_size=batch_size,
            environment=environment,
        )
    )
    result: Scores | Problem = selector.score(trajectory)
    asyncio.run(selector.close())
    return result


# V = 0, 0, 1/2, 1, …
WAITS = {(0, 0): "wait", (0, 1): "wait", (1, 0): "wait", (1, 1): "wait", (2, 0): "wait"}


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_step_scores_the_jump_of_the_value_that_it_makes(
    monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    assert score(pushed(4), Script(WAITS), monkeypatch, batch_size=batch_size) == [
        0.0,
        0.5,
        0.5,
        0.0,
    ]


def test_an_episode_that_is_over_is_worth_its_end_and_is_not_played_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    player = Script({(state, rollout): "wait" for state in range(5) for rollout in range(2)})
    assert score(pushed(4), player, monkeypatch) == [0.0, 0.0, 0.0, 1.0]
    assert max(int(name.split(" ")[1]) for name in player.opened) == 3
    lost = pushed(6, num_needed=7)
    assert lost.outcome.status == "truncated"
    assert score(lost, Script({}), monkeypatch) == [0.0] * 6


def test_an_unfinished_trajectory_is_played_on_from_its_last_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert score(pushed(2), Script(WAITS), monkeypatch) == [0.0, 0.5]


def test_a_rollout_is_told_the_recorded_history_and_has_the_turns_that_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    player, trajectory = Script({}), pushed(4)
    score(trajectory, player, monkeypatch)
    for name, opened in player.opened.items():
        state = int(name.split(" ")[1])
        *history, newest = opened
        assert tuple(history) == (
            *trajectory.prompt,
            *(m for s in trajectory.steps[:state] for m in (*s.observation, s.response)),
        )
        assert (newest,) == trajectory.steps[state].observation


def test_a_rollout_that_broke_is_left_out_of_the_value_and_not_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert score(pushed(4), Script({(0, 0): "crash", (1, 1): "wait"}), monkeypatch) == [
        -0.5,
        0.5,
        0.0,
        0.0,
    ]
    broken = score(pushed(4), Script({(1, 0): "crash", (1, 1): "crash"}), monkeypatch)
    assert isinstance(broken, Problem)
    assert broken.reason == "all 2 rollouts after step 0 broke; the last: the floor gave way"


def test_a_rollout_without_room_to_answer_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert score(pushed(4), Script({}, no_room=True), monkeypatch) == [0.0, 0.0, 0.0, 1.0]


OUTSIDE = "tests.environments.push:PushEnvironment"


def test_an_outside_environment_is_played_with_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreign = pushed(4)
    foreign = foreign.model_copy(
        update={"task": foreign.task.model_copy(update={"environment": "far/away"})}
    )
    assert isinstance(score(foreign, Script({}), monkeypatch), Problem)
    monkeypatch.delitem(ENVIRONMENTS, "push")
    assert score(foreign, Script(WAITS), monkeypatch, environment={"name": OUTSIDE}) == [
        0.0,
        0.5,
        0.5,
        0.0,
    ]
    short = score(foreign, Script({}), monkeypatch, environment={"name": OUTSIDE, "max_steps": 3})
    assert isinstance(short, Problem)
    assert "its replay was over after 3 of 4 steps" in short.reason


def changed(trajectory: Trajectory, index: int) -> Trajectory:
    steps = list(trajectory.steps)
    steps[index] = steps[index].model_copy(
        update={"observation": (Message(role="user", content="You see a window."),)}
    )
    return trajectory.model_copy(update={"steps": tuple(steps)})


@pytest.mark.parametrize(
    ("trajectory", "reason"),
    [
        (
            changed(pushed(4), 0),
            "its replay differs before step 0: "
            "'You see a door.' was seen, 'You see a window.' is recorded",
        ),
        (changed(pushed(4), 2), "its replay differs before step 2"),
        (
            pushed(4).model_copy(
                update={"final_observation": (Message(role="user", content="Bravo"),)}
            ),
            "its replay differs at the end",
        ),
        (
            pushed(4).model_copy(update={"task": Task(id="x", environment="chess")}),
            "environment 'chess' cannot be played here. Known: agentgym, ",
        ),
        (
            pushed(4).model_copy(update={"task": Task(id="x", environment="push")}),
            "its replay broke: AssertionError",
        ),
        (
            pushed(4).model_copy(update={"task": Task(id="x", environment="push", seed=2)}),
            "its replay was over after 2 of 4 steps",
        ),
    ],
)
def test_what_cannot_be_replayed_as_it_was_is_a_problem(
    trajectory: Trajectory, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Script({})
    result = score(trajectory, player, monkeypatch)
    assert isinstance(result, Problem)
    assert reason in result.reason
    assert not player.opened, "nothing is played before the replay is right"


def test_a_real_model_plays_the_same_by_its_seed_and_the_price_is_said_before(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_trajectories(tmp_path / "run", [pushed(4, "a"), pushed(2, "b"), pushed(0, "c")])
    config = select_config(
        "rollout-value",
        model=str(tiny_model_folder),
        num_rollouts=2,
        max_new_tokens=4,
        max_context=400,
    )
    manifests = [select_steps(config, run, tmp_path / name) for name in ("one", "two")]
    assert manifests[0].outputs == manifests[1].outputs
    assert manifests[0].summary["problems"] == 0
    assert "up to 18 episodes" in capsys.readouterr().err
