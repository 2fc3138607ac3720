"""An oracle asked in batches, and one whose answers are kept: nothing is paid for twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError, CostLimitError, EndpointError, ModelError
from atlas.models.endpoints import inspect_api
from atlas.models.endpoints.prices import Price
from atlas.records import Usage
from atlas.selection.costs import price_of
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.select_steps import SelectConfig, select_steps
from tests.models.endpoints.batch_asking import ids_in
from tests.models.endpoints.batch_dialects import DIALECTS, Dialect
from tests.models.endpoints.batch_server import serve_batches
from tests.models.endpoints.chat_server import Reply, completion, failure, serve
from tests.models.endpoints.provider_answers import as_chat
from tests.run_folders import selections_in
from tests.selection.configs import select_config
from tests.selection.oracle_answers import good, judge_answer, labels_of, number_in, write_numbered

NUM_TRAJECTORIES = 12


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_numbered(tmp_path / "trajectories", NUM_TRAJECTORIES)


def oracle(url: str | None, **settings: Any) -> SelectConfig:
    values = {
        "selector": "oracle",
        "model": "judge",
        "base_url": url,
        "max_retries": 1,
        "timeout_seconds": 5.0,
    }
    return select_config(**{**values, **settings})


def in_batches(url: str | None, **settings: Any) -> SelectConfig:
    return oracle(url, batch=True, batch_poll_seconds=0.02, **settings)


def test_a_run_in_batches_selects_what_one_by_one_selects(run: Path, tmp_path: Path) -> None:
    with serve(good) as server:
        select_steps(oracle(server.url), run, tmp_path / "single")
    with serve_batches(good) as server:
        manifest = select_steps(in_batches(server.url, batch_size=5), run, tmp_path / "batches")
    assert selections_in(tmp_path / "batches") == selections_in(tmp_path / "single")
    assert manifest.summary["usage"]["requests"] == NUM_TRAJECTORIES
    assert sorted(len(lines) for lines in server.batches.values()) == [2, 5, 5]


def test_an_answer_that_breaks_the_rules_is_asked_again_in_a_later_batch(
    run: Path, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return (
            completion("nonsense")
            if number_in(body) in (3, 8) and len(body["messages"]) == 2
            else good(body, number)
        )

    with serve_batches(answer) as server:
        manifest = select_steps(in_batches(server.url), run, tmp_path / "out")
    assert manifest.summary["problems"] == 0
    assert [len(lines) for lines in server.batches.values()] == [NUM_TRAJECTORIES, 2]


def test_rejection_is_asked_in_batches_too(run: Path, tmp_path: Path) -> None:
    labels = labels_of(dict.fromkeys(range(5), "good"))
    with serve_batches(lambda body, number: completion(labels)) as server:
        manifest = select_steps(in_batches(server.url, selector="rejection"), run, tmp_path / "out")
    assert manifest.summary["selected_steps"] == 5 * NUM_TRAJECTORIES
    assert len(server.batches) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_provider_selects_the_same(
    dialect: Dialect, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion(judge_answer(as_chat(body)))

    with serve(good) as server:
        select_steps(oracle(server.url), run, tmp_path / "single")
    with serve_batches(answer, dialect=dialect) as batches:
        monkeypatch.setattr(inspect_api, "_refuse_addresses_in_the_environment", lambda name: None)
        monkeypatch.setenv(dialect.address_variable or "UNUSED", batches.url)
        monkeypatch.setenv(dialect.key_variable, "sk-very-secret-0123456789")
        url = batches.url if dialect.address_variable is None else None
        config = in_batches(url, model=dialect.model, batch_size=5)
        manifest = select_steps(config, run, tmp_path / "batches")
    assert selections_in(tmp_path / "batches") == [
        selection.model_copy(update={"selector": made.selector})
        for selection, made in zip(
            selections_in(tmp_path / "single"), selections_in(tmp_path / "batches"), strict=True
        )
    ]
    assert (
        manifest.summary["usage"]
        == Usage(requests=12, input_tokens=1_200, output_tokens=84).model_dump()
    )
    assert sorted(len(lines) for lines in batches.batches.values()) == [2, 5, 5]


def test_a_killed_run_finds_its_batches_again_and_pays_for_no_question_twice(
    run: Path, tmp_path: Path
) -> None:
    script = """
import sys
from pathlib import Path
from atlas.selection.select_steps import SelectConfig, select_steps
endpoint = {"base_url": sys.argv[1]}
batches = {"batch": True, "batch_size": 5, "batch_poll_seconds": 0.02}
config = SelectConfig(
    selector={"name": "oracle", "model": "judge", "endpoint": endpoint, **batches}
)
select_steps(config, Path(sys.argv[2]), Path(sys.argv[3]))
"""
    out = tmp_path / "out"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", script, server.url, str(run), str(out)], env=dict(os.environ)
        )

    def kill_when(is_time: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not is_time():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def num_noted() -> int:
        return sum(id_ is not None for id_ in ids_in(tmp_path / "cache"))

    with serve_batches(good, num_looks=1_000_000) as server:
        process = start()
        kill_when(lambda: num_noted() == 1)
        # It ended, and no process has looked.
        server.looks["batch_0"] = 2_000_000
        process = start()
        kill_when(lambda: num_noted() == 2)
        server.num_looks = 0
        select_steps(in_batches(server.url, batch_size=5), run, out)
        assert sorted(map(number_in, server.bodies)) == list(range(NUM_TRAJECTORIES)), (
            "each was asked about once"
        )
    assert len(selections_in(out)) == NUM_TRAJECTORIES


def test_problems_that_are_tried_again_get_new_answers_not_those_of_a_batch_that_was_left(
    run: Path, tmp_path: Path
) -> None:
    def refusing(body: dict[str, Any], number: int) -> Reply:
        return (
            completion(None, refusal="no")
            if number_in(body) == 3 and number < NUM_TRAJECTORIES
            else good(body, number)
        )

    is_shut = True

    def shut(method: str, path: str, number: int) -> Reply | None:
        return failure(401) if is_shut and method == "GET" else None

    with serve_batches(refusing, misbehave=shut) as batches, serve(refusing) as server:
        # The batch was sent, and cannot be looked at.
        with pytest.raises(ModelError):
            select_steps(in_batches(batches.url), run, tmp_path / "first")
        select_steps(oracle(server.url), run, tmp_path / "first")
        is_shut = False
        manifest = select_steps(
            in_batches(batches.url, retry_problems_of=str(tmp_path / "first")),
            run,
            tmp_path / "again",
        )
        assert manifest.summary["problems"] == 0
        assert [number_in(body) for body in batches.bodies[NUM_TRAJECTORIES:]] == [3]


def test_a_provider_without_batches_is_refused_before_anything_is_made(
    run: Path, tmp_path: Path
) -> None:
    arguments = [
        "select",
        "--trajectories",
        run,
        "--selector",
        "oracle",
        "model=mistral/large",
        "batch=true",
        "--out",
        tmp_path / "out",
    ]
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert "no batch endpoint is known for model 'mistral/large'" in str(
        done.exception or done.output
    )
    assert not (tmp_path / "out").exists()
    with serve_batches(good, misbehave=lambda method, path, number: failure(404)) as server:
        with pytest.raises(ModelError, match="the batch could not be sent"):
            select_steps(in_batches(server.url), run, tmp_path / "out")
        assert server.paths == ["POST /files"]


def test_the_discount_of_batches_is_in_the_price_where_the_table_says(
    run: Path, tmp_path: Path
) -> None:
    (tmp_path / "known.yaml").write_text("judge: {input: 1000000, output: 1000000, batch: 0.5}\n")
    (tmp_path / "unknown.yaml").write_text("judge: {input: 1000000, output: 1000000}\n")
    prices = {name: str(tmp_path / f"{name}.yaml") for name in ("known", "unknown")}
    half, full = Price(input=500_000, output=500_000), Price(input=1_000_000, output=1_000_000)
    for config, price in (
        (in_batches("http://x/v1", prices=prices["known"]), half),
        (oracle("http://x/v1", prices=prices["known"]), full),
        (in_batches("http://x/v1", prices=prices["unknown"]), full),
    ):
        assert price_of(config.selector.settings) == price
    full_usd, half_usd = (
        estimate_cost(
            in_batches("http://x/v1", prices=prices[name]), run, tmp_path / "out"
        ).cost_usd
        for name in ("unknown", "known")
    )
    assert full is not None
    assert half_usd == full_usd / 2
    with serve_batches(good) as server:
        config = in_batches(
            server.url, prices=prices["known"], max_cost_usd=half_usd / NUM_TRAJECTORIES * 2.2
        )
        with pytest.raises(CostLimitError, match=r"paid 535\.0000 USD"):
            select_steps(config, run, tmp_path / "out")
        assert len(server.batches["batch_0"]) == 2, (
            "a batch holds no more than fits under the limit, by the estimate"
        )
        assert len(server.questions) == 10


@pytest.mark.parametrize("is_known", [True, False])
def test_a_dry_run_says_whether_it_knows_the_discount(
    is_known: bool, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "prices.yaml").write_text(
        "openai/judge: {input: 1, output: 1" + (", batch: 0.5}\n" if is_known else "}\n")
    )
    arguments = [
        "select",
        "--trajectories",
        run,
        "--selector",
        "oracle",
        "model=openai/judge",
        "batch=true",
        "--dry-run",
    ]
    arguments += ["--out", tmp_path / "out", f"prices={tmp_path / 'prices.yaml'}"]
    said = CliRunner().invoke(app, [*map(str, arguments)]).output
    assert "in 12 requests, in batches" in said
    assert ("the table does not say what batches cost" in said) is not is_known


def test_with_the_cache_the_same_question_is_paid_for_once_in_whatever_run(
    run: Path, tmp_path: Path
) -> None:
    with serve(good) as server:
        first = select_steps(oracle(server.url, cache=True), run, tmp_path / "first")
        again = select_steps(oracle(server.url, cache=True), run, tmp_path / "again")
        assert len(server.requests) == NUM_TRAJECTORIES
        for change in (
            {"temperature": 0.5},
            {"model": "other"},
            {"max_tokens": 500},
            {"structured": False},
            {"ratio": 0.5},
        ):
            before = len(server.requests)
            select_steps(oracle(server.url, cache=True, **change), run, tmp_path / str(change))
            assert len(server.requests) == before + NUM_TRAJECTORIES, change
    selections, before = selections_in(tmp_path / "again"), selections_in(tmp_path / "first")
    assert [selection.critical_steps for selection in selections] == [
        selection.critical_steps for selection in before
    ]
    assert first.summary["usage"]["requests"] == NUM_TRAJECTORIES
    assert again.summary["usage"] == Usage().model_dump(), "nothing was paid"
    assert "cost_usd" not in again.summary


def test_with_the_cache_an_answer_that_was_cut_is_complained_about_in_the_same_words(
    run: Path, tmp_path: Path
) -> None:
    def cut_at_first(body: dict[str, Any], number: int) -> Reply:
        return (
            good(body, number)
            if len(body["messages"]) > 2
            else completion('{"critical', finish_reason="length")
        )

    with serve(cut_at_first) as server:
        for name in ("first", "again"):
            select_steps(oracle(server.url, cache=True), run, tmp_path / name)
    assert len(server.requests) == 2 * NUM_TRAJECTORIES


@pytest.mark.parametrize("serving", [serve, serve_batches])
def test_a_key_that_an_answer_repeats_reaches_no_file_not_even_the_cache(
    serving: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with serving(
        lambda body, number: completion(judge_answer(body).replace("because", key))
    ) as server:
        for name in ("first", "again"):
            config = in_batches if serving is serve_batches else oracle
            select_steps(config(server.url, cache=True), run, tmp_path / name)
            assert (selections_in(tmp_path / name)[0].critical_steps[0].reason or "").startswith(
                "[key] of"
            )
    assert list((tmp_path / "cache").rglob("answers.sqlite")), "it is here that the cache is"
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()
    ]


def test_without_the_cache_every_run_asks_for_itself_and_nothing_is_kept(
    run: Path, tmp_path: Path
) -> None:
    with serve(good) as server:
        for name in ("first", "again"):
            select_steps(oracle(server.url), run, tmp_path / name)
    assert len(server.requests) == 2 * NUM_TRAJECTORIES
    assert not (tmp_path / "cache").exists()


def test_what_failed_is_not_kept(run: Path, tmp_path: Path) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return failure(503) if number_in(body) == 3 else good(body, number)

    out = tmp_path / "first"
    with serve(answer) as server:
        select_steps(
            oracle(server.url, cache=True, max_retries=0, accept_unanswered=True), run, out
        )
        with pytest.raises(EndpointError):
            select_steps(oracle(server.url, cache=True, max_retries=0), run, tmp_path / "again")
    assert [number_in(body) for body in server.requests].count(3) == 2
    assert len(server.requests) == NUM_TRAJECTORIES + 1


def test_batches_and_the_cache_go_together(run: Path, tmp_path: Path) -> None:
    with serve_batches(good) as server:
        for name in ("first", "again"):
            manifest = select_steps(in_batches(server.url, cache=True), run, tmp_path / name)
    assert len(server.questions) == NUM_TRAJECTORIES
    assert manifest.summary["usage"]["requests"] == 0


def test_a_run_begun_one_by_one_may_go_on_in_batches(run: Path, tmp_path: Path) -> None:
    with (
        serve(
            lambda body, number: good(body, number) if number < 4 else failure(401, "spent")
        ) as server,
        pytest.raises(ModelError),
    ):
        select_steps(oracle(server.url, max_in_flight=1), run, tmp_path / "out")
    with serve_batches(good) as batches:
        select_steps(in_batches(batches.url), run, tmp_path / "out")
    assert len(batches.questions) == NUM_TRAJECTORIES - 4


@pytest.mark.parametrize(
    "model",
    ["mistral/x", "openai/bedrock/x", "anthropic/vertex/x", "google/vertex/x", "together/org/x"],
)
def test_batches_are_known_of_four_providers_and_of_servers(model: str) -> None:
    with pytest.raises(ConfigError, match="no batch endpoint is known"):
        select_config(selector="oracle", batch=True, model=model)
    assert select_config(
        selector="oracle", batch=True, model=model, base_url="http://127.0.0.1:1/v1"
    ).selector.settings.batch
    for known in ("openai/gpt-4o", "openai/azure/x", "anthropic/x", "google/x"):
        assert select_config(selector="oracle", batch=True, model=known).selector.settings.batch


def test_the_price_of_batches_is_a_part(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("judge: {input: 1, output: 1, batch: 50}\n")
    with pytest.raises(ConfigError, match="'batch' is 50"):
        price_of(oracle("http://x/v1", prices=str(tmp_path / "prices.yaml")).selector.settings)
