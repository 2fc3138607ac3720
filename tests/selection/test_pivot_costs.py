"""What `pivot` pays: limits, endpoints that count wrong or are expensive, and two paid models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, CostLimitError, EndpointError, ModelError
from atlas.records import Message, ToolCall
from atlas.selection.plan_selection import plan_selection
from atlas.selection.select_steps import select_steps
from atlas.store.record_log import RecordLog
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, completion, failure, serve
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config
from tests.selection.pivot_players import FILES, answer_of, react


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_trajectories(tmp_path / "in", [make_trajectory(3, f"t{n}") for n in range(6)])


def paid(url: str, folder: Path, **settings: Any) -> Any:
    """Four samples a step of the model m, at 10 and 100 USD per million tokens."""
    prices = folder / "prices.yaml"
    prices.write_text("m: {input: 10, output: 100}\nj: {input: 1000, output: 1000}\n")
    endpoint = {"base_url": url, "max_retries": 0, "max_in_flight": 1}
    player = {"name": "endpoint", "endpoint": endpoint, "prices": str(prices)}
    return select_config("pivot", model="m", num_samples=4, player=player, **settings)


def test_a_limit_cannot_be_held_by_a_server_that_does_not_count(run: Path, tmp_path: Path) -> None:
    def uncounted(body: dict[str, Any], number: int) -> Reply:
        answer = json.loads(answer_of(body, number).body)
        del answer["usage"]
        return Reply(json.dumps(answer))

    with serve(uncounted) as server:
        with pytest.raises(ModelError, match="max_cost_usd=9 cannot be held"):
            select_steps(paid(server.url, tmp_path, max_cost_usd=9), run, tmp_path / "out")
        assert len(server.requests) <= 2 * 12, "it ends after the first trajectory"


def test_trajectories_that_cost_more_than_estimated_raise_the_next_estimates(
    run: Path, tmp_path: Path
) -> None:
    def thinks_long(body: dict[str, Any], number: int) -> Reply:
        return completion(react("sing"), tokens=(100, 2000))

    with serve(thinks_long) as server:
        # A trajectory costs 12 * 0.201 USD, about 100 times the estimate.
        with pytest.raises(CostLimitError, match="over max_cost_usd=4"):
            select_steps(paid(server.url, tmp_path, max_cost_usd=4), run, tmp_path / "out")
        assert len(server.requests) == 12


@pytest.mark.parametrize("file", ["scores", "samples", "agreement", "spent"])
def test_a_run_that_is_killed_while_its_files_are_finished_asks_nothing_again(
    file: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    seal = RecordLog.seal

    def killed(log: RecordLog[Any], order: Any) -> None:
        if log.path.stem == file:
            # The system closes the files of a killed process.
            log.close()
            raise KilledError
        seal(log, order)

    with serve(answer_of) as server:
        config, out = paid(server.url, tmp_path), tmp_path / "out"
        whole = select_steps(config, run, tmp_path / "whole")
        with monkeypatch.context() as patch:
            patch.setattr(RecordLog, "seal", killed)
            with pytest.raises(KilledError):
                select_steps(config, run, out)
        num_asked = len(server.requests)
        again = select_steps(config, run, out)
        assert len(server.requests) == num_asked
    assert (again.outputs, again.summary) == (whole.outputs, whole.summary)
    assert all(
        (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes() for name in FILES
    )
    assert not list(out.glob("*.partial"))


def both(url: str, folder: Path, **settings: Any) -> Any:
    """Samples of m, which j judges, at one server."""
    endpoint = {"base_url": url, "max_retries": 0, "max_in_flight": 1}
    judge = {"name": "judge", "model": "j", "endpoint": endpoint}
    prices = settings.pop("judge_prices", folder / "prices.yaml")
    judge |= {} if prices is None else {"prices": str(prices)}
    return paid(url, folder, agreement=judge, **settings)


def answer_both(body: dict[str, Any], number: int) -> Reply:
    if body["model"] == "j":
        return completion('{"verdicts": [{"index": 0, "same": false}]}', tokens=(1000, 10))
    return answer_of(body, number)


# USD of an answer: 100 or 1,000 tokens in, 10 out.
SAMPLE_USD, JUDGMENT_USD = 0.002, 1.01


def test_two_paid_models_have_one_cost_and_one_limit(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serve(answer_both) as server:
        with pytest.raises(CostLimitError, match="over max_cost_usd=8"):
            select_steps(both(server.url, tmp_path, max_cost_usd=8), run, out)
        num_asked = len(server.requests)
        assert 0 < num_asked < 18 * 5
        manifest = select_steps(both(server.url, tmp_path, max_cost_usd=50), run, out)
        judged = sum(body["model"] == "j" for body in server.requests)
        sampled = len(server.requests) - judged
    assert sampled == 72
    assert judged > 0
    usd = sampled * SAMPLE_USD + judged * JUDGMENT_USD
    assert manifest.summary["cost_usd"] == pytest.approx(usd)
    assert manifest.summary["usage"]["requests"] == sampled + judged


def test_without_one_of_two_prices_no_cost_is_said_and_no_limit_is_held(
    run: Path, tmp_path: Path
) -> None:
    with serve(answer_both) as server:
        limited = both(server.url, tmp_path, judge_prices=None, max_cost_usd=5)
        with pytest.raises(ConfigError, match="no price is known for model 'j'"):
            select_steps(limited, run, tmp_path / "refused")
        assert not server.requests

        def stops(body: dict[str, Any], number: int) -> Reply:
            return answer_both(body, number) if number < 30 else failure(500)

        unknown = both(server.url, tmp_path, judge_prices=None)
        with serve(stops) as broken, pytest.raises(EndpointError):
            select_steps(both(broken.url, tmp_path, judge_prices=None), run, tmp_path / "out")
        with pytest.raises(ConfigError, match="max_cost_usd=5 cannot be held"):
            select_steps(both(server.url, tmp_path, max_cost_usd=5), run, tmp_path / "out")
        assert not server.requests
        assert "cost_usd" not in select_steps(unknown, run, tmp_path / "out").summary


def test_the_dry_run_tells_what_is_then_paid(tmp_path: Path) -> None:
    """A server that counts four characters a token, like the dry run."""
    tool = {"type": "function", "function": {"name": "open", "description": "x" * 4_000}}
    trajectory = make_trajectory(4)
    steps = tuple(
        step.model_copy(
            update={
                "response": Message(
                    role="assistant",
                    tool_calls=(ToolCall(id=f"c{n}", name="open", arguments=f'{{"n": {n}}}'),),
                )
            }
        )
        for n, step in enumerate(trajectory.steps)
    )
    trajectory = trajectory.model_copy(update={"steps": steps, "tools": (tool,)})
    run = write_trajectories(tmp_path / "tools", [trajectory])

    def counting(body: dict[str, Any], number: int) -> Reply:
        sent = len(json.dumps([body["messages"], body.get("tools", [])])) // 4
        if body["model"] == "j":
            asked = body["messages"][-1]["content"].count("\n## proposal")
            rows = [{"index": index, "same": False} for index in range(asked)]
            return completion(json.dumps({"verdicts": rows}), tokens=(sent, 15 * asked))
        function = {"name": "open", "arguments": f'{{"n": {body["seed"]}}}'}
        call = {"id": "c", "type": "function", "function": function}
        return completion(None, tokens=(sent, 4), tool_calls=[call])

    with serve(counting) as server:
        config = both(server.url, tmp_path, min_variance=None)
        plan = plan_selection(config, run, tmp_path / "out")
        assert plan is not None
        [told] = [line for line in plan if line.startswith("together:")]
        found = select_steps(config, run, tmp_path / "out").summary["cost_usd"]
        asked = {body["model"] for body in server.requests}
    assert asked == {"m", "j"}
    expected = float(told.split("about ")[1].split()[0])
    assert expected == pytest.approx(found, rel=0.3)
