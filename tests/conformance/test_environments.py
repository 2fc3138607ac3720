"""Rows of ENVIRONMENTS and outside examples keep the contract of `environments/base.py`."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import pytest

from atlas.config import Config
from atlas.environments.base import (
    ENVIRONMENT,
    ENVIRONMENTS,
    Environment,
    HasExpert,
    HasTools,
    StepResult,
)
from atlas.environments.play import Opening, play_episodes
from atlas.environments.worlds import Worlds
from atlas.errors import ConfigError, DependencyError
from atlas.kinds import Choice
from atlas.models.players import PlayerAnswer
from atlas.records import CRITICAL_KINDS, Message, Source, Task, ToolCall
from tests.environments import doors, needs
from tests.environments.agentgym_servers import craft_process
from tests.environments.players import RoundPlayer

# Rows that need something to run, such as a server: a context that starts it, and the settings.
NEEDS: dict[str, Callable[[], AbstractContextManager[dict[str, Any]]]] = {
    "agentgym": craft_process,
    "gymnasium": doors.lamp,
    "jericho": needs.stories,
    "miniwob": needs.browser,
    "openenv": doors.served_lamp,
    "verifiers": doors.verifiers_lamp,
}
OUTSIDE = [
    Choice("tests.environments.push:PushEnvironment"),
    Choice("tests.environments.push:PushEnvironment", {"max_steps": 4, "word": "shove"}),
    Choice("tests.environments.push:ToolPushEnvironment"),
    Choice("tests.environments.push:ToolPushEnvironment", {"strength": 9}),
]
CHOICES = [Choice(name) for name in sorted(ENVIRONMENTS)] + OUTSIDE
NONSENSE = [
    Message(role="assistant", content=text)
    for text in (
        "",
        "Action:",
        "Thought:\nhm\n\nAction:\n",
        "Action:\n\x00\ud7ff⟦",
        "go" * 3000,
        "Thought:\nx\n\nAction:\nsing a song",
    )
] + [
    Message(role="assistant", tool_calls=(ToolCall(id="1", name=name, arguments=arguments),))
    for name, arguments in (("sing", "{}"), ("push", "not JSON"), ("push", "[1]"), ("", ""))
]


def ids(choice: Choice) -> str:
    return f"{choice.name.rpartition(':')[2]}{choice.settings or ''}"


# Worlds whose experts need seconds for the first episode of a task: fewer tasks are tried.
SLOW = ("alfworld", "scienceworld", "textworld")


def few(choice: Choice, num_tasks: int) -> int:
    """How many tasks to try."""
    return max(3, num_tasks // 8) if choice.name in SLOW else num_tasks


def is_example(choice: Choice) -> bool:
    """Whether it is one of the small examples of the tests or of docs/extending.md."""
    return choice in OUTSIDE or choice.name == "corridor"


@pytest.fixture(scope="module")
def running() -> Iterator[Callable[[str], dict[str, Any]]]:
    """The settings that a row needs; what it needs is started once and ends with the module."""
    started: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:

        def settings(name: str) -> dict[str, Any]:
            if name not in started:
                started[name] = stack.enter_context(NEEDS[name]()) if name in NEEDS else {}
            return started[name]

        yield settings


@pytest.fixture(params=CHOICES, ids=ids)
def choice(request: pytest.FixtureRequest, running: Callable[[str], dict[str, Any]]) -> Choice:
    chosen: Choice = request.param
    return Choice(chosen.name, {**running(chosen.name), **chosen.settings})


@pytest.fixture
def environment(choice: Choice) -> Iterator[Environment]:
    try:
        made = ENVIRONMENT.make(choice)
    except DependencyError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def play_nonsense(environment: Environment, task: Task) -> list[StepResult]:
    """The results of every kind of nonsense, each in as many episodes as that takes."""
    results: list[StepResult] = []
    for index, response in enumerate(NONSENSE):
        if index == 0 or results[-1].terminated or results[-1].truncated:
            environment.reset(task)
        results.append(environment.step(response))
    return results


def check_result(result: StepResult) -> None:
    assert result.observation
    assert all(message.role != "assistant" for message in result.observation)
    assert not (result.terminated and result.truncated)
    assert 0 <= result.score <= 1
    assert result.success <= (result.score > 0)


def test_its_settings_are_a_config_with_a_description_for_each_field(choice: Choice) -> None:
    kind = ENVIRONMENT.find(choice.name)
    assert ENVIRONMENT.describe(choice.name)
    assert issubclass(kind.Config, Config)
    assert all(field.description for field in kind.Config.model_fields.values())


def test_it_has_a_name_and_a_prompt(environment: Environment) -> None:
    assert environment.name
    assert all(message.role in ("system", "user", "assistant") for message in environment.prompt)


def test_tasks_are_deterministic_unique_and_a_prefix_of_more_tasks(
    environment: Environment,
) -> None:
    tasks = list(environment.tasks("train", 12, 3))
    assert tasks == list(environment.tasks("train", 12, 3))
    assert tasks[:5] == list(environment.tasks("train", 5, 3))
    assert len({task.id for task in tasks}) == 12
    assert all(task.split == "train" for task in tasks)
    assert pickle.loads(pickle.dumps(tasks)) == tasks


def test_an_unknown_split_is_a_config_error(environment: Environment) -> None:
    with pytest.raises(ConfigError, match="no-such-split"):
        environment.tasks("no-such-split", 1, 0)


def splits_of_tests(environment: Environment) -> tuple[str, ...]:
    """The splits of an environment that hold unseen tasks."""
    known = []
    for split in ("held_in_test", "held_out_test"):
        try:
            environment.tasks(split, 1, 0)
        except ConfigError:
            continue
        known.append(split)
    return tuple(known)


def test_nonsense_is_answered_flagged_and_never_raises(environment: Environment) -> None:
    for task in environment.tasks("train", 3, 0):
        for result in play_nonsense(environment, task):
            check_result(result)
            assert result.is_invalid


def test_the_same_responses_see_the_same_observations(environment: Environment) -> None:
    task = environment.tasks("train", 1, 0)[0]
    assert environment.reset(task) == environment.reset(task)
    assert play_nonsense(environment, task) == play_nonsense(environment, task)


def test_an_episode_that_goes_nowhere_is_truncated(
    choice: Choice, environment: Environment
) -> None:
    task = environment.tasks("train", 1, 0)[0]
    opening = Opening(task.id, task, Source(name="nobody"))
    nothing = PlayerAnswer(Message(role="assistant", content="nothing"))
    with Worlds.of(choice, 1) as worlds:
        [(_, episode)] = play_episodes([opening], worlds, RoundPlayer({task.id: nothing}))
    trajectory = episode.trajectory
    assert trajectory.outcome.status in ("truncated", "failure")
    assert trajectory.outcome.score == 0
    assert all(step.is_invalid for step in trajectory.steps)


def test_its_expert_succeeds_labels_its_steps_and_repeats_itself(
    choice: Choice, environment: Environment
) -> None:
    if not isinstance(environment, HasExpert):
        pytest.skip(f"{environment.name} has no expert")
    for task in environment.tasks("train", few(choice, 6), 0):
        turns = []
        for _ in range(2):
            environment.reset(task)
            expert = environment.expert(5)
            turns.append([])
            over = False
            while not over:
                turn = expert.respond()
                assert turn.response.role == "assistant"
                assert set(turn.annotation.kinds) <= set(CRITICAL_KINDS)
                turns[-1].append(turn)
                result = environment.step(turn.response)
                check_result(result)
                over = result.terminated or result.truncated
            assert result.success
            assert not result.is_invalid
        assert turns[0] == turns[1]
        assert any(turn.annotation.kinds for turn in turns[0])


def test_tools_are_schemas_and_its_expert_calls_them(environment: Environment) -> None:
    if not isinstance(environment, HasTools) or not isinstance(environment, HasExpert):
        pytest.skip(f"{environment.name} offers no tools")
    names = {tool["function"]["name"] for tool in environment.tools}
    assert all(tool["type"] == "function" for tool in environment.tools)
    environment.reset(environment.tasks("train", 1, 0)[0])
    turn = environment.expert(0).respond()
    assert {call.name for call in turn.response.tool_calls} <= names
    assert turn.response.tool_calls


def test_it_closes_what_it_started(choice: Choice) -> None:
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    process = psutil.Process()

    def started() -> tuple[set[int], set[str]]:
        children = {child.pid for child in process.children(recursive=True)}
        return children, {thread.name for thread in threading.enumerate()}

    try:
        ENVIRONMENT.make(choice).close()
    except DependencyError as error:
        pytest.skip(str(error))
    before = started()
    environment = ENVIRONMENT.make(choice)
    environment.reset(environment.tasks("train", 1, 0)[0])
    environment.step(NONSENSE[0])
    environment.close()
    environment.close()
    assert started() == before


def first_text_and_path(environment: Environment, task: Task) -> tuple[str, tuple[str | None, ...]]:
    """What an agent sees first, and the expert's actions without detours, if it has an expert."""
    text = "\n".join(message.content for message in environment.reset(task))
    path: list[str | None] = []
    if isinstance(environment, HasExpert):
        expert, over = environment.expert(0), False
        while not over:
            result = environment.step(expert.respond().response)
            path.append(result.action)
            over = result.terminated or result.truncated
    return text, tuple(path)


def test_no_test_task_is_a_training_task(choice: Choice, environment: Environment) -> None:
    if is_example(choice):
        pytest.skip("the small examples have a handful of tasks")
    known = {
        first_text_and_path(environment, task)
        for task in environment.tasks("train", few(choice, 24), 0)
    }
    splits = splits_of_tests(environment)
    assert splits
    for split in splits:
        for task in environment.tasks(split, few(choice, 10), 0):
            assert task.split == split
            assert first_text_and_path(environment, task) not in known


# Prints the tasks of some splits, and how the expert plays the first of them.
LIST_TASKS = """
import json, sys
from atlas.environments.base import ENVIRONMENT, HasExpert
from atlas.errors import ConfigError
from atlas.kinds import Choice

environment = ENVIRONMENT.make(Choice(sys.argv[1], json.loads(sys.argv[2])))
for split in sys.argv[3:]:
    try:
        tasks = environment.tasks(split, 60, 0)
    except ConfigError:
        tasks = environment.tasks(split, 20, 0)
    for number, task in enumerate(tasks):
        print(task, environment.reset(task))
        if number < 3 and isinstance(environment, HasExpert):
            expert, over = environment.expert(0), False
            while not over:
                result = environment.step(expert.respond().response)
                print(result)
                over = result.terminated or result.truncated
environment.close()
"""


def test_tasks_and_texts_are_the_same_in_every_process(
    choice: Choice, environment: Environment
) -> None:
    if not getattr(environment, "in_process", False) or is_example(choice) or choice.name in NEEDS:
        pytest.skip("started here only where that takes no other program")
    kind = type(environment)
    name = f"{kind.__module__}:{kind.__qualname__}"
    splits = ["train", *splits_of_tests(environment)]
    command = [sys.executable, "-c", LIST_TASKS, name, json.dumps(choice.settings), *splits]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # The order of a set depends on this number, which is random otherwise.
    one, two = (
        subprocess.run(
            command, env={**paths, "PYTHONHASHSEED": number}, capture_output=True, check=True
        ).stdout
        for number in ("1", "2")
    )
    assert one.splitlines() == two.splitlines()


class SeedsSeen:
    """Records the seeds of all generators that are made, and whether a global one was used."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seeds: list[object] = []
        plain, make = random.Random.seed, np.random.default_rng

        def seed(rng: random.Random, a: object = None, version: int = 2) -> None:
            self.seeds.append(a)
            plain(rng, a, version)  # type: ignore[arg-type]

        def default_rng(seed: object = None) -> np.random.Generator:
            self.seeds.append(seed)
            return make(seed)  # type: ignore[arg-type]

        monkeypatch.setattr(random.Random, "seed", seed)
        monkeypatch.setattr(np.random, "default_rng", default_rng)

    def take(self) -> set[str]:
        taken, self.seeds = {repr(seed) for seed in self.seeds if seed is not None}, []
        return taken


def test_its_expert_shares_no_random_stream_with_the_task(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isinstance(environment, HasExpert):
        pytest.skip(f"{environment.name} has no expert")
    seen = SeedsSeen(monkeypatch)
    for task in environment.tasks("train", 3, 0):
        seen.take()
        environment.reset(task)
        of_task = seen.take()
        # The worst case: a caller gives the seed of the task itself.
        expert = environment.expert(task.seed or 0)
        expert.respond()
        assert not of_task & seen.take()


def test_it_draws_from_no_global_generator(environment: Environment) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    for task in environment.tasks("train", 2, 0):
        environment.reset(task)
        environment.step(NONSENSE[-1])
        if isinstance(environment, HasExpert):
            environment.reset(task)
            environment.expert(1).respond()
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]


def test_its_expert_labels_some_steps_but_not_most(
    choice: Choice, environment: Environment
) -> None:
    if not isinstance(environment, HasExpert) or is_example(choice):
        pytest.skip(f"{environment.name} has no expert, or is an example")
    num_steps = num_labeled = 0
    kinds: set[str] = set()
    for task in environment.tasks("train", few(choice, 12), 1):
        environment.reset(task)
        expert, over = environment.expert(3), False
        while not over:
            turn = expert.respond()
            num_steps += 1
            num_labeled += bool(turn.annotation.kinds)
            kinds |= set(turn.annotation.kinds)
            result = environment.step(turn.response)
            over = result.terminated or result.truncated
    assert 0.1 <= num_labeled / num_steps <= 0.6, (num_labeled, num_steps)
    assert len(kinds) >= 2, kinds
