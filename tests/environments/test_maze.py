"""The maze: AgentGym's games and words, and generated mazes."""

from __future__ import annotations

import pytest

from atlas.environments.paper.maze.config import MazeConfig
from atlas.environments.paper.maze.environment import MazeEnvironment
from atlas.environments.paper.maze.grid import double_t, neighbor, search
from atlas.environments.paper.maze.tasks import STARTS, maze_of
from atlas.environments.splits import SHARES, split_of
from atlas.errors import EpisodeError
from atlas.records import Task
from tests.environments.paper_worlds import play, steps


def make(**settings: object) -> MazeEnvironment:
    return MazeEnvironment(MazeConfig(**settings))


def game(number: int) -> Task:
    return Task(id=f"lmrlgym_maze_{number}", environment="maze")


def at(place: str, walls: str) -> str:
    return f"The goal is at position 8, 6. Your current position is at position {place}. {walls}\n"


def test_the_words_are_those_of_agentgym() -> None:
    first, seen = play(make(), game(0), ["fly", "move right", "move right"])
    start = at("1, 1", "There are walls to your left, above you, below you.")
    assert first == seen[0] == start
    assert seen[1] == at("1, 2", "There are walls above you, below you.")
    assert seen[2] == at("1, 3", "There is a wall above you.")
    first, seen = play(make(), game(18), ["move down"])
    assert first == at("7, 6", "There are walls to your right, to your left.")
    assert seen == ["Success\n"]


def test_a_wall_is_an_invalid_action_and_the_limit_is_the_papers() -> None:
    environment = make()
    environment.reset(game(0))
    results = steps(environment, ["move up"] * 15)
    assert all(one.is_invalid for one in results)
    assert [one.truncated for one in results] == [False] * 14 + [True]


def test_a_game_ends_as_on_the_server_after_50_turns() -> None:
    environment = make(max_steps=100)
    environment.reset(game(0))
    *_, last, failed = steps(environment, ["move up"] * 51)
    assert not last.terminated
    assert (failed.terminated, failed.score) == (True, 0)
    assert failed.observation[0].content == "Failure\n"


def test_every_game_can_be_solved_within_the_limit() -> None:
    assert len(STARTS) == 26
    for number, start in enumerate(STARTS[:25]):
        assert len(search(double_t(start))) <= 15, number


def test_the_leak_is_reported_and_can_be_dropped() -> None:
    assert len(make().tasks("paper_test", 25, 0)) == 25
    [note] = make().notes("paper_test")
    assert "10 of the 25 tasks" in note
    kept = make(drop_leaked=True).tasks("paper_test", 15, 0)
    trained = {task.id for task in make().tasks("paper_train", 11, 0)}
    assert not {task.id for task in kept} & trained


def test_an_unknown_game_is_an_episode_error() -> None:
    with pytest.raises(EpisodeError, match="lmrlgym_maze_26"):
        make().reset(game(26))


@pytest.mark.parametrize("split", ["train", "held_in_test", "held_out_test"])
def test_a_generated_maze_is_connected_and_its_walls_agree(split: str) -> None:
    for task in make().tasks(split, 20, 0):
        maze = maze_of(task)
        assert maze.start != maze.goal
        for cell, ways in maze.ways.items():
            for way in ways:
                back = {"right": "left", "left": "right", "up": "down", "down": "up"}[way]
                assert back in maze.ways[neighbor(cell, way)]
        reached, edge = {maze.start}, [maze.start]
        while edge:
            here = edge.pop()
            new = {neighbor(here, way) for way in maze.ways[here]} - reached
            reached |= new
            edge += new
        assert reached == set(maze.ways)


def test_mazes_of_other_sizes_are_divided_by_content_too() -> None:
    for split, share in (("train", "train"), ("held_out_test", "held_in_test")):
        for task in make().tasks(split, 30, 3):
            maze = maze_of(task)
            content = f"{maze.describe(maze.start)}\n{' '.join(search(maze))}"
            assert split_of(content, SHARES) == share


def test_observations_are_worded_as_in_agenttraj_or_as_by_the_server() -> None:
    first, later = play(make(wording="server"), game(18), ["jump", "move down"])
    assert first == later[0] == at("7, 6", "There are walls to your right, to your left.").rstrip()
    assert later[1] == "Success\n"
