"""Every row of ENVIRONMENTS keeps the contract of `environments/base.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atlas.environments.base import (
    ENVIRONMENTS,
    Environment,
    HasExpert,
    StepResult,
    make_environment,
)
from atlas.environments.episode import run_episode
from atlas.errors import ConfigError, DependencyError
from atlas.records import CRITICAL_KINDS, Source

NONSENSE = [
    "",
    "Action:",
    "Thought:\nhm\n\nAction:\n",
    "Action:\n\x00\ud7ff⟦",
    "go" * 3000,
    "Thought:\nx\n\nAction:\nsing a song",
]


@pytest.fixture(params=sorted(ENVIRONMENTS))
def environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    try:
        made = make_environment(request.param)
    except DependencyError as error:
        pytest.skip(str(error))
    yield made
    made.close()


def check_result(result: StepResult) -> None:
    assert result.observation
    assert all(message.role != "assistant" for message in result.observation)
    assert not (result.terminated and result.truncated)
    assert 0 <= result.score <= 1
    assert result.success <= (result.score > 0)


def test_its_name_is_its_row(environment: Environment) -> None:
    assert environment.name in ENVIRONMENTS
    assert all(message.role in ("system", "user", "assistant") for message in environment.prompt)


def test_tasks_are_deterministic_unique_and_a_prefix_of_more_tasks(
    environment: Environment,
) -> None:
    tasks = list(environment.tasks("train", 12, 3))
    assert tasks == list(environment.tasks("train", 12, 3))
    assert tasks[:5] == list(environment.tasks("train", 5, 3))
    assert len({task.id for task in tasks}) == 12
    assert all(task.environment == environment.name and task.split == "train" for task in tasks)


def test_an_unknown_split_is_a_config_error(environment: Environment) -> None:
    with pytest.raises(ConfigError, match="no-such-split"):
        environment.tasks("no-such-split", 1, 0)


def test_bad_text_is_answered_and_never_raises(environment: Environment) -> None:
    for task in environment.tasks("train", 3, 0):
        environment.reset(task)
        for response in NONSENSE:
            check_result(environment.step(response))


def test_the_same_responses_see_the_same_observations(environment: Environment) -> None:
    task = environment.tasks("train", 1, 0)[0]
    runs = [
        [environment.reset(task), *(environment.step(response) for response in NONSENSE)]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_an_episode_that_goes_nowhere_is_truncated(environment: Environment) -> None:
    trajectory = run_episode(
        environment, environment.tasks("train", 1, 0)[0], lambda _: "nothing", Source(name="nobody")
    )
    assert trajectory.outcome.status in ("truncated", "failure")
    assert trajectory.outcome.score == 0


def test_its_expert_succeeds_labels_its_steps_and_repeats_itself(environment: Environment) -> None:
    if not isinstance(environment, HasExpert):
        pytest.skip(f"{environment.name} has no expert")
    for task in environment.tasks("train", 6, 0):
        turns = []
        for _ in range(2):
            environment.reset(task)
            expert = environment.expert(5)
            turns.append([])
            over = False
            while not over:
                turn = expert.respond()
                assert set(turn.annotation.kinds) <= set(CRITICAL_KINDS)
                turns[-1].append(turn)
                result = environment.step(turn.response)
                check_result(result)
                over = result.terminated or result.truncated
            assert result.success
        assert turns[0] == turns[1]
        assert any(turn.annotation.kinds for turn in turns[0])
