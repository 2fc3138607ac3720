"""A pilot asks about a few trajectories, forecasts the rest, and is not paid for again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DataError
from atlas.selection.pilot import run_pilot
from atlas.selection.select_steps import select_steps
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, completion, failure, serve
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config
from tests.selection.oracle_answers import good, judge_answer, number_in, write_numbered

NUM_TRAJECTORIES = 60


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trajectories = [
        make_trajectory(3 + number % 5, f"t{number}", f"I am number {number}. " + "x " * 50)
        for number in range(NUM_TRAJECTORIES)
    ]
    return write_trajectories(tmp_path / "run", trajectories)


def oracle(url: str, folder: Path, **settings: Any) -> Any:
    (folder / "prices.yaml").write_text("judge: {input: 1000, output: 1000}\n")
    prices = str(folder / "prices.yaml")
    return select_config("oracle", model="judge", base_url=url, prices=prices, **settings)


def priced(body: dict[str, Any], number: int) -> Reply:
    """An answer that costs three times what a dry run expects of its question."""
    chars = sum(len(message["content"]) for message in body["messages"])
    return replace(completion(judge_answer(body), tokens=(3 * chars // 4, 100)), delay=0.02)


def test_the_forecast_of_a_pilot_holds_and_its_answers_are_not_paid_again(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serve(priced) as server:
        config = oracle(server.url, tmp_path)
        pilot = run_pilot(config, run, out)
        assert (pilot.num_asked, pilot.num_answered, pilot.num_left) == (20, 20, 40)
        assert len(server.requests) == 20
        again = run_pilot(config, run, out)
        assert len(server.requests) == 20
        assert (again.num_asked, again.usd_left) == (0, pilot.usd_left)
        manifest = select_steps(config, run, out)
    assert sorted(map(number_in, server.requests)) == list(range(NUM_TRAJECTORIES))
    assert pilot.paid_usd is not None
    assert pilot.usd_left is not None
    left = manifest.summary["cost_usd"] - pilot.paid_usd
    assert pilot.usd_left.value == pytest.approx(left, rel=0.05)
    low, high = pilot.usd_left.interval or (0, 0)
    assert low <= pilot.usd_left.value <= high
    assert pilot.seconds_left is not None
    assert pilot.seconds_left.value > 0


def test_the_sample_depends_on_the_seed_and_grows_with_its_size(run: Path, tmp_path: Path) -> None:
    def sample(name: str, **settings: Any) -> set[int]:
        with serve(good) as server:
            run_pilot(oracle(server.url, tmp_path, **settings), run, tmp_path / name)
            return set(map(number_in, server.requests))

    small = sample("a", pilot_size=5)
    assert small == sample("b", pilot_size=5)
    assert small < sample("c", pilot_size=10)
    assert small != sample("d", pilot_size=5, seed=1)
    assert small != set(range(5))


def test_with_few_answers_there_is_no_interval(tmp_path: Path) -> None:
    run = write_numbered(tmp_path / "run", 6)
    with serve(good) as server:
        pilot = run_pilot(oracle(server.url, tmp_path, pilot_size=3), run, tmp_path / "out")
    assert pilot.tokens_left.interval is None


def test_a_pilot_of_a_server_that_does_not_answer_is_an_error_and_can_be_repeated(
    tmp_path: Path,
) -> None:
    run, out = write_numbered(tmp_path / "run", 4), tmp_path / "out"
    with serve(lambda body, number: failure(503)) as server:
        config = oracle(server.url, tmp_path, max_retries=0)
        with pytest.raises(DataError, match="none of 4 trajectories got an answer"):
            run_pilot(config, run, out)
    with serve(good) as server:
        assert run_pilot(oracle(server.url, tmp_path), run, out).num_answered == 4


def test_a_pilot_of_a_selector_that_asks_nobody_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Leave --pilot out"):
        run_pilot(select_config("random"), run, tmp_path / "out")
