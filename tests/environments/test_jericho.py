"""Jericho plays story files of the user; here these are games that textworld compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.environments.jericho.config import JerichoConfig
from atlas.environments.jericho.environment import JerichoEnvironment
from atlas.environments.react import react_message
from atlas.errors import ConfigError, EpisodeError
from tests.environments import needs


@pytest.fixture(scope="module")
def games() -> Iterator[Path]:
    with needs.stories() as settings:
        yield Path(settings["games"])


def test_a_story_is_won_by_its_walkthrough(games: Path) -> None:
    world = JerichoEnvironment(JerichoConfig(games=games))
    for split in ("train", "held_out_test"):
        task = world.tasks(split, 1, 0)[0]
        world.reset(task)
        expert = world.expert(0)
        result = world.step(expert.respond().response)
        while not result.terminated:
            assert result.score == 0
            result = world.step(expert.respond().response)
        assert (result.success, result.score) == (True, 1.0)
    world.close()


def test_one_file_is_enough_and_its_other_tasks_have_other_seeds(games: Path) -> None:
    story = sorted(games.glob("*.z8"))[0]
    world = JerichoEnvironment(JerichoConfig(games=story))
    split = "train" if _holds(world, "train") else "held_out_test"
    tasks = world.tasks(split, 3, 1)
    assert [task.group for task in tasks] == [story.stem] * 3
    assert len({task.seed for task in tasks}) == 3
    assert tasks[0].seed == 0


def test_paper_test_is_every_story_once_with_its_own_seed(games: Path) -> None:
    world = JerichoEnvironment(JerichoConfig(games=games))
    stories = sorted(path.stem for path in games.glob("*.z8"))
    tasks = world.tasks("paper_test", len(stories), 3)
    assert [(task.group, task.seed) for task in tasks] == [(name, 0) for name in stories]
    with pytest.raises(ConfigError, match=f"holds {len(stories)}"):
        world.tasks("paper_test", len(stories) + 1, 0)
    world.close()


def test_commands_to_the_program_are_refused(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    world = JerichoEnvironment(JerichoConfig(games=games))
    world.reset(world.tasks("train", 1, 0)[0])
    for action in ("quit", "restart", "save", "look. save", "save. look", "look then quit"):
        result = world.step(react_message("", action))
        assert result.is_invalid
        assert not result.terminated
    assert not world.step(react_message("", "look")).is_invalid
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", ["text", "empty", "cut"])
def test_a_broken_story_is_an_error_and_not_the_end_of_the_program(
    games: Path, tmp_path: Path, fault: str
) -> None:
    whole = sorted(games.glob("*.z8"))[0].read_bytes()
    contents = {"text": b"no story\n" * 50, "empty": b"", "cut": whole[:5000]}
    (tmp_path / "broken.z8").write_bytes(contents[fault])
    with pytest.raises(ConfigError, match=r"broken\.z8.*is not a whole story file"):
        JerichoEnvironment(JerichoConfig(games=tmp_path))


def test_stories_of_one_name_are_not_mixed_up(games: Path, tmp_path: Path) -> None:
    story = sorted(games.glob("*.z8"))[0].read_bytes()
    for name in ("same.z5", "same.z8"):
        (tmp_path / name).write_bytes(story)
    with pytest.raises(ConfigError, match=r"same\.z5.*same\.z8"):
        JerichoEnvironment(JerichoConfig(games=tmp_path))


def test_a_story_without_walkthrough_has_no_expert(games: Path, tmp_path: Path) -> None:
    story = sorted(games.glob("*.z8"))[0]
    (tmp_path / "plain.z8").write_bytes(story.read_bytes())
    world = JerichoEnvironment(JerichoConfig(games=tmp_path))
    split = "train" if _holds(world, "train") else "held_out_test"
    world.reset(world.tasks(split, 1, 0)[0])
    with pytest.raises(EpisodeError, match=r"plain\.walkthrough\.txt"):
        world.expert(0)


def test_missing_story_files_say_what_is_expected(games: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="games="):
        JerichoEnvironment(JerichoConfig())
    with pytest.raises(ConfigError, match=r"\.z3 to \.z8"):
        JerichoEnvironment(JerichoConfig(games=tmp_path))


def _holds(world: JerichoEnvironment, split: str) -> bool:
    try:
        return bool(world.tasks(split, 1, 0))
    except ConfigError:
        return False
