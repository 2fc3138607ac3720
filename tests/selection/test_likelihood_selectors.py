"""The selectors that read with a local model: which steps their scores put first, and what they are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.config import check_config
from atlas.errors import ConfigError, ModelError
from atlas.models.log_probabilities import load_scorer
from atlas.records import Problem
from atlas.selection.config import SelectConfig
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.base import Scorer, make_selector
from tests.conftest import make_trajectory
from tests.models.other_model import other_model
from tests.run_folders import write_trajectories
from tests.templates import LLAMA_3, tiny_tokenizer

TRAJECTORY = make_trajectory(6)


def scores(name: str, model: Path, **settings: Any) -> list[float]:
    selector = make_selector(SelectConfig(selector=name, model=str(model), precision="fp32", **settings))
    assert isinstance(selector, Scorer)
    result = selector.score(TRAJECTORY)
    assert isinstance(result, list)
    return result


def test_perplexity_puts_the_highest_the_lowest_or_the_middle_first(tiny_model_folder: Path) -> None:
    losses = [tokens.mean_loss for tokens in load_scorer(str(tiny_model_folder), "fp32").read(TRAJECTORY)]
    assert scores("perplexity", tiny_model_folder) == losses
    assert scores("perplexity", tiny_model_folder, band="low") == [-loss for loss in losses if loss is not None]
    mid = scores("perplexity", tiny_model_folder, band="mid")
    ranked = sorted(range(6), key=losses.__getitem__)
    assert {index for index in range(6) if mid[index] == max(mid)} <= set(ranked[2:4])
    assert min(mid) in (mid[ranked[0]], mid[ranked[-1]])


def test_entropy_is_of_what_the_model_might_say(tiny_model_folder: Path) -> None:
    entropies = [tokens.mean_entropy for tokens in load_scorer(str(tiny_model_folder), "fp32").read(TRAJECTORY)]
    assert scores("entropy", tiny_model_folder) == entropies


def test_excess_loss_is_the_difference_of_the_two_losses(tiny_model_folder: Path, tmp_path: Path) -> None:
    other = other_model(tiny_model_folder, tmp_path / "other")
    own, reference = scores("perplexity", tiny_model_folder), scores("perplexity", other)
    excess = scores("excess-loss", tiny_model_folder, reference_model=str(other))
    assert excess == pytest.approx([a - b for a, b in zip(own, reference, strict=True)])
    assert scores("excess-loss", tiny_model_folder, reference_model=str(tiny_model_folder)) == [0.0] * 6


def test_two_vocabularies_are_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    foreign = other_model(tiny_model_folder, tmp_path / "foreign")
    tiny_tokenizer(LLAMA_3).save_pretrained(foreign)
    with pytest.raises(ModelError, match="different vocabularies"):
        scores("excess-loss", tiny_model_folder, reference_model=str(foreign))


def test_a_trajectory_that_the_model_cannot_read_is_a_problem(tiny_model_folder: Path) -> None:
    selector = make_selector(SelectConfig(selector="perplexity", model=str(tiny_model_folder)))
    assert isinstance(selector, Scorer)
    result = selector.score(make_trajectory(80))
    assert isinstance(result, Problem)
    assert "tokens exceed the 2048" in result.reason


def test_the_models_are_inputs_with_digests(tiny_model_folder: Path, tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "trajectories", [TRAJECTORY])
    told = {"selector": "excess-loss", "model": str(tiny_model_folder), "reference_model": str(tiny_model_folder)}
    manifest = select_steps(SelectConfig.model_validate(told), run, tmp_path / "out")
    assert manifest.inputs["model"].digest == manifest.inputs["reference_model"].digest is not None
    with pytest.raises(ModelError, match="does not exist"):
        select_steps(SelectConfig(selector="entropy", model=str(tmp_path / "nowhere")), run, tmp_path / "other")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"selector": "perplexity"}, "needs model="),
        ({"selector": "rollout-value"}, "needs model="),
        ({"selector": "excess-loss", "model": "m"}, "needs reference_model="),
        ({"selector": "entropy", "model": "m", "reference_model": "r"}, "read by selector 'excess-loss'"),
        ({"selector": "entropy", "model": "m", "band": "low"}, "read by selector 'perplexity'"),
        ({"selector": "rollout-value", "model": "m", "rollouts": {"temperature": 0}}, "all 5 rollouts are one"),
        ({"scope": "all"}, "'scope'"),
    ],
)
def test_settings_that_cannot_be_are_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(SelectConfig, values, where="test")
