"""TextWorld-Express: tasks told apart by content, ends that stay, experts that search honestly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from atlas.environments.base import Environment, StepResult
from atlas.environments.experts import stream
from atlas.environments.java.simulators import Simulator
from atlas.environments.textworld_express import tasks as express_tasks
from atlas.environments.textworld_express.config import GAMES, PRESETS, Game, written
from atlas.environments.textworld_express.environment import TextWorldExpressEnvironment
from atlas.environments.textworld_express.game import (
    PROGRAM,
    ExpressGame,
    GameState,
    NoSuchGameError,
)
from atlas.environments.textworld_express.knowledge import ExpressKnowledge
from atlas.environments.textworld_express.room_text import read_list, read_room
from atlas.environments.textworld_express.solvers.puzzles import ArithmeticSolver, SortingSolver
from atlas.environments.textworld_express.solvers.solve import solve
from atlas.errors import ConfigError, DependencyError, EpisodeError
from atlas.records import Task
from tests.environments.java_worlds import act, make_world, require

KITCHEN = (
    "You are in the kitchen. In one part of the room you see a stove. There is also an open fridge,"
    " that contains a pork chop. You also see a counter that has a raw red potato, and a cookbook"
    " on it. In another part of the room you see a table, that has nothing on it. In one part of"
    " the room you see a trash can that is closed.\n"
    "Through an open plain door, to the South you see the backyard. To the West you see a closed"
    " wood door. To the North you see the pantry."
)


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[None]:
    """Keeps the Java process alive between tests."""
    try:
        PROGRAM.check()
    except DependencyError:
        yield
        return
    keeper = Simulator(PROGRAM)
    yield
    keeper.close()


def play_expert(environment: Environment, task: Task, seed: int) -> StepResult:
    environment.reset(task)
    expert = environment.expert(seed)  # type: ignore[attr-defined]
    while True:
        result = environment.step(expert.respond().response)
        if result.terminated or result.truncated:
            return result


def test_a_room_is_read_from_its_description() -> None:
    room = read_room(KITCHEN)
    assert room is not None
    assert room.name == "kitchen"
    assert room.floor == ["stove"]
    assert dict(room.things) == {
        "stove": None,
        "pork chop": "fridge",
        "raw red potato": "counter",
        "cookbook": "counter",
    }
    assert {name for name, place in room.places.items() if place.is_closed} == {"trash can"}
    exits = {way: (exit_.is_closed, exit_.room) for way, exit_ in room.exits.items()}
    assert exits == {
        "south": (False, "backyard"),
        "west": (True, None),
        "north": (False, "pantry"),
    }
    assert read_room("You take the coin.") is None
    assert read_list("3ml of brass, 18l of oak, and 2l of wood.") == [
        "3ml of brass",
        "18l of oak",
        "2l of wood",
    ]


def known(text: str, *actions: str) -> ExpressKnowledge:
    state = GameState(text, tuple(sorted(actions)), 0.0, is_won=False, is_lost=False)
    knowledge = ExpressKnowledge("")
    knowledge.see("read math problem", state)
    return knowledge


def test_quantities_are_compared_in_one_unit() -> None:
    things = ("45l of metal", "3ml of brass", "6l of wood", "18ml of oak")
    solver = SortingSolver(known("", *(f"take {name}" for name in things)), stream("x"))
    assert solver.order() == ["3ml of brass", "18ml of oak", "6l of wood", "45l of metal"]


@pytest.mark.parametrize(
    ("problem", "answer"),
    [("add 3 and 31", 34), ("subtract 6 from 31", 25), ("multiply 4 and 5", 20),
     ("divide 48 by 4", 12)],
)  # fmt: skip
def test_problems_are_calculated(problem: str, answer: int) -> None:
    solver = ArithmeticSolver(known(f"Your task is to solve: {problem} . Then"), stream("x"))
    assert solver.answer() == answer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"games": ["coin", "twc"]}, "'twc' is in games and in held_out_games"),
        ({"games": ["coin", "coin"]}, "games has a game twice"),
        ({"games": ["chess"]}, "chess"),
        ({"parameters": {"coin": {"rooms": 3}}}, r"parameters\.coin has no 'rooms'"),
        ({"parameters": {"coin": {"numLocations": 99}}}, "is 99, expected 1 to 11"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TextWorldExpressEnvironment.Config.model_validate(settings)


def test_the_same_games_at_another_size_may_be_held_out() -> None:
    environment = make_world(
        "textworld-express",
        games=["coin"],
        held_out_games=["coin"],
        held_out_difficulty="medium",
    )
    [train] = environment.tasks("train", 1, 0)
    [test] = environment.tasks("held_out_test", 1, 0)
    assert "numLocations=5" in train.id
    assert "numLocations=7" in test.id
    environment.close()


@pytest.mark.parametrize("game", GAMES)
def test_the_expert_wins_every_game_at_small_and_large_sizes(game: Game) -> None:
    for difficulty in ("easy", "hard"):
        environment = make_world(
            "textworld-express",
            games=[game],
            held_out_games=[],
            difficulty=difficulty,
            max_steps=100,
        )
        for task in environment.tasks("train", 2, 0):
            result = play_expert(environment, task, 2)
            assert result.success, task
            assert result.score == 1
        environment.close()


def test_tasks_of_a_split_are_different_and_no_test_task_is_a_training_task() -> None:
    require(PROGRAM)
    environment = make_world("textworld-express", games=["coin"], held_out_games=[])
    played = ExpressGame()
    parameters = written(PRESETS["easy"]["coin"])

    def contents(split: str, fold: str, number: int) -> list[tuple[str, str]]:
        found = []
        for task in environment.tasks(split, number, 0):
            assert task.seed is not None
            text = played.start("coin", ",".join(sorted(parameters.split(","))), fold, task.seed)
            found.append((text.text, solve("coin", played)))
        return found

    train = contents("train", "train", 60)
    test = contents("held_in_test", "test", 30)
    assert len(set(train)) == len(train)
    assert len(set(test)) == len(test)
    assert not set(train) & set(test)
    played.close()
    environment.close()


def test_a_simulator_that_breaks_on_the_way_changes_no_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world("textworld-express", games=["coin"], held_out_games=[])
    expected = world.tasks("train", 12, 5)
    monkeypatch.setattr(express_tasks, "_walks", {})
    start, num_starts = ExpressGame.start, 0

    def break_now_and_then(self: ExpressGame, *place: Any) -> GameState:
        nonlocal num_starts
        num_starts += 1
        if num_starts in {3, 8}:
            raise EpisodeError("the Java process ended")
        return start(self, *place)

    monkeypatch.setattr(ExpressGame, "start", break_now_and_then)
    found = None
    for _ in range(3):
        with suppress(EpisodeError):
            found = world.tasks("train", 12, 5)
    assert num_starts > 8
    assert found == expected
    world.close()


def test_seeds_without_a_map_are_left_out_of_the_tasks() -> None:
    require(PROGRAM)
    parameters = {"numLocations": 6, "maxDistanceApart": 4}
    environment = make_world(
        "textworld-express",
        games=["mapreader"],
        held_out_games=[],
        parameters={"mapreader": parameters},
    )
    taken = {task.seed for task in environment.tasks("train", 60, 0)}
    sizes = environment._config.sizes("mapreader", "easy")  # type: ignore[attr-defined]
    played = ExpressGame()
    missing = set()
    for seed in range(60):
        try:
            played.start("mapreader", written(sizes), "train", seed)
        except NoSuchGameError:
            missing.add(seed)
    assert missing
    assert not taken & missing
    # The simulator plays on after such a seed.
    assert played.start("mapreader", written(sizes), "train", min(taken, key=str)).text  # type: ignore[arg-type]
    played.close()
    environment.close()


def test_a_thing_that_was_seen_is_found_again_after_a_detour() -> None:
    environment = make_world("textworld-express", games=["coin"], held_out_games=[], max_steps=80)
    for task in environment.tasks("train", 20, 0):
        for seed in range(3):
            assert play_expert(environment, task, seed).success
    environment.close()


def test_a_game_that_was_won_or_lost_is_over() -> None:
    environment = make_world(
        "textworld-express", games=["peckingorder"], held_out_games=[], show_actions=True
    )
    [task] = environment.tasks("train", 1, 0)
    assert play_expert(environment, task, 0).success
    with pytest.raises(EpisodeError, match="the episode is over"):
        environment.step(act("take apple"))
    [shown] = environment.reset(task)
    assert "Possible actions: inventory, look around" in shown.content
    asked = environment.step(act("read instructions book")).observation[0].content
    asked = asked.partition("\n")[0]
    things = shown.content.partition("Possible actions:")[2].strip(" .").split(", ")
    wrong = next(
        action
        for action in things
        if action.startswith("take ") and action.removeprefix("take ") not in asked
    )
    lost = environment.step(act(wrong))
    assert (lost.terminated, lost.success, lost.score, lost.truncated) == (True, False, 0, False)
    environment.close()


def test_what_the_rules_do_not_allow_now_is_flagged() -> None:
    environment = make_world("textworld-express", games=["coin"], held_out_games=[])
    for task in environment.tasks("train", 20, 0):
        text = environment.reset(task)[0].content
        if "To the West you see a closed" in text:
            break
    closed = environment.step(act("move west"))
    assert closed.is_invalid
    assert "the door is closed" in closed.observation[0].content
    assert not environment.step(act("Open  Door to WEST")).is_invalid
    assert environment.step(act("open door to west")).is_invalid
    assert not environment.step(act("move west")).is_invalid
    assert environment.step(act("take the moon")).is_invalid
    environment.close()


def test_a_task_of_another_world_is_an_error_that_says_so() -> None:
    environment = make_world("textworld-express", games=["arithmetic"], held_out_games=[])
    with pytest.raises(EpisodeError, match=r"'babyai/x/1' .* is not a task of textworld-express"):
        environment.reset(Task(id="babyai/x/1", environment="babyai"))
    with pytest.raises(ConfigError, match="which holds"):
        environment.tasks("train", 1001, 0)
    environment.close()
