"""Runs of `pivot`: what they keep, cost and resume, with local models, endpoints and judges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DataError, EndpointError
from atlas.models.players import PLAYER
from atlas.selection.plan_selection import plan_selection
from atlas.selection.sampling.samples import StepAgreement, StepSample
from atlas.selection.select_steps import select_steps
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, completion, failure, serve
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import select_config
from tests.selection.pivot_players import (
    FILES,
    TABLE,
    Script,
    answer_of,
    described,
    local,
    react,
    remote,
)


def test_a_selection_keeps_what_was_sampled_and_says_how_far_it_agrees(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PLAYER, "make", lambda *_: Script(TABLE))
    monkeypatch.setattr(
        "atlas.models.local.local_player.LocalPlayer.describe_model",
        staticmethod(lambda model, out: described(out)),
    )
    trajectories = [make_trajectory(5, "b"), make_trajectory(2, "a"), make_trajectory(0, "c")]
    run = write_trajectories(tmp_path / "in", trajectories)
    config = select_config("pivot", model="m", num_samples=4)
    select_steps(config, run, tmp_path / "out")
    samples = list(read_records(tmp_path / "out/samples.jsonl", StepSample))
    steps = list(read_records(tmp_path / "out/agreement.jsonl", StepAgreement))
    assert [(one.trajectory_id, one.step) for one in steps] == [
        *(("b", step) for step in range(5)),
        *(("a", step) for step in range(2)),
    ]
    assert len(samples) == 4 * len(steps)
    assert [one.sample for one in samples] == [*range(4)] * len(steps)
    second = steps[1]
    assert (second.expert, second.mean, second.variance) == ("go to red ball 1", 0.25, 0.1875)
    assert [(one.action, one.agrees) for one in second.samples] == [
        ("go to red ball 1", True),
        *[("sing", False)] * 3,
    ]
    assert [sorted(one.indices) for one in selections_in(tmp_path / "out")] == [[2], [1], []]
    said = capfd.readouterr().err
    assert "at 2 never, 4 in part, 1 always; 4 are kept" in said


def test_if_the_model_never_agrees_the_error_says_what_was_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(PLAYER, "make", lambda *_: Script({}))
    run = write_trajectories(tmp_path / "in", [make_trajectory(3)])
    url = {"base_url": "http://127.0.0.1:9/v1"}
    config = select_config("pivot", model="m", player={"name": "endpoint", "endpoint": url})
    with pytest.raises(DataError, match="or no step is among the steps where samples"):
        select_steps(config, run, tmp_path / "out")
    assert "at 3 never, 0 in part, 0 always; 0 are kept" in capfd.readouterr().err


def test_several_workers_are_refused(tmp_path: Path, tiny_model_folder: Path) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(2)])
    config = select_config("pivot", model=str(tiny_model_folder), workers=2)
    with pytest.raises(ConfigError, match="workers=2 cannot be used"):
        select_steps(config, run, tmp_path / "out")


def test_an_endpoint_that_fails_half_way_loses_nothing_and_is_asked_only_the_rest(
    tmp_path: Path,
) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(3, "a"), make_trajectory(3, "b")])
    with serve(answer_of) as server:
        whole = select_steps(remote(server.url), run, tmp_path / "whole")
        assert len(server.requests) == 24

        def failing(body: dict[str, Any], number: int) -> Reply:
            return answer_of(body, number) if number < 7 else failure(500)

        with serve(failing) as broken, pytest.raises(EndpointError, match="run the same command"):
            select_steps(remote(broken.url), run, tmp_path / "out")
        assert len(broken.requests) == 7 + 2, "a trajectory is not asked on after a failure"
        first = len(server.requests)
        again = select_steps(remote(server.url), run, tmp_path / "out")
        assert len(server.requests) - first == 24 - 7
    assert again.outputs == whole.outputs
    assert again.summary["usage"]["requests"] == 24
    assert again.summary["usage"]["output_tokens"] == 240


def test_money_is_counted_and_limited(tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(3, "a"), make_trajectory(3, "b")])
    prices = tmp_path / "prices.yaml"
    prices.write_text("m: {input: 10, output: 100}\n")
    with serve(answer_of) as server:
        endpoint = {"base_url": server.url, "max_in_flight": 1}
        player = {
            "name": "endpoint",
            "endpoint": endpoint,
            "temperature": 1.0,
            "prices": str(prices),
        }
        config = select_config(
            "pivot", model="m", num_samples=4, player=player, max_cost_usd=0.000001
        )
        with pytest.raises(Exception, match="max_cost_usd"):
            select_steps(config, run, tmp_path / "out")
        assert not server.requests
        config = select_config("pivot", model="m", num_samples=4, player=player, max_cost_usd=9)
        manifest = select_steps(config, run, tmp_path / "out")
    assert manifest.summary["cost_usd"] == pytest.approx(24 * (100 * 10 + 10 * 100) / 1e6)
    assert manifest.summary["chosen_by"]["asks_a_model"]


def test_a_local_model_is_sampled_by_seed_and_trajectory_only(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    first, second = make_trajectory(3, "a"), make_trajectory(2, "b")
    both = write_trajectories(tmp_path / "both", [first, second])
    alone = write_trajectories(tmp_path / "alone", [second])
    select_steps(local(tiny_model_folder), both, tmp_path / "1")
    select_steps(local(tiny_model_folder), alone, tmp_path / "2")
    select_steps(local(tiny_model_folder, seed=6), alone, tmp_path / "3")

    def texts(out: str) -> list[str]:
        read = read_records(tmp_path / out / "samples.jsonl", StepSample)
        return [one.message.content for one in read if one.trajectory_id == "b"]

    assert texts("1") == texts("2") != texts("3")
    assert len(set(texts("1"))) > 1, "samples differ"


CHILD = """
import sys
from pathlib import Path
from atlas.config import load_config
from atlas.selection.select_steps import SelectConfig, select_steps
config = load_config(SelectConfig, Path(sys.argv[1]), [])
select_steps(config, sys.argv[2], sys.argv[3])
"""


def test_a_killed_run_repeats_no_sample_and_gives_the_same_bytes(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    from atlas.config import write_yaml

    trajectories = [make_trajectory(6, f"t{number}") for number in range(20)]
    run = write_trajectories(tmp_path / "in", trajectories)
    config = local(tiny_model_folder, num_samples=4)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(write_yaml(config))
    whole = select_steps(config, run, tmp_path / "whole")
    out, partial = tmp_path / "out", tmp_path / "out/samples.jsonl.partial"
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(recipe), str(run), str(out)])
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if partial.exists() and partial.read_bytes().count(b"\n") >= 60:
            break
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lines = [json.loads(line) for line in partial.read_bytes().splitlines(keepends=True)[:-1]]
    assert 50 <= len(lines) < 480, "it was killed on its way"
    again = select_steps(config, run, out)
    for name in FILES:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert again.outputs == whole.outputs


def test_a_history_longer_than_the_models_context_has_no_verdict(
    tmp_path: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(6)])
    player = {"name": "local", "max_new_tokens": 4, "max_context": 90, "precision": "fp32"}
    config = select_config(
        "pivot", model=str(tiny_model_folder), num_samples=2, min_variance=None, player=player
    )
    select_steps(config, run, tmp_path / "out")
    steps = list(read_records(tmp_path / "out/agreement.jsonl", StepAgreement))
    fits = [one.mean is not None for one in steps]
    assert fits == sorted(fits, reverse=True)
    assert fits[0]
    assert not fits[-1]
    assert "more than 90 tokens" in str(steps[-1].reason)
    assert "steps have no verdict" in capfd.readouterr().err


def test_a_judge_that_fails_half_way_is_asked_only_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(3, "a"), make_trajectory(3, "b")])
    player = {"name": "endpoint", "endpoint": {"base_url": "http://127.0.0.1:9/v1"}}
    monkeypatch.setattr(PLAYER, "make", lambda *_: Script(TABLE))

    def judged(url: str) -> Any:
        endpoint = {"base_url": url, "max_retries": 0, "max_in_flight": 1}
        agreement = {"name": "judge", "model": "j", "endpoint": endpoint}
        return select_config(
            "pivot", model="m", num_samples=2, player=player, agreement=agreement, min_variance=None
        )

    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion('{"verdicts": [{"index": 0, "same": false}]}')

    with serve(answer) as server:
        whole = select_steps(judged(server.url), run, tmp_path / "whole")
        # Both samples of the steps 2 agree with the expert, so nobody is asked.
        assert len(server.requests) == 4

        def failing(body: dict[str, Any], number: int) -> Reply:
            return answer(body, number) if number < 1 else failure(500)

        with serve(failing) as broken, pytest.raises(EndpointError):
            select_steps(judged(broken.url), run, tmp_path / "out")
        again = select_steps(judged(server.url), run, tmp_path / "out")
        assert len(server.requests) == 4 + 3
    assert again.outputs == whole.outputs


def test_a_dry_run_says_what_is_left_and_writes_nothing(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(3, "a"), make_trajectory(2, "b")])
    plan = plan_selection(local(tiny_model_folder), run, tmp_path / "out")
    assert plan is not None
    text = "\n".join(plan)
    assert "3 times at each of 5 steps of 2 trajectories: 15 responses" in text
    assert "minutes on this machine" in text
    assert not (tmp_path / "out").exists()
    with serve(answer_of) as server:
        plan = plan_selection(remote(server.url), run, tmp_path / "out")
        assert plan is not None
        assert "20 requests to m; no price is known" in "\n".join(plan)
        assert not server.requests
    assert plan_selection(select_config("random"), run, tmp_path / "out") is None


def test_a_dry_run_of_a_judge_tells_its_price(tmp_path: Path, tiny_model_folder: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text("j: {input: 1000, output: 1000}\n")
    run = write_trajectories(tmp_path / "in", [make_trajectory(3, "a")])
    endpoint = {"base_url": "http://127.0.0.1:9/v1"}
    judge = {"name": "judge", "model": "j", "endpoint": endpoint, "prices": str(prices)}
    plan = plan_selection(local(tiny_model_folder, agreement=judge), run, tmp_path / "out")
    assert plan is not None
    assert "at most 3 requests to j; about" in "\n".join(plan)
    assert "USD by" in "\n".join(plan)


def test_a_lone_surrogate_from_an_endpoint_is_recorded_as_a_replacement(tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "in", [make_trajectory(1)])

    def strange(body: dict[str, Any], number: int) -> Reply:
        reply = completion(react("PLACE"))
        return Reply(reply.body.replace("PLACE", "\\ud800"))

    with serve(strange) as server:
        select_steps(remote(server.url, min_variance=None), run, tmp_path / "out")
    [sample, *_] = read_records(tmp_path / "out/samples.jsonl", StepSample)
    assert sample.message.content.endswith("?")
