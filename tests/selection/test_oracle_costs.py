"""What an oracle costs: said before, counted during, stopped in time, and what failed tried again alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError, CostLimitError, EndpointError, ModelError
from atlas.record_files import read_records
from atlas.records import Problem, Selection, Usage
from atlas.selection.costs import Price, cost_usd, estimate_cost, find_price
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.selection.selectors.oracle_prompt import prompt_digest
from tests.conftest import make_trajectory
from tests.models.chat_server import Reply, completion, failure, serve
from tests.run_folders import write_trajectories
from tests.selection.oracle_answers import judge_answer

NUM_TRAJECTORIES = 12
NOWHERE = "http://127.0.0.1:1/v1"  # nothing may be sent there


@pytest.fixture
def run(tmp_path: Path) -> Path:
    trajectories = [make_trajectory(5, f"t{number}", thought=f"I am number {number}.") for number in range(NUM_TRAJECTORIES)]
    return write_trajectories(tmp_path / "trajectories", trajectories)


@pytest.fixture
def prices(tmp_path: Path) -> str:
    """A request of the test server (100 tokens in, 7 out) costs 107 USD."""
    (tmp_path / "prices.yaml").write_text("judge: {input: 1000000, output: 1000000}\n")
    return str(tmp_path / "prices.yaml")


def oracle(url: str, **settings: Any) -> SelectConfig:
    values = {"selector": "oracle", "model": "judge", "base_url": url, "max_in_flight": 1, "max_retries": 0, "timeout_seconds": 5.0}
    return SelectConfig(**{**values, **settings})


def good(body: dict[str, Any], number: int) -> Reply:
    return completion(judge_answer(body))


def number_in(body: dict[str, Any]) -> int:
    return int(body["messages"][1]["content"].split("I am number ")[1].split(".")[0])


def selections_in(out: Path) -> list[Selection]:
    return list(read_records(out / "selections.jsonl", Selection))


def test_a_price_is_per_million_tokens() -> None:
    assert cost_usd(Usage(input_tokens=2_000_000, output_tokens=500_000), Price(input=2.5, output=10)) == 10.0
    assert cost_usd(Usage(input_tokens=1), None) is None


def test_a_price_is_the_users_own_by_the_name_as_given(tmp_path: Path) -> None:
    table = tmp_path / "prices.json"
    table.write_text('{"openai/gpt-4o": {"input": 1, "output": 2}}')
    assert find_price(SelectConfig(selector="oracle", model="openai/gpt-4o", prices=str(table))) == Price(input=1, output=2)
    assert find_price(SelectConfig(selector="oracle", model="gpt-4o", prices=str(table))) is None
    assert find_price(SelectConfig(selector="oracle", model="openai/gpt-4o")) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [("judge: 3", "expected {input: "), ("judge: {input: 1}", "'output' is required"), ("judge: {inptu: 1}", "Did you mean 'input'")],
)
def test_a_table_that_cannot_be_read_says_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_price(oracle(NOWHERE, prices=str(tmp_path / "prices.yaml")))


def test_a_limit_without_a_price_is_refused_before_anything_is_sent(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no price is known for model 'judge' at http"):
        select_steps(oracle(NOWHERE, max_cost_usd=1.0), run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_estimate_counts_what_would_be_sent(run: Path, tmp_path: Path, prices: str) -> None:
    with serve(good) as server:
        estimate = estimate_cost(oracle(server.url, prices=prices), run, tmp_path / "out")
        assert server.requests == []
        select_steps(oracle(server.url), run, tmp_path / "out")
        chars = sum(len(message["content"]) for body in server.requests for message in body["messages"])
    assert (estimate.trajectories, estimate.usage.requests) == (NUM_TRAJECTORIES, NUM_TRAJECTORIES)
    assert chars / 4 <= estimate.usage.input_tokens <= chars / 4 + NUM_TRAJECTORIES
    assert estimate.cost_usd == estimate.usage.input_tokens + estimate.usage.output_tokens
    assert estimate_cost(oracle(NOWHERE), run, tmp_path / "out").trajectories == 0  # all is done there


def test_windows_and_the_other_judge_are_estimated_too(run: Path, tmp_path: Path) -> None:
    long = write_trajectories(tmp_path / "long", [make_trajectory(60, "long", thought="x" * 300)])
    assert estimate_cost(oracle(NOWHERE, max_prompt_chars=8_000), long, tmp_path / "out").usage.requests > 3
    assert estimate_cost(oracle(NOWHERE, selector="rejection"), run, tmp_path / "out").usage.requests == NUM_TRAJECTORIES


def test_a_selector_that_asks_nobody_has_no_estimate(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="asks no model"):
        estimate_cost(SelectConfig(selector="random"), run, tmp_path / "out")


@pytest.mark.parametrize("with_prices", [True, False])
def test_a_dry_run_prints_requests_tokens_and_price_and_makes_nothing(with_prices: bool, run: Path, tmp_path: Path, prices: str) -> None:
    out = tmp_path / "out"
    arguments = [
        "select",
        "--trajectories",
        run,
        "--selector",
        "oracle",
        "--model",
        "judge",
        "--base-url",
        NOWHERE,
        "--out",
        out,
        "--dry-run",
    ]
    said = CliRunner().invoke(app, [*map(str, arguments), *([f"prices={prices}"] if with_prices else [])]).output
    assert "12 trajectories, in 12 requests" in said
    assert "sent and" in said
    assert ("USD" in said) is with_prices
    assert ("no table has a price of 'judge'" in said) is not with_prices
    assert not out.exists()


def test_the_cost_is_in_the_summary_where_a_price_is_known(run: Path, tmp_path: Path, prices: str) -> None:
    with serve(good) as server:
        with_prices = select_steps(oracle(server.url, prices=prices), run, tmp_path / "a")
        without = select_steps(oracle(server.url), run, tmp_path / "b")
    assert with_prices.summary["cost_usd"] == 107.0 * NUM_TRAJECTORIES
    assert "cost_usd" not in without.summary
    assert [selection.usage for selection in selections_in(tmp_path / "a")] == [Usage(requests=1, input_tokens=100, output_tokens=7)] * 12


def test_a_limit_stops_cleanly_and_a_higher_one_goes_on(run: Path, tmp_path: Path, prices: str) -> None:
    with serve(good) as server:
        for limit, expected in ((250, 3), (250, 3), (600, 6)):  # the same limit again asks nothing more
            with pytest.raises(CostLimitError, match=f"max_cost_usd is {limit}"):
                select_steps(oracle(server.url, prices=prices, max_cost_usd=float(limit)), run, tmp_path / "out")
            assert len(server.requests) == expected
        manifest = select_steps(oracle(server.url, prices=prices, max_cost_usd=1e6), run, tmp_path / "out")
        assert len(server.requests) == NUM_TRAJECTORIES
    assert manifest.summary["cost_usd"] == 107.0 * NUM_TRAJECTORIES


def test_what_is_in_flight_when_the_limit_is_reached_is_kept(run: Path, tmp_path: Path, prices: str) -> None:
    with serve(lambda body, number: completion(judge_answer(body), delay=0.05)) as server:
        with pytest.raises(CostLimitError):
            select_steps(oracle(server.url, prices=prices, max_cost_usd=1.0, max_in_flight=4), run, tmp_path / "out")
        kept = (tmp_path / "out" / "selections.jsonl.partial").read_bytes().count(b"\n")
        assert kept == len(server.requests) <= 5


def test_an_answer_that_was_paid_in_vain_counts_towards_the_limit(run: Path, tmp_path: Path, prices: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        if number_in(body) % 2:
            return good(body, number)
        return completion("nonsense") if len(body["messages"]) == 2 else failure(503)

    with serve(answer) as server:
        with pytest.raises(CostLimitError, match="have cost 642"):
            select_steps(oracle(server.url, prices=prices, max_cost_usd=107.0 * 6), run, tmp_path / "out")
        assert sum(len(body["messages"]) == 2 for body in server.requests) == 6


def test_a_limit_cannot_be_held_where_the_server_does_not_tell_its_usage(run: Path, tmp_path: Path, prices: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        told = json.loads(good(body, number).body)
        del told["usage"]
        return failure(400) if number == 0 else Reply(json.dumps(told))

    with serve(answer) as server:
        limited = oracle(server.url, prices=prices, max_cost_usd=1e6, structured=False)
        for expected in (2, 2):  # the refused request, which costs nothing, and the first answer; again: it is known by then
            with pytest.raises(ModelError, match="max_cost_usd=1e\\+06 cannot be held"):
                select_steps(limited, run, tmp_path / "out")
            assert len(server.requests) == expected
        select_steps(oracle(server.url, prices=prices, structured=False), run, tmp_path / "out")
        assert len(server.requests) == NUM_TRAJECTORIES


def test_a_limit_that_is_reached_with_the_last_answer_is_no_stop(run: Path, tmp_path: Path, prices: str) -> None:
    with serve(good) as server:
        select_steps(oracle(server.url, prices=prices, max_cost_usd=107.0 * NUM_TRAJECTORIES), run, tmp_path / "out")


def test_the_question_is_named_in_each_selection(run: Path, tmp_path: Path) -> None:
    with serve(good) as server:
        manifest = select_steps(oracle(server.url), run, tmp_path / "out")
    assert {selection.prompt_digest for selection in selections_in(tmp_path / "out")} == {prompt_digest()}
    assert manifest.inputs["prompt"].digest == prompt_digest()


def test_problems_alone_are_tried_again_and_the_others_are_taken_over(run: Path, tmp_path: Path, prices: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion(None, refusal="no") if number_in(body) in (3, 8) else good(body, number)

    with serve(answer) as server:
        first = select_steps(oracle(server.url), run, tmp_path / "first")
    settings = {"retry_problems_of": str(tmp_path / "first"), "prices": prices, "max_cost_usd": 300.0}
    with serve(good) as server:
        config = oracle(server.url, temperature=0.5, **settings)
        assert estimate_cost(config, run, tmp_path / "second").trajectories == 2
        second = select_steps(config, run, tmp_path / "second")
        assert sorted(map(number_in, server.requests)) == [3, 8]
        assert select_steps(config, run, tmp_path / "second") == second
    assert (first.summary["problems"], second.summary["problems"]) == (2, 0)
    assert second.inputs["retry_problems_of"].digest == first.digest
    before, after = selections_in(tmp_path / "first"), selections_in(tmp_path / "second")
    assert [new for old, new in zip(before, after, strict=True) if old.problem is None] == [old for old in before if old.problem is None]
    with pytest.raises(ConfigError, match="has no problem among its 12 selections"):
        select_steps(oracle(NOWHERE, retry_problems_of=str(tmp_path / "second")), run, tmp_path / "third")
    with pytest.raises(ConfigError, match=r"selected differently \(ratio: 0.3 there, 0.5 now\)"):
        select_steps(oracle(NOWHERE, ratio=0.5, retry_problems_of=str(tmp_path / "first")), run, tmp_path / "third")


def test_who_got_no_answer_is_listed_and_can_be_left_out_for_now(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(503, "overloaded") if number_in(body) in (3, 8) else good(body, number)

    with serve(answer) as server:
        with pytest.raises(EndpointError, match="accept_unanswered=true"):
            select_steps(oracle(server.url), run, out)
        listed = list(read_records(out / "problems.jsonl", Problem))
        assert [problem.item for problem in listed] == ["t3", "t8"]
        assert "overloaded" in listed[0].reason
        manifest = select_steps(oracle(server.url, accept_unanswered=True), run, out)
    assert manifest.summary["problems"] == 2
    assert [selection.trajectory_id for selection in selections_in(out) if selection.problem] == ["t3", "t8"]
    with serve(good) as server:
        mended = select_steps(oracle(server.url, retry_problems_of=str(out)), run, tmp_path / "mended")
        assert sorted(map(number_in, server.requests)) == [3, 8]
    assert mended.summary["problems"] == 0
