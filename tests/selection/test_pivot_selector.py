"""Steps where a model agrees with the expert in part: scores, and the rule of what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from atlas.errors import ConfigError, ModelError
from atlas.models.players import PlayerAnswer
from atlas.records import Message, Problem, Trajectory
from atlas.selection.sampling.profile_steps import histories
from tests.conftest import make_trajectory
from tests.environments.players import ReadyPlayer
from tests.selection.configs import select_config
from tests.selection.pivot_players import (
    TABLE,
    Script,
    ended,
    order,
    react,
    score,
)


def test_the_highest_variance_comes_first_then_the_lower_mean_and_the_rest_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scores = score(make_trajectory(5), Script(TABLE), monkeypatch)
    assert order(scores) == [2, 1, 3]
    assert not isinstance(scores, Problem)
    assert scores[2] == pytest.approx(0.25, abs=1 / 32)


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"max_mean": 0.75}, [2, 1]),
        ({"max_mean": 0.5}, [1]),
        ({"min_variance": 0.2}, [2]),
        ({"min_variance": None}, [2, 1, 3, 0, 4]),
        ({"min_variance": None, "max_mean": 1}, [2, 1, 3, 0]),
    ],
)
def test_the_rule_says_which_steps_are_kept(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], kept: list[int]
) -> None:
    assert order(score(make_trajectory(5), Script(TABLE), monkeypatch, **settings)) == kept


@pytest.mark.parametrize("num_samples", [2, 3, 7, 64])
def test_variances_keep_their_order_for_any_number_of_samples(
    monkeypatch: pytest.MonkeyPatch, num_samples: int
) -> None:
    table = {step: step for step in range(num_samples + 1)}
    trajectory = make_trajectory(num_samples + 1)
    found = order(score(trajectory, Script(table), monkeypatch, num_samples=num_samples))
    expected = sorted(table, key=lambda k: (-k * (num_samples - k), k))
    assert found == expected[:-2], "all but those that never or always agree"


def test_the_model_reads_the_history_up_to_each_step_as_it_would_when_it_acts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trajectory, player = make_trajectory(3), Script({})
    score(trajectory, player, monkeypatch, num_samples=2)
    assert len(player.heard) == 6
    for name, [heard] in player.heard.items():
        step = int(name.split(" ")[1])
        expected = [*trajectory.prompt]
        for one in trajectory.steps[:step]:
            expected += [*one.observation, one.response]
        assert list(heard) == [*expected, *trajectory.steps[step].observation]
    assert sorted(player.closed) == sorted(player.heard), "each conversation is closed"
    assert list(histories(trajectory))[-1] == trajectory.messages[:-1]


def test_samples_that_cannot_be_compared_count_as_they_should(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = {
        # Cut off although its text agrees, empty, refused, and without an action.
        "t 0 0": ended("length", react("go to red ball 0")),
        "t 0 1": ended("stop"),
        "t 0 2": ended("stop", react("go to red ball 0")),
        "t 0 3": ended("stop", "I do not know."),
        "t 1 0": ended("refused", reason="no"),
        "t 1 1": ended("refused", reason="no"),
        **{f"t 2 {number}": ended("no_room", reason="too long") for number in range(4)},
    }
    scores = score(make_trajectory(3), Script({1: 3}, others), monkeypatch)
    assert not isinstance(scores, Problem)
    # One of four; one of the two that were not refused; the last step has no verdict.
    assert scores[0] == pytest.approx(0.1875 + 0.75 / 32)
    assert scores[1] == pytest.approx(0.25 + 0.5 / 32)
    assert scores[2] is None


def test_a_trajectory_longer_than_the_context_is_a_problem_only_if_no_step_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_room = {
        f"t {step} {number}": ended("no_room", reason="the history needs more than 16 tokens")
        for step in range(2)
        for number in range(4)
    }
    problem = score(make_trajectory(2), Script({}, no_room), monkeypatch)
    assert isinstance(problem, Problem)
    assert "more than 16 tokens" in problem.reason


def test_trajectories_of_one_step_and_of_none_are_no_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert order(score(make_trajectory(1), Script({0: 2}), monkeypatch)) == [0]
    assert score(make_trajectory(0), Script({}), monkeypatch) == []


@pytest.mark.parametrize("player", ["local", "endpoint"])
def test_samples_that_must_be_the_same_are_refused(player: str) -> None:
    given = {"name": player, "temperature": 0}
    with pytest.raises(ConfigError, match="at temperature 0 all 4 samples are the same"):
        select_config("pivot", model="m", num_samples=4, player=given)
    with pytest.raises(ConfigError, match="num_samples=1 has no variance"):
        select_config("pivot", model="m", num_samples=1)
    select_config("pivot", model="openai/m", num_samples=1, min_variance=None, player=given)
    assert select_config("pivot", model="m").selector.settings.player.settings.temperature == 1.0


def test_one_greedy_sample_ranks_by_disagreement(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"num_samples": 1, "min_variance": None, "max_mean": 1}
    assert order(score(make_trajectory(3), Script({1: 1}), monkeypatch, **settings)) == [0, 2]


def test_a_limit_needs_a_model_that_is_paid() -> None:
    with pytest.raises(ConfigError, match="no remote model is asked"):
        select_config("pivot", model="m", max_cost_usd=1)
    remote = {"name": "endpoint", "endpoint": {"base_url": "http://127.0.0.1:9/v1"}}
    judge = {"name": "judge", "model": "openai/gpt-4o"}
    select_config("pivot", model="m", player=remote, max_cost_usd=1)
    select_config("pivot", model="m", agreement=judge, max_cost_usd=1)
    select_config("pivot", model="m", player=remote, agreement=judge, max_cost_usd=1)
    limited = {**judge, "max_cost_usd": 1}
    select_config("pivot", model="m", agreement=limited)
    with pytest.raises(ConfigError, match="Give max_cost_usd, which is the limit of both"):
        select_config("pivot", model="m", player=remote, agreement=limited)
    with pytest.raises(ConfigError, match="names no provider"):
        select_config("pivot", model="m", player="endpoint")


def test_a_player_that_answers_when_it_is_ready_gives_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ready(ReadyPlayer):
        answer = Script.answer

        def __init__(self) -> None:
            super().__init__({"t 0 1": 0.05})
            self.table: Mapping[int, int] = TABLE
            self.others: Mapping[str, PlayerAnswer] = {}

    assert order(score(make_trajectory(5), Ready(), monkeypatch)) == [2, 1, 3]


def test_a_player_that_returns_nothing_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Script):
        def next_answers(self, timeout: float | None = None) -> dict[str, PlayerAnswer]:
            return {}

    with pytest.raises(ModelError, match="returned nothing, expected answers to 8"):
        score(make_trajectory(2), Silent({}), monkeypatch)


def test_an_outside_agreement_is_named_by_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = score(
        make_trajectory(2), Script({}), monkeypatch, agreement=f"{__name__}:EvenAgreement"
    )
    assert order(scores) == [0, 1]
    with pytest.raises(ConfigError, match="expected 4 verdicts"):
        score(make_trajectory(2), Script({}), monkeypatch, agreement=f"{__name__}:ShortAgreement")


class EvenAgreement:
    """Every other response agrees."""

    def __init__(self, config: Any, context: Any) -> None:
        pass

    def compare(self, trajectory: Trajectory, step: int, responses: list[Message]) -> list[Any]:
        from atlas.selection.agreement.base import Verdict

        return [Verdict(number % 2 == 0) for number, _ in enumerate(responses)]


class ShortAgreement(EvenAgreement):
    """Forgets the last response."""

    def compare(self, trajectory: Trajectory, step: int, responses: list[Message]) -> list[Any]:
        return super().compare(trajectory, step, responses)[:-1]
