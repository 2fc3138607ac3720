"""The selectors that read with a model: which steps their scores put first, and their settings."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.errors import ConfigError, EndpointError, ModelError
from atlas.models.local.log_probabilities import load_scorer
from atlas.records import Problem, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.scores import StepScores
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.base import HasClose, Scorer
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import Reply, failure
from tests.models.endpoints.completions_server import TinyEngine, serve_scores
from tests.models.local.other_model import other_model
from tests.run_folders import write_trajectories
from tests.selection.configs import new_selector, select_config
from tests.templates import LLAMA_3, tiny_tokenizer
from tests.tool_runs import call_runs, call_trajectory, tools_file

TRAJECTORY = make_trajectory(6)


def score(config: SelectConfig, trajectory: Trajectory = TRAJECTORY) -> list[float] | Problem:
    async def run() -> Any:
        selector: Any = new_selector(config)
        assert isinstance(selector, Scorer)
        assert isinstance(selector, HasClose)
        try:
            return await selector.score(trajectory)
        finally:
            await selector.close()

    return asyncio.run(run())


def scores(name: str, model: Path, **settings: Any) -> list[float]:
    result = score(select_config(selector=name, model=str(model), precision="fp32", **settings))
    assert isinstance(result, list)
    return result


def scores_there(url: str, name: str, tokenizer: Path, **settings: Any) -> list[float]:
    result = score(
        select_config(
            selector=name,
            model="served",
            base_url=url,
            tokenizer=str(tokenizer),
            max_retries=0,
            **settings,
        )
    )
    assert isinstance(result, list)
    return result


def test_perplexity_puts_the_highest_the_lowest_or_the_middle_first(
    tiny_model_folder: Path,
) -> None:
    losses = [
        tokens.mean_loss for tokens in load_scorer(str(tiny_model_folder), "fp32").read(TRAJECTORY)
    ]
    assert scores("perplexity", tiny_model_folder) == losses
    assert scores("perplexity", tiny_model_folder, band="low") == [
        -loss for loss in losses if loss is not None
    ]
    mid = scores("perplexity", tiny_model_folder, band="mid")
    ranked = sorted(range(6), key=losses.__getitem__)
    assert {index for index in range(6) if mid[index] == max(mid)} <= set(ranked[2:4])
    assert min(mid) in (mid[ranked[0]], mid[ranked[-1]])


def test_entropy_is_of_what_the_model_might_say(tiny_model_folder: Path) -> None:
    entropies = [
        tokens.mean_entropy
        for tokens in load_scorer(str(tiny_model_folder), "fp32").read(TRAJECTORY)
    ]
    assert scores("entropy", tiny_model_folder) == entropies


def test_excess_loss_is_the_difference_of_the_two_losses(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    other = other_model(tiny_model_folder, tmp_path / "other")
    own, reference = scores("perplexity", tiny_model_folder), scores("perplexity", other)
    excess = scores("excess-loss", tiny_model_folder, reference_model=str(other))
    assert excess == pytest.approx([a - b for a, b in zip(own, reference, strict=True)])
    assert (
        scores("excess-loss", tiny_model_folder, reference_model=str(tiny_model_folder))
        == [0.0] * 6
    )


def test_two_vocabularies_are_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    foreign = other_model(tiny_model_folder, tmp_path / "foreign")
    tiny_tokenizer(LLAMA_3).save_pretrained(foreign)
    with pytest.raises(ModelError, match="different vocabularies"):
        scores("excess-loss", tiny_model_folder, reference_model=str(foreign))


def test_a_trajectory_that_the_model_cannot_read_is_a_problem(tiny_model_folder: Path) -> None:
    result = score(
        select_config(selector="perplexity", model=str(tiny_model_folder)), make_trajectory(80)
    )
    assert isinstance(result, Problem)
    assert "tokens exceed the 2048" in result.reason


def test_the_models_are_inputs_with_digests(tiny_model_folder: Path, tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "trajectories", [TRAJECTORY])
    model = str(tiny_model_folder)
    config = select_config("excess-loss", model=model, reference_model=model)
    manifest = select_steps(config, run, tmp_path / "out")
    assert manifest.inputs["model"].digest == manifest.inputs["reference_model"].digest is not None
    with pytest.raises(ModelError, match="does not exist"):
        select_steps(
            select_config(selector="entropy", model=str(tmp_path / "nowhere")),
            run,
            tmp_path / "other",
        )


@pytest.fixture(scope="module")
def engine(tiny_model_folder: Path) -> TinyEngine:
    return TinyEngine(tiny_model_folder)


def test_an_endpoint_scores_as_the_same_model_does_here(
    engine: TinyEngine, tiny_model_folder: Path, tmp_path: Path
) -> None:
    other = other_model(tiny_model_folder, tmp_path / "other")
    there = {"tokenizer": tiny_model_folder}
    with serve_scores(engine) as server, serve_scores(TinyEngine(other)) as reference:
        for name, settings in (
            ("perplexity", {}),
            ("perplexity", {"band": "mid"}),
            ("entropy", {"num_likeliest": 999}),
        ):
            here = scores(
                name,
                tiny_model_folder,
                **{key: value for key, value in settings.items() if key == "band"},
            )
            np.testing.assert_allclose(
                scores_there(server.url, name, **there, **settings), here, atol=1e-4
            )
        excess = scores("excess-loss", tiny_model_folder, reference_model=str(other))
        settings = {"reference_model": "other", "reference_endpoint": {"base_url": reference.url}}
        np.testing.assert_allclose(
            scores_there(server.url, "excess-loss", **there, **settings), excess, atol=1e-4
        )
        mixed = scores("excess-loss", tiny_model_folder, **settings)
        np.testing.assert_allclose(mixed, excess, atol=1e-4)
        own = scores_there(server.url, "excess-loss", **there, reference_model="served")
        assert own == [0.0] * 6
    assert {body["logprobs"] for body in server.requests} == {1, 999}, (
        "only entropy needs more than one token named"
    )
    assert {body["model"] for body in reference.requests} == {"other"}


def test_a_run_with_an_endpoint_goes_on_where_it_stopped_and_asks_many_at_a_time(
    engine: TinyEngine, tiny_model_folder: Path, tmp_path: Path
) -> None:
    run = write_trajectories(
        tmp_path / "trajectories", [make_trajectory(3, f"t{number}") for number in range(8)]
    )
    values = {
        "selector": "perplexity",
        "model": "served",
        "tokenizer": str(tiny_model_folder),
        "max_retries": 0,
        "max_in_flight": 4,
    }

    def breaks(body: dict[str, Any], number: int) -> Reply | None:
        return failure(500) if number in (2, 5) else None

    with serve_scores(engine, breaks) as server:
        config = select_config(**values, base_url=server.url)
        with pytest.raises(EndpointError, match="2 of 8 trajectories got no answer"):
            select_steps(config, run, tmp_path / "out")
        manifest = select_steps(config, run, tmp_path / "out")
    assert len(server.requests) == 8 + 2
    assert manifest.summary["selected_steps"] == 8
    assert manifest.inputs["tokenizer"].digest is not None
    local = select_config(selector="perplexity", model=str(tiny_model_folder), precision="fp32")
    select_steps(local, run, tmp_path / "local")
    for one, other in zip(
        *(read_records(tmp_path / name / "scores.jsonl", StepScores) for name in ("out", "local")),
        strict=True,
    ):
        assert one.scores == pytest.approx(other.scores, abs=1e-4)


def test_a_tokenizer_that_is_not_there_says_which_setting_names_it(tiny_model_folder: Path) -> None:
    config = select_config(
        selector="perplexity", model="/served/model", base_url="http://127.0.0.1:1/v1"
    )
    with pytest.raises(ModelError, match=r"give tokenizer=…"):
        score(config)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"selector": "rollout-value", "model": "m", "base_url": "http://x/v1"},
            "'entropy', selector 'excess-loss', selector 'hindsight', .*; leave it out",
        ),
        (
            {"selector": "entropy", "model": "m", "tokenizer": "t"},
            "for a model at endpoint.base_url",
        ),
        (
            {"selector": "oracle", "base_url": "http://x/v1", "tokenizer": "t"},
            "selector 'entropy', selector 'excess-loss', selector 'hindsight', selector "
            "'perplexity'; leave it out",
        ),
        (
            {"selector": "entropy", "model": "m", "reference_endpoint": {}},
            "a setting of selector 'excess-loss'; leave",
        ),
        (
            {
                "selector": "excess-loss",
                "model": "m",
                "reference_model": "r",
                "reference_endpoint": {"base_url": "http://x/v1?key=1"},
            },
            "may hold a secret",
        ),
        (
            {"selector": "entropy", "model": "m", "batch": True},
            "a setting of selector 'oracle', selector 'rejection'; leave",
        ),
        ({"selector": "perplexity"}, r"model' is required \(a hub id, .*model=…"),
        ({"selector": "learned"}, r"model' is required \(a run folder of select-train\)"),
        ({"selector": "oracle", "model": "gpt-4o"}, "names no provider.*such as openai/gpt-4o"),
        ({"selector": "rollout-value"}, "model' is required"),
        ({"selector": "excess-loss", "model": "m"}, "reference_model' is required"),
        (
            {"selector": "entropy", "model": "m", "reference_model": "r"},
            "a setting of selector 'excess-loss'; leave",
        ),
        (
            {"selector": "excess-loss", "model": "m", "reference_model": "r", "band": "low"},
            "a setting of selector 'entropy', selector 'perplexity'; leave",
        ),
        (
            {"selector": "rollout-value", "model": "m", "temperature": 0},
            "all 5 rollouts are the same",
        ),
        ({"selector": "oracle", "windows": 3}, "unknown key 'selector.windows'"),
        ({"scope": "all"}, "'scope'"),
    ],
)
def test_settings_that_cannot_be_are_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        select_config(**values)


def test_the_cache_is_refused_where_problems_are_asked_about_again() -> None:
    config = select_config("oracle", cache=True, retry_problems_of="r")
    with pytest.raises(ConfigError, match="became problems"):
        new_selector(config)


def test_what_the_template_does_not_write_is_counted_and_said(
    tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = score(
        select_config(selector="perplexity", model=str(tiny_model_folder), precision="fp32"),
        call_trajectory(),
    )
    assert isinstance(result, list)
    said = capfd.readouterr().err
    assert "does not write the tool calls of 2 of 3 steps" in said
    assert "1 of 3 steps are rendered as an end of turn only" in said
    assert "chat_template=chatml-calls" in said


def test_a_given_template_and_schemas_are_scored_and_are_inputs_by_content(
    tiny_model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = call_runs(tmp_path, 0)
    config = select_config(
        selector="perplexity",
        model=str(tiny_model_folder),
        precision="fp32",
        chat_template="chatml-calls",
        tools=tools_file(tmp_path),
    )
    manifest = select_steps(config, runs[0], tmp_path / "out")
    assert {"chat_template", "tools"} <= manifest.inputs.keys()
    assert "does not write" not in capfd.readouterr().err


def test_a_selection_reads_with_the_date_of_its_first_day_unless_one_is_given(
    tiny_model_folder: Path,
) -> None:
    for given, expected in ((None, date(2024, 2, 28)), (date(2020, 1, 1), date(2020, 1, 1))):
        settings = {} if given is None else {"date": given}
        selector: Any = new_selector(
            select_config(selector="perplexity", model=str(tiny_model_folder), **settings)
        )
        selector.pin_day(date(2024, 2, 28))
        (scorer,) = selector.load()
        assert scorer.renderer.day == expected
