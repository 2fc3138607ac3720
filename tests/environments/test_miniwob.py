"""MiniWoB++ pages are text, repeat themselves, and leave no browser behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.environments.miniwob.browser import Browser, find_browser
from atlas.environments.miniwob.config import MiniWobConfig
from atlas.environments.miniwob.environment import PAGES, MiniWobEnvironment
from atlas.environments.react import react_message
from atlas.errors import ConfigError, DependencyError, EpisodeError
from atlas.extras import require_extras
from atlas.records import Task
from tests.environments import needs


@pytest.fixture(scope="module")
def world() -> Iterator[MiniWobEnvironment]:
    try:
        require_extras(("web",))
    except DependencyError as error:
        pytest.skip(str(error))
    with needs.browser():
        environment = MiniWobEnvironment(MiniWobConfig())
        yield environment
        environment.close()


def begin(world: MiniWobEnvironment, page: str, seed: int = 7) -> str:
    task = Task(id=f"miniwob/{page}/{seed}", environment="miniwob", group=page, seed=seed)
    return world.reset(task)[0].content


def refs(world: MiniWobEnvironment, kind: str) -> list[int]:
    return [one.ref for one in world.view.elements if one.kind == kind and one.ref is not None]


@pytest.mark.parametrize("page", sorted({page for pages in PAGES.values() for page in pages}))
def test_a_page_is_the_same_after_reset_and_its_expert_solves_it(
    world: MiniWobEnvironment, page: str
) -> None:
    text = begin(world, page)
    expert = world.expert(3)
    result = world.step(expert.respond().response)
    while not (result.terminated or result.truncated):
        result = world.step(expert.respond().response)
    assert (result.success, result.score) == (True, 1.0)
    assert begin(world, page) == text
    assert begin(world, page, seed=8) != text


def test_a_wrong_answer_ends_the_task_without_success(world: MiniWobEnvironment) -> None:
    begin(world, "login-user")
    result = world.step(react_message("", f"click {refs(world, 'button')[0]}"))
    assert (result.terminated, result.success, result.score) == (True, False, 0.0)
    with pytest.raises(EpisodeError, match="reset"):
        world.step(react_message("", "click 1"))


def test_a_part_of_the_task_is_a_score_and_no_success(world: MiniWobEnvironment) -> None:
    for seed in range(20):
        begin(world, "click-checkboxes", seed)
        boxes = refs(world, "checkbox")
        wanted = world.view.goal.count(",") + 1
        if len(boxes) > 2 and wanted == 1 and "nothing" not in world.view.goal:
            break
    result = world.step(react_message("", f"click {refs(world, 'button')[0]}"))
    assert result.terminated
    assert 0 < result.score < 1
    assert not result.success


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("click 99", "not an element"),
        ("click", "not an element"),
        ("click 7 twice", "nothing else"),
        ("type hello", "no field has the focus"),
        ("select 7 red", "no option"),
        ("hover 7", "not a known action"),
        ("click 7; core.endEpisode(1)", "not an element"),
    ],
)
def test_an_impossible_action_is_answered_with_the_page(
    world: MiniWobEnvironment, action: str, reason: str
) -> None:
    begin(world, "login-user")
    result = world.step(react_message("", action))
    assert result.is_invalid
    assert not result.terminated
    assert reason in result.observation[0].content
    assert "[7] text field" in result.observation[0].content


def test_typing_replaces_what_the_field_holds(world: MiniWobEnvironment) -> None:
    begin(world, "login-user")
    world.step(react_message("", "click 7"))
    world.step(react_message("", "type one"))
    result = world.step(react_message("", 'type two "quoted" ü'))
    assert '[7] text field "two \\"quoted\\" ü" (focused)' in result.observation[0].content


def test_time_does_not_end_or_devalue_a_task(world: MiniWobEnvironment) -> None:
    begin(world, "choose-list")
    assert world._browser is not None
    assert world._browser.run("core.EPISODE_MAX_TIME") > 10**9
    # As if an hour had passed.
    world._browser.run("core.ept0 -= 3600000")
    expert = world.expert(0)
    world.step(expert.respond().response)
    assert world.step(expert.respond().response).score == 1.0


def test_a_missing_browser_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="apt-get install chromium"):
        find_browser(None)
    with pytest.raises(ConfigError, match="browser=/no/such"):
        find_browser("/no/such")


def test_a_browser_that_does_not_start_is_an_error_of_its_episode() -> None:
    with pytest.raises(EpisodeError, match="the browser has ended"):
        Browser("/bin/true")


@pytest.mark.parametrize("forks", [False, True])
def test_the_browser_dies_with_a_killed_process(world: MiniWobEnvironment, forks: bool) -> None:
    # A forked child that lives on holds no pipe of the browser, and leaves its profile alone.
    fork = """
if os.fork() == 0:
    browser.close()
    time.sleep(60)
    os._exit(0)
time.sleep(0.5)
assert os.path.isdir(profile) and browser.run("1") == 1
"""
    code = f"""
import os, time
from atlas.environments.miniwob.browser import Browser, find_browser
browser = Browser(find_browser(None))
profile = browser._profile
{fork if forks else ""}
print(profile, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    profile = parent.stdout.readline().strip()
    assert profile
    assert Path(profile).is_dir()
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 60
    # The shell beside the browser removes the profile when the browser has ended.
    while Path(profile).is_dir() and time.monotonic() < end:
        time.sleep(0.1)
    if forks:
        os.killpg(parent.pid, signal.SIGKILL)
    assert not Path(profile).is_dir()


def test_a_browser_that_died_costs_an_episode_and_a_new_one_starts(
    world: MiniWobEnvironment,
) -> None:
    text = begin(world, "login-user")
    assert world._browser is not None
    os.killpg(world._browser._process.pid, signal.SIGKILL)
    with pytest.raises(EpisodeError, match="the browser has ended"):
        world.step(react_message("", "click 7"))
    assert begin(world, "login-user") == text


def test_long_text_is_refused_and_not_shown_again(world: MiniWobEnvironment) -> None:
    begin(world, "login-user")
    world.step(react_message("", "click 7"))
    result = world.step(react_message("", "type " + "x" * 100_000))
    assert result.is_invalid
    assert len(result.observation[0].content) < 1000
