"""Layers of the oracle: rules, a cheaper model, and the strong model where these two disagree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError, CostLimitError, DataError, EndpointError, RunError
from atlas.records import Selection
from atlas.selection.config import make_selector
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.layers import LAYERS_FILE, LayerDecision, layers_of
from atlas.selection.pilot import run_pilot
from atlas.selection.select_steps import select_steps
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import ChatServer, Reply, completion, failure, serve
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import select_config
from tests.selection.oracle_answers import answer_of, number_in, write_numbered

NUM_TRAJECTORIES = 12
# USD of an answer (100 tokens in, 7 out) by the prices below.
SMALL_USD, STRONG_USD = 1.07, 107.0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_numbered(tmp_path / "run", NUM_TRAJECTORIES)


@pytest.fixture
def checked(run: Path, tmp_path: Path) -> str:
    """A selection that costs nothing and chooses step 1 everywhere."""
    labels = tmp_path / "labels.jsonl"
    rows = [{"trajectory_id": f"t{n}", "step": 1} for n in range(NUM_TRAJECTORIES)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    select_steps(select_config("annotated", labels=str(labels)), run, tmp_path / "checked")
    return str(tmp_path / "checked")


def layered(url: str, folder: Path, small: dict[str, Any] | None = None, **settings: Any) -> Any:
    (folder / "prices.yaml").write_text(
        "mini: {input: 10000, output: 10000}\nstrong: {input: 1000000, output: 1000000}\n"
    )
    endpoint = {"base_url": url, "max_retries": 0, "max_in_flight": 1}
    values = {
        "model": "strong",
        "prices": str(folder / "prices.yaml"),
        "small": {"model": "mini", "endpoint": endpoint, **(small or {})},
        **endpoint,
    }
    return select_config("oracle", **{**values, **settings})


def answers(body: dict[str, Any], number: int = 0) -> Reply:
    """The small model agrees about even trajectories; the strong one always names step 3."""
    if body["model"] == "strong":
        return completion(answer_of([3]))
    return completion(answer_of([1 if number_in(body) % 2 == 0 else 2]))


def asked(server: ChatServer, model: str) -> list[int]:
    return sorted(number_in(body) for body in server.requests if body["model"] == model)


ALL, ODD = list(range(NUM_TRAJECTORIES)), list(range(1, NUM_TRAJECTORIES, 2))


def test_the_strong_model_is_asked_only_where_the_layers_below_disagree(
    run: Path, checked: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serve(answers) as server:
        manifest = select_steps(layered(server.url, tmp_path, checked_by=checked), run, out)
    assert (asked(server, "mini"), asked(server, "strong")) == (ALL, ODD)
    chosen = [sorted(one.indices) for one in selections_in(out)]
    assert chosen == [[1], [3]] * (NUM_TRAJECTORIES // 2)
    decisions = list(read_records(out / LAYERS_FILE, LayerDecision))
    assert [one.decided_by for one in decisions] == ["small", "model"] * (NUM_TRAJECTORIES // 2)
    assert [one.overlap for one in decisions] == [1.0, 0.0] * (NUM_TRAJECTORIES // 2)
    assert manifest.summary["layers"] == [
        {"layer": "annotated", "decided": 0, "requests": 0, "cost_usd": 0.0},
        {"layer": "mini", "decided": 6, "requests": 12, "cost_usd": pytest.approx(12 * SMALL_USD)},
        {
            "layer": "strong",
            "decided": 6,
            "requests": 6,
            "cost_usd": pytest.approx(6 * STRONG_USD),
        },
    ]
    assert manifest.summary["cost_usd"] == pytest.approx(12 * SMALL_USD + 6 * STRONG_USD)
    assert manifest.summary["usage"]["requests"] == 18
    assert "mini" in manifest.summary["chosen_by"]["sentence"]


def test_a_rerun_pays_nothing_and_a_killed_layer_goes_on_where_it_stopped(
    run: Path, checked: str, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    with serve(answers) as server:
        config = layered(server.url, tmp_path, checked_by=checked)
        select_steps(config, run, whole)
        before = len(server.requests)
        select_steps(config, run, whole)
        assert len(server.requests) == before

    for model in ("mini", "strong"):

        def fails(body: dict[str, Any], number: int, model: str = model) -> Reply:
            is_late = body["model"] == model and number_in(body) > 6
            return failure(503) if is_late else answers(body)

        with serve(fails) as server, pytest.raises(EndpointError):
            select_steps(layered(server.url, tmp_path, checked_by=checked), run, out)
    with serve(answers) as server:
        select_steps(layered(server.url, tmp_path, checked_by=checked), run, out)
    assert (asked(server, "mini"), asked(server, "strong")) == ([], [7, 9, 11])
    for file in ("selections.jsonl", LAYERS_FILE, "small/selections.jsonl"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()


def test_rules_check_the_small_model_if_no_other_selection_is_given(
    run: Path, tmp_path: Path
) -> None:
    select_steps(select_config("rules"), run, tmp_path / "rules")
    by_rules = {one.trajectory_id: sorted(one.indices) for one in selections_in(tmp_path / "rules")}

    def as_rules(body: dict[str, Any], number: int) -> Reply:
        return completion(answer_of(by_rules[f"t{number_in(body)}"]))

    with serve(as_rules) as server:
        manifest = select_steps(layered(server.url, tmp_path), run, tmp_path / "out")
    assert asked(server, "strong") == []
    assert manifest.summary["layers"][0]["layer"] == "rules"
    assert manifest.summary["cost_usd"] == pytest.approx(12 * SMALL_USD)


@pytest.mark.parametrize(("agreement", "num_strong"), [(0.3, 0), (0.5, 0), (0.51, 1), (1.0, 1)])
def test_agreement_is_the_least_overlap(agreement: float, num_strong: int, tmp_path: Path) -> None:
    """The check chose steps 1 to 3 and the small model 2, 3 and 6: two of four."""
    run = write_trajectories(tmp_path / "run", [make_trajectory(10, "t0", "I am number 0.")])
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(f'{{"trajectory_id": "t0", "step": {n}}}\n' for n in (1, 2, 3)))
    checked = tmp_path / "checked"
    select_steps(select_config("annotated", labels=str(labels)), run, checked)
    with serve(lambda body, number: completion(answer_of([2, 3, 6]))) as server:
        config = layered(server.url, tmp_path, checked_by=str(checked), agreement=agreement)
        select_steps(config, run, tmp_path / "out")
    assert len(asked(server, "strong")) == num_strong


def test_an_unusable_answer_of_the_small_model_goes_to_the_strong_one(
    run: Path, checked: str, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        is_bad = body["model"] == "mini" and number_in(body) == 4
        return completion("I cannot say.") if is_bad else answers(body)

    with serve(answer) as server:
        config = layered(server.url, tmp_path, checked_by=checked)
        manifest = select_steps(config, run, tmp_path / "out")
    assert asked(server, "strong") == sorted([*ODD, 4])
    assert manifest.summary["problems"] == 0


def test_a_small_model_that_never_answers_usefully_ends_the_run(
    run: Path, checked: str, tmp_path: Path
) -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion("no") if body["model"] == "mini" else answers(body)

    with serve(answer) as server, pytest.raises(DataError, match="no answer was usable"):
        select_steps(layered(server.url, tmp_path, checked_by=checked), run, tmp_path / "out")
    assert asked(server, "strong") == []


def test_the_dry_run_has_the_price_of_each_layer(run: Path, checked: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serve(answers) as server:
        config = layered(server.url, tmp_path, checked_by=checked)
        before = estimate_cost(config, run, out)
        assert server.requests == []
        run_pilot(config.model_copy(update={"pilot_size": 6}), run, out)
        after = estimate_cost(config, run, out)
        select_steps(config, run, out)
    assert before.below is not None
    assert after.below is not None
    assert (before.below.trajectories, before.trajectories) == (12, 12)
    assert before.cost_usd == pytest.approx(100 * (before.below.cost_usd or 0))
    assert (after.below.trajectories, after.trajectories) == (6, 6)


def test_a_pilot_measures_how_often_the_strong_model_is_needed(
    run: Path, checked: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serve(answers) as server:
        config = layered(server.url, tmp_path, checked_by=checked, pilot_size=8)
        pilot = run_pilot(config, run, out)
        num_asked = len(server.requests)
        manifest = select_steps(config, run, out)
    assert len(server.requests) == 18
    assert pilot.below is not None
    assert pilot.below.num_answered == 8
    assert pilot.num_settled + pilot.num_answered == 8
    assert num_asked == 8 + pilot.num_answered
    assert pilot.usd_left is not None
    # The trajectories are alike, so the ratio of what was asked is that of the sample.
    usd = pilot.num_answered / 8 * 4 * STRONG_USD
    assert pilot.usd_left.value == pytest.approx(usd, rel=0.01)
    assert manifest.summary["layers"][2]["requests"] == 6


def test_both_layers_are_under_one_limit_of_cost(run: Path, checked: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serve(answers) as server:
        plain = layered(server.url, tmp_path, checked_by=checked)
        # One question of the strong model fits under the limit, but not after the small model.
        most = (estimate_cost(plain, run, out).cost_usd or 0) / NUM_TRAJECTORIES + 5 * SMALL_USD
        low = layered(server.url, tmp_path, checked_by=checked, max_cost_usd=most)
        with pytest.raises(CostLimitError, match=r"has paid 12\.8400 USD, .* over max_cost_usd="):
            select_steps(low, run, out)
        assert asked(server, "strong") == []
        config = layered(server.url, tmp_path, checked_by=checked, max_cost_usd=1e6)
        assert select_steps(config, run, out).summary["cost_usd"] == pytest.approx(
            12 * SMALL_USD + 6 * STRONG_USD
        )
    assert (asked(server, "mini"), asked(server, "strong")) == (ALL, ODD)


def test_the_small_models_own_limit_stops_only_its_layer(
    run: Path, checked: str, tmp_path: Path
) -> None:
    with serve(answers) as server:
        config = layered(server.url, tmp_path, {"max_cost_usd": 20.0}, checked_by=checked)
        with pytest.raises(CostLimitError, match="over max_cost_usd=20"):
            select_steps(config, run, tmp_path / "out")
    assert asked(server, "strong") == []


def test_a_limit_needs_the_prices_of_both_models(run: Path, tmp_path: Path) -> None:
    prices = tmp_path / "own.yaml"
    prices.write_text("strong: {input: 1, output: 1}\n")
    config = layered("http://127.0.0.1:1/v1", tmp_path, prices=str(prices), max_cost_usd=1.0)
    with pytest.raises(ConfigError, match="no price is known for model 'mini'"):
        select_steps(config, run, tmp_path / "out")


def test_problems_are_asked_again_by_both_layers(run: Path, checked: str, tmp_path: Path) -> None:
    def bad(body: dict[str, Any], number: int) -> Reply:
        is_bad = body["model"] == "strong" and number_in(body) == 3
        return completion("no") if is_bad else answers(body)

    with serve(bad) as server:
        select_steps(layered(server.url, tmp_path, checked_by=checked), run, tmp_path / "first")
    with serve(answers) as server:
        config = layered(
            server.url,
            tmp_path,
            checked_by=checked,
            retry_problems_of=str(tmp_path / "first"),
        )
        manifest = select_steps(config, run, tmp_path / "again")
    assert (asked(server, "mini"), asked(server, "strong")) == ([3], [3])
    assert manifest.summary["problems"] == 0
    assert [one["decided"] for one in manifest.summary["layers"]] == [0, 0, 1]


def test_without_a_small_model_the_settings_of_layers_are_refused() -> None:
    for settings in ({"agreement": 0.7}, {"checked_by": "runs/rules"}):
        with pytest.raises(ConfigError, match=r"Give small\.model="):
            select_config("oracle", **settings)


def test_a_check_of_other_trajectories_is_refused_before_anything_is_asked(
    run: Path, checked: str, tmp_path: Path
) -> None:
    other = write_trajectories(tmp_path / "other", [make_trajectory(5, "x", "I am number 0.")])
    with serve(answers) as server, pytest.raises(RunError):
        select_steps(layered(server.url, tmp_path, checked_by=checked), other, tmp_path / "out")
    assert server.requests == []


def test_a_run_that_made_nothing_can_be_repeated_with_another_small_model(
    run: Path, checked: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serve(lambda body, number: failure(401)) as server, pytest.raises(Exception, match="401"):
        select_steps(layered(server.url, tmp_path, checked_by=checked), run, out)
    with serve(answers) as server:
        config = layered(server.url, tmp_path, {"temperature": 0.5}, checked_by=checked)
        assert select_steps(config, run, out).finished


def test_the_command_shows_the_layers(run: Path, checked: str, tmp_path: Path) -> None:
    with serve(answers) as server:
        layered(server.url, tmp_path)
        command = ["select", "--trajectories", str(run), "--out", str(tmp_path / "out")]
        command += ["--selector", "oracle", "model=strong", f"endpoint.base_url={server.url}"]
        command += ["small.model=mini", f"small.endpoint.base_url={server.url}"]
        command += [f"prices={tmp_path / 'prices.yaml'}", f"checked_by={checked}"]
        dry = CliRunner().invoke(app, [*command, "--dry-run"])
        pilot = CliRunner().invoke(app, [*command, "--pilot", "pilot_size=4"])
        done = CliRunner().invoke(app, command)
    assert dry.exit_code == pilot.exit_code == done.exit_code == 0, dry.output + pilot.output
    for part in ("layer 1:   annotated", "would ask: mini about 12", "would ask: strong about 12"):
        assert part in dry.output
    assert "together:" in dry.output
    assert "settled:" in pilot.output
    assert "layer:     mini decided 6 trajectories; 12 requests, 12.8400 USD" in done.output
    assert "layer:     strong decided 6 trajectories; 6 requests, 642.0000 USD" in done.output


def test_layers_work_with_several_workers(run: Path, checked: str, tmp_path: Path) -> None:
    with serve(answers) as server:
        config = layered(server.url, tmp_path, checked_by=checked, workers=2)
        manifest = select_steps(config, run, tmp_path / "out")
    assert (asked(server, "mini"), asked(server, "strong")) == (ALL, ODD)
    assert [one["decided"] for one in manifest.summary["layers"]] == [0, 6, 6]
    found: list[Selection] = selections_in(tmp_path / "out")
    assert [sorted(one.indices) for one in found] == [[1], [3]] * (NUM_TRAJECTORIES // 2)
    assert read_manifest(tmp_path / "out" / "small", ("select",)).finished


def test_several_workers_report_what_they_paid(run: Path, tmp_path: Path) -> None:
    with serve(answers) as server:
        config = layered(server.url, tmp_path, workers=2)
        manifest = select_steps(config, run, tmp_path / "out")
    assert manifest.summary["usage"]["requests"] == len(server.requests)
    assert sum(one["requests"] for one in manifest.summary["layers"]) == len(server.requests)


def test_what_a_pilot_paid_the_strong_model_counts_under_the_limit_of_both(
    run: Path, checked: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serve(answers) as server:

        def config(**settings: Any) -> Any:
            return layered(server.url, tmp_path, checked_by=checked, pilot_size=8, **settings)

        pilot = run_pilot(config(), run, out)
        assert pilot.num_answered > 0
        assert pilot.below is not None
        num_asked = len(server.requests)
        paid = (pilot.paid_usd or 0) + (pilot.below.paid_usd or 0)
        with pytest.raises(CostLimitError, match=f"has paid {paid:.4f} USD"):
            select_steps(config(max_cost_usd=paid + 0.1), run, out)
        assert len(server.requests) == num_asked
        # The small model's own limit does not count what the strong one was paid.
        small = {"max_cost_usd": 200.0}
        select_steps(config(small=small, max_cost_usd=1e6), run, out)


def test_a_pilot_asks_the_strong_model_only_where_the_small_one_answered(
    run: Path, checked: str, tmp_path: Path
) -> None:
    def fails(body: dict[str, Any], number: int) -> Reply:
        is_missing = body["model"] == "mini" and number_in(body) in (0, 2)
        return failure(503) if is_missing else answers(body)

    def config(url: str) -> Any:
        return layered(url, tmp_path, checked_by=checked, pilot_size=NUM_TRAJECTORIES)

    with serve(fails) as server:
        run_pilot(config(server.url), run, tmp_path / "out")
        assert asked(server, "strong") == ODD
    with serve(answers) as server:
        select_steps(config(server.url), run, tmp_path / "out")
        select_steps(config(server.url), run, tmp_path / "whole")
    for file in ("selections.jsonl", LAYERS_FILE):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_a_decision_of_the_strong_model_stays_its_own_if_the_small_one_answers_later(
    run: Path, checked: str, tmp_path: Path
) -> None:
    def silly(body: dict[str, Any], number: int) -> Reply:
        return completion("no") if body["model"] == "mini" else answers(body)

    def config(url: str) -> Any:
        return layered(url, tmp_path, checked_by=checked, pilot_size=NUM_TRAJECTORIES)

    with serve(silly) as server:
        run_pilot(config(server.url), run, tmp_path / "out")
        assert asked(server, "strong") == ALL
    with serve(answers) as server:
        # All answers of the small model were unusable, so it is asked again.
        select_steps(config(server.url), run, tmp_path / "out")
        assert (asked(server, "mini"), asked(server, "strong")) == (ALL, [])
    assert [sorted(one.indices) for one in selections_in(tmp_path / "out")] == [[3]] * 12
    read = read_records(tmp_path / "out" / LAYERS_FILE, LayerDecision)
    assert {one.decided_by for one in read} == {"model"}


def test_problems_are_not_answered_by_the_small_models_cache(
    run: Path, checked: str, tmp_path: Path
) -> None:
    def bad(body: dict[str, Any], number: int) -> Reply:
        return completion("no") if number_in(body) == 3 else answers(body)

    with serve(bad) as server:
        select_steps(layered(server.url, tmp_path, checked_by=checked), run, tmp_path / "first")
        first = str(tmp_path / "first")
        again = layered(server.url, tmp_path, {"cache": True}, retry_problems_of=first)
        with pytest.raises(ConfigError, match=r"small\.cache=true would give the answers again"):
            select_steps(again, run, tmp_path / "again")
    again = layered("http://127.0.0.1:1/v1", tmp_path, retry_problems_of=first)
    layers = layers_of(make_selector(again, run), again, tmp_path / "again")
    assert layers is not None
    assert layers.config.retry_problems_of == first, "its batches are not those of the first run"
