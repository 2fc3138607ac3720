"""TextWorld's games are made once, read well, and are told apart by content."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atlas.environments.react import react_message
from atlas.environments.story_text import (
    single_commands,
    story_command,
    story_words,
    unknown_stories_allowed,
)
from atlas.environments.textworld.config import TextWorldConfig
from atlas.environments.textworld.environment import TextWorldEnvironment
from atlas.errors import ConfigError, DependencyError
from atlas.extras import require_extras
from atlas.records import Message


def test_commands_are_plain_and_do_not_steer_the_program() -> None:
    assert story_command("Go  North\x00") == "go north"
    # Some stories have menus.
    assert story_command("3") == "3"
    for action in ("quit", "RESTART now", "undo", "", "\x00", "?!"):
        assert story_command(action) is None


@pytest.mark.parametrize(
    "action",
    [
        "save. look",
        "look. save",
        "look then quit",
        "take all and save",
        "robot, undo",
        "oops save",
        "tw-extra-infos score",
        "$verify",
        "go north. go north",
        "look then go north",
    ],
)
def test_a_command_within_a_line_does_not_reach_the_program(action: str) -> None:
    assert story_command(action) is None


def test_one_command_may_have_a_dot_and_an_order_several_parts() -> None:
    assert story_command("Go north.") == "go north"
    assert story_command("turtle, se and get scroll then nw") is not None
    assert single_commands("open box then get cube. N") == ["open box", "get cube", "N"]


def test_the_prompt_and_the_status_line_are_left_out() -> None:
    assert story_words("\n\n-= Attic =-\nDust.\n\n\n\n>     -= Attic =-0/4") == "-= Attic =-\nDust."


def test_threads_leave_the_filters_of_warnings_as_they_were() -> None:
    def open_story(index: int) -> None:
        with unknown_stories_allowed():
            time.sleep(0.02 * (index % 3))

    before = list(warnings.filters)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_story, range(12)))
    assert list(warnings.filters) == before


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TextWorldEnvironment:
    try:
        require_extras(("textworld",))
    except DependencyError as error:
        pytest.skip(str(error))
    return TextWorldEnvironment(TextWorldConfig(cache=tmp_path_factory.mktemp("games")))


def test_a_game_is_read_without_banner_and_prompt(world: TextWorldEnvironment) -> None:
    task = world.tasks("train", 1, 0)[0]
    [message] = world.reset(task)
    assert "-= " in message.content
    assert "$$" not in message.content
    assert ">" not in message.content
    nonsense = world.step(react_message("", "flumox the wug"))
    assert nonsense.is_invalid
    assert not world.step(react_message("", "look")).is_invalid
    assert world.step(Message(role="assistant", content="hm")).is_invalid


def test_the_expert_reads_the_recipe_before_it_cooks(world: TextWorldEnvironment) -> None:
    task = next(task for task in world.tasks("train", 6, 0) if task.group == "cooking")
    world.reset(task)
    expert = world.expert(0)
    results = [world.step(expert.respond().response)]
    while not results[-1].terminated:
        results.append(world.step(expert.respond().response))
    assert results[0].action == "examine cookbook"
    assert results[-1].success
    assert [one.score for one in results] == sorted(one.score for one in results)


def test_a_compiled_game_is_kept_whole_or_not_at_all(world: TextWorldEnvironment) -> None:
    task = world.tasks("train", 1, 0)[0]
    world.reset(task)
    folder = next(Path(world._config.cache or "").iterdir())
    made = folder / task.id.removeprefix("textworld/").replace("/", "-")
    before = (made / "game.z8").stat().st_mtime_ns
    world.reset(task)
    assert (made / "game.z8").stat().st_mtime_ns == before
    assert not [path for path in folder.iterdir() if path.name.startswith("tmp")]


def test_a_cached_text_that_is_not_whole_is_made_again(world: TextWorldEnvironment) -> None:
    [task] = tasks = world.tasks("train", 1, 0)
    folder = next(Path(world._config.cache or "").iterdir())
    file = folder / f"{task.id.removeprefix('textworld/').replace('/', '-')}.json"
    whole = file.read_text()
    for content in ("", whole[:20], '{"a": 1}'):
        file.write_text(content)
        assert world.tasks("train", 1, 0) == tasks
        assert file.read_text() == whole


def test_a_cache_that_cannot_be_written_says_what_to_set(
    world: TextWorldEnvironment, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", Path("/proc/nowhere")):
        other = TextWorldEnvironment(TextWorldConfig(cache=place))
        with pytest.raises(ConfigError, match="cache="):
            other.tasks("train", 1, 0)
