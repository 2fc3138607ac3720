"""What an oracle costs: estimated before, counted during, stopped in time, retried in part."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError, CostLimitError, EndpointError, ModelError, RunError
from atlas.models.endpoints.prices import Price
from atlas.models.payments import Payment
from atlas.records import Problem, Usage
from atlas.selection.costs import cost_usd, price_of
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.judging.oracle_prompt import ORACLE_PROMPT
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.selection.selectors.oracle import OracleSelector
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, completion, failure, serve
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import select_config
from tests.selection.oracle_answers import (
    good,
    judge_answer,
    num_allowed,
    number_in,
    write_numbered,
)

NUM_TRAJECTORIES = 12
# USD, by the prices below, of each of the first ten, as estimated.
QUESTION_COST = 824
# Nothing may be sent there.
NOWHERE = "http://127.0.0.1:1/v1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_numbered(tmp_path / "trajectories", NUM_TRAJECTORIES)


@pytest.fixture
def prices(tmp_path: Path) -> str:
    """A request of the test server (100 tokens in, 7 out) costs 107 USD."""
    (tmp_path / "prices.yaml").write_text("judge: {input: 1000000, output: 1000000}\n")
    return str(tmp_path / "prices.yaml")


def oracle(url: str, **settings: Any) -> SelectConfig:
    values = {
        "selector": "oracle",
        "model": "judge",
        "base_url": url,
        "max_in_flight": 1,
        "max_retries": 0,
        "timeout_seconds": 5.0,
    }
    return select_config(**{**values, **settings})


def tokens_of(body: dict[str, Any]) -> tuple[int, int]:
    """What a question takes, if the estimate is exact."""
    sent = sum(len(message["content"]) for message in body["messages"])
    return -(
        -sent // 4
    ), OracleSelector.tokens_per_answer + OracleSelector.tokens_per_step * num_allowed(body)


def as_estimated(body: dict[str, Any], number: int) -> Reply:
    return completion(judge_answer(body), tokens=tokens_of(body))


def test_a_price_is_per_million_tokens() -> None:
    assert (
        cost_usd(Usage(input_tokens=2_000_000, output_tokens=500_000), Price(input=2.5, output=10))
        == 10.0
    )
    assert cost_usd(Usage(input_tokens=1), None) is None


def test_a_price_is_the_users_own_by_the_name_as_given(tmp_path: Path) -> None:
    table = tmp_path / "prices.json"
    table.write_text('{"openai/gpt-4o": {"input": 1, "output": 2}}')
    known = select_config("oracle", model="openai/gpt-4o", prices=str(table))
    assert price_of(known.selector.settings) == Price(input=1, output=2)
    for config in (
        select_config("oracle", model="gpt-4o", base_url=NOWHERE, prices=str(table)),
        select_config("oracle", model="openai/of-nobody"),
    ):
        assert price_of(config.selector.settings) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("judge: 3", "expected {input: "),
        ("judge: {input: 1}", "'output' is required"),
        ("judge: {inptu: 1}", "Did you mean 'input'"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        price_of(oracle(NOWHERE, prices=str(tmp_path / "prices.yaml")).selector.settings)


def test_a_limit_without_a_price_is_refused_before_anything_is_sent(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no price is known for model 'judge' at http"):
        select_steps(oracle(NOWHERE, max_cost_usd=1.0), run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_estimate_counts_what_would_be_sent(run: Path, tmp_path: Path, prices: str) -> None:
    with serve(good) as server:
        estimate = estimate_cost(oracle(server.url, prices=prices), run, tmp_path / "out")
        assert server.requests == []
        select_steps(oracle(server.url), run, tmp_path / "out")
        chars = sum(
            len(message["content"]) for body in server.requests for message in body["messages"]
        )
    assert (estimate.trajectories, estimate.usage.requests) == (NUM_TRAJECTORIES, NUM_TRAJECTORIES)
    assert chars / 4 <= estimate.usage.input_tokens <= chars / 4 + NUM_TRAJECTORIES
    assert estimate.cost_usd == estimate.usage.input_tokens + estimate.usage.output_tokens
    # All is done there.
    assert estimate_cost(oracle(NOWHERE), run, tmp_path / "out").trajectories == 0


def test_a_dry_run_passes_over_what_is_no_record_in_an_interrupted_run_as_the_run_itself_does(
    run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with (
        serve(lambda body, number: good(body, number) if number < 4 else failure(401)) as server,
        pytest.raises(ModelError),
    ):
        select_steps(oracle(server.url), run, out)
    partial = out / "selections.jsonl.partial"
    first, *others = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(first[:40] + b"}\n" + b"".join(others) + first[:60])
    before = partial.read_bytes()
    assert estimate_cost(oracle(NOWHERE), run, out).trajectories == NUM_TRAJECTORIES - 3
    assert partial.read_bytes() == before, "it is only looked at"
    with serve(good) as server:
        select_steps(oracle(server.url), run, out)
    assert len(server.requests) == NUM_TRAJECTORIES - 3


def test_windows_and_the_other_judge_are_estimated_too(run: Path, tmp_path: Path) -> None:
    long = write_trajectories(tmp_path / "long", [make_trajectory(60, "long", thought="x" * 300)])
    assert (
        estimate_cost(
            oracle(NOWHERE, max_prompt_chars=8_000), long, tmp_path / "out"
        ).usage.requests
        > 3
    )
    assert (
        estimate_cost(oracle(NOWHERE, selector="rejection"), run, tmp_path / "out").usage.requests
        == NUM_TRAJECTORIES
    )


def test_a_selector_that_asks_nobody_has_no_estimate(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not ask a model"):
        estimate_cost(select_config(selector="random"), run, tmp_path / "out")


@pytest.mark.parametrize("with_prices", [True, False])
def test_a_dry_run_prints_requests_tokens_and_price_and_makes_nothing(
    with_prices: bool, run: Path, tmp_path: Path, prices: str
) -> None:
    out = tmp_path / "out"
    arguments = [
        "select",
        "--trajectories",
        run,
        "--selector",
        "oracle",
        "model=judge",
        f"endpoint.base_url={NOWHERE}",
        "--out",
        out,
        "--dry-run",
    ]
    said = (
        CliRunner()
        .invoke(app, [*map(str, arguments), *([f"prices={prices}"] if with_prices else [])])
        .output
    )
    assert "12 trajectories, in 12 requests" in said
    assert "sent and" in said
    assert ("price:     about" in said) is with_prices
    assert ("no price is known of 'judge'" in said) is not with_prices
    assert not out.exists()


def test_the_cost_is_in_the_summary_where_a_price_is_known(
    run: Path, tmp_path: Path, prices: str
) -> None:
    with serve(good) as server:
        with_prices = select_steps(oracle(server.url, prices=prices), run, tmp_path / "a")
        without = select_steps(oracle(server.url), run, tmp_path / "b")
    assert with_prices.summary["cost_usd"] == 107.0 * NUM_TRAJECTORIES
    assert "cost_usd" not in without.summary
    assert [selection.usage for selection in selections_in(tmp_path / "a")] == [
        Usage(requests=1, input_tokens=100, output_tokens=7)
    ] * 12


@pytest.mark.parametrize("max_in_flight", [1, 4, 50])
def test_a_limit_stops_cleanly_and_a_higher_one_goes_on(
    max_in_flight: int, run: Path, tmp_path: Path, prices: str
) -> None:
    with serve(as_estimated) as server:
        # Limits in questions; the same limit again asks nothing more.
        for limit, expected in ((2.5, 2), (2.5, 2), (6.0, 6)):
            config = oracle(
                server.url,
                prices=prices,
                max_cost_usd=limit * QUESTION_COST,
                max_in_flight=max_in_flight,
            )
            with pytest.raises(
                CostLimitError,
                match=f"has paid {expected * QUESTION_COST:.4f} USD, and trajectory 't{expected}'",
            ):
                select_steps(config, run, tmp_path / "out")
            assert len(server.requests) == expected
            assert (tmp_path / "out" / "selections.jsonl.partial").read_bytes().count(
                b"\n"
            ) == expected
        manifest = select_steps(
            oracle(server.url, prices=prices, max_cost_usd=1e6), run, tmp_path / "out"
        )
        assert len(server.requests) == NUM_TRAJECTORIES
    assert manifest.summary["cost_usd"] == sum(map(sum, map(tokens_of, server.requests)))


def test_nothing_is_begun_that_might_go_beyond_the_limit_together_with_what_is_under_way(
    run: Path, tmp_path: Path, prices: str
) -> None:
    """An answer takes half of its estimate, so that room is left only once it is known."""

    def cheaper(body: dict[str, Any], number: int) -> Reply:
        sent, received = tokens_of(body)
        return completion(judge_answer(body), delay=0.05, tokens=(sent // 2, received // 2))

    with serve(cheaper) as server:
        config = oracle(
            server.url, prices=prices, max_cost_usd=3.0 * QUESTION_COST, max_in_flight=12
        )
        with pytest.raises(CostLimitError, match="trajectory 't5'"):
            select_steps(config, run, tmp_path / "out")
        assert len(server.requests) == 5
        assert server.times[2] - server.times[0] < 0.05 <= server.times[3] - server.times[0], (
            "three together, then as room is left"
        )


def test_answers_more_expensive_than_their_estimates_make_the_run_more_careful(
    run: Path, tmp_path: Path, prices: str
) -> None:
    """Hidden thoughts make every answer five times as expensive.

    Only what is under way before the first one comes is beyond the estimate.
    """

    def expensive(body: dict[str, Any], number: int) -> Reply:
        sent, received = tokens_of(body)
        return completion(judge_answer(body), tokens=(sent, received + 4 * QUESTION_COST))

    with serve(expensive) as server:
        config = oracle(
            server.url, prices=prices, max_cost_usd=14.0 * QUESTION_COST, max_in_flight=1
        )
        with pytest.raises(
            CostLimitError,
            match=f"paid {10 * QUESTION_COST:.4f} USD.* about {5 * QUESTION_COST:.4f}",
        ):
            select_steps(config, run, tmp_path / "out")
    assert len(server.requests) == 2


def test_a_question_more_expensive_than_the_whole_limit_is_named_at_once_and_not_asked(
    run: Path, tmp_path: Path, prices: str
) -> None:
    with pytest.raises(
        CostLimitError,
        match=r"paid 0\.0000 USD, and trajectory 't0' is expected .* about 8.*over max_cost_usd=5",
    ):
        select_steps(
            oracle(NOWHERE, prices=prices, max_cost_usd=5.0, max_in_flight=8), run, tmp_path / "out"
        )


def test_what_was_paid_in_vain_counts_towards_the_limit_also_of_the_next_start(
    run: Path, tmp_path: Path, prices: str
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        if number_in(body) % 2:
            return as_estimated(body, number)
        return (
            completion("nonsense", tokens=tokens_of(body))
            if len(body["messages"]) == 2
            else failure(503)
        )

    with serve(answer) as server:
        config = oracle(server.url, prices=prices, max_cost_usd=6.0 * QUESTION_COST)
        with pytest.raises(CostLimitError, match=f"paid {6 * QUESTION_COST:.4f}"):
            select_steps(config, run, tmp_path / "out")
        asked = len(server.requests)
        assert sum(len(body["messages"]) == 2 for body in server.requests) == 6
        with pytest.raises(CostLimitError, match=f"paid {6 * QUESTION_COST:.4f}"):
            select_steps(config, run, tmp_path / "out")
        assert len(server.requests) == asked
    with serve(as_estimated) as again:
        manifest = select_steps(oracle(again.url, prices=prices), run, tmp_path / "out")
    assert manifest.summary["usage"]["requests"] == NUM_TRAJECTORIES + 3
    assert (
        manifest.summary["cost_usd"]
        == sum(sum(tokens_of(body)) for body in again.requests) + 6 * QUESTION_COST
    )
    [spent] = read_records(tmp_path / "out" / "spent.jsonl", Payment)
    assert spent.usage == Usage(**manifest.summary["usage"])


def test_a_window_that_was_paid_before_the_run_was_killed_is_not_forgotten(
    tmp_path: Path, prices: str
) -> None:
    """The first windows are answered, the last never: the process dies with nothing selected."""
    run, out = (
        write_trajectories(tmp_path / "long", [make_trajectory(60, "long", thought="x" * 300)]),
        tmp_path / "out",
    )
    questions = estimate_cost(oracle(NOWHERE, max_prompt_chars=8_000), run, out).usage.requests
    script = (
        "import sys; from pathlib import Path; "
        "from atlas.selection.select_steps import SelectConfig, select_steps; "
        "config = SelectConfig.model_validate_json(sys.argv[1]); "
        "select_steps(config, Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    with serve(
        lambda body, number: completion(judge_answer(body), delay=60.0 if number == 2 else 0.0)
    ) as server:
        config = oracle(server.url, prices=prices, max_prompt_chars=8_000, timeout_seconds=60.0)
        process = subprocess.Popen(
            [sys.executable, "-c", script, config.model_dump_json(), str(run), str(out)]
        )
        deadline = time.monotonic() + 60
        while len(server.requests) < 3:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
        manifest = select_steps(config, run, out)
    assert selections_in(out)[0].usage.requests == questions
    assert manifest.summary["usage"]["requests"] == questions + 2
    assert manifest.summary["cost_usd"] == 107.0 * (questions + 2)


def test_a_run_begun_before_payments_were_kept_counts_its_selections(
    run: Path, tmp_path: Path, prices: str
) -> None:
    out = tmp_path / "out"
    with serve(as_estimated) as server:
        with pytest.raises(CostLimitError):
            select_steps(
                oracle(server.url, prices=prices, max_cost_usd=2.5 * QUESTION_COST), run, out
            )
        (out / "spent.jsonl.partial").unlink()
        with pytest.raises(CostLimitError, match=f"paid {3 * QUESTION_COST:.4f}"):
            select_steps(
                oracle(server.url, prices=prices, max_cost_usd=3.5 * QUESTION_COST), run, out
            )


def test_a_limit_cannot_be_held_where_the_server_does_not_tell_its_usage(
    run: Path, tmp_path: Path, prices: str
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        reply = json.loads(good(body, number).body)
        del reply["usage"]
        return failure(400) if number == 0 else Reply(json.dumps(reply))

    with serve(answer) as server:
        limited = oracle(server.url, prices=prices, max_cost_usd=1e6, structured=False)
        # The refused request, which costs nothing, and the first answer of each start.
        for expected in (2, 3):
            with pytest.raises(ModelError, match="max_cost_usd=1e\\+06 cannot be held"):
                select_steps(limited, run, tmp_path / "out")
            assert len(server.requests) == expected
        select_steps(oracle(server.url, prices=prices, structured=False), run, tmp_path / "out")
        assert len(server.requests) == NUM_TRAJECTORIES


def test_a_limit_that_is_reached_with_the_last_answer_is_no_stop(
    run: Path, tmp_path: Path, prices: str
) -> None:
    with serve(as_estimated) as server:
        estimated = estimate_cost(oracle(server.url, prices=prices), run, tmp_path / "out").cost_usd
        select_steps(
            oracle(server.url, prices=prices, max_cost_usd=estimated), run, tmp_path / "out"
        )


def test_the_question_is_named_in_each_selection(run: Path, tmp_path: Path) -> None:
    with serve(good) as server:
        manifest = select_steps(oracle(server.url), run, tmp_path / "out")
    assert {selection.prompt_digest for selection in selections_in(tmp_path / "out")} == {
        ORACLE_PROMPT.digest
    }
    assert manifest.inputs["prompt"].digest == ORACLE_PROMPT.digest


def test_problems_alone_are_tried_again_and_the_others_are_taken_over(
    run: Path, tmp_path: Path, prices: str
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion(None, refusal="no") if number_in(body) in (3, 8) else good(body, number)

    with serve(answer) as server:
        first = select_steps(oracle(server.url), run, tmp_path / "first")
    settings = {
        "retry_problems_of": str(tmp_path / "first"),
        "prices": prices,
        "max_cost_usd": 2.5 * QUESTION_COST,
    }
    with serve(good) as server:
        config = oracle(server.url, temperature=0.5, **settings)
        assert estimate_cost(config, run, tmp_path / "second").trajectories == 2
        second = select_steps(config, run, tmp_path / "second")
        assert sorted(map(number_in, server.requests)) == [3, 8]
        assert select_steps(config, run, tmp_path / "second") == second
    assert (first.summary["problems"], second.summary["problems"]) == (2, 0)
    assert second.summary["usage"]["requests"] == 2, "what the first run paid is in its own summary"
    assert second.inputs["retry_problems_of"].digest == first.digest
    before, after = selections_in(tmp_path / "first"), selections_in(tmp_path / "second")
    assert [new for old, new in zip(before, after, strict=True) if old.problem is None] == [
        old for old in before if old.problem is None
    ]
    with pytest.raises(ConfigError, match="has no problem among its 12 selections"):
        select_steps(
            oracle(NOWHERE, retry_problems_of=str(tmp_path / "second")), run, tmp_path / "third"
        )
    with pytest.raises(ConfigError, match=r"selected differently \(ratio: 0.3 there, 0.5 now\)"):
        select_steps(
            oracle(NOWHERE, ratio=0.5, retry_problems_of=str(tmp_path / "first")),
            run,
            tmp_path / "third",
        )


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
    assert [selection.trajectory_id for selection in selections_in(out) if selection.problem] == [
        "t3",
        "t8",
    ]
    with serve(good) as server:
        second = select_steps(
            oracle(server.url, retry_problems_of=str(out)), run, tmp_path / "second"
        )
        assert sorted(map(number_in, server.requests)) == [3, 8]
    assert second.summary["problems"] == 0


def test_a_dry_run_refuses_the_folder_of_another_run(tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "t", [make_trajectory(3)])
    select_steps(select_config("random"), run, tmp_path / "out")
    before = {file: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()}
    with pytest.raises(RunError, match="was made with other settings"):
        estimate_cost(oracle(NOWHERE), run, tmp_path / "out")
    after = {file: file.read_bytes() for file in (tmp_path / "out").iterdir() if file.is_file()}
    assert before == after
    estimate_cost(oracle(NOWHERE), run, tmp_path / "new")
    assert not (tmp_path / "new").exists()
