from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.cli.token_meters import load_meter
from atlas.errors import DataError
from atlas.kinds import Choice
from atlas.models.local.log_probabilities import LocalScorer, load_scorer
from atlas.rendering.loss_mask import loss_mask
from atlas.training.objectives.base import SILENCED
from tests.conftest import make_trajectory


@pytest.fixture(scope="module")
def scorer(tiny_model_folder: Path) -> LocalScorer:
    return load_scorer(str(tiny_model_folder), "fp32")


def test_losses_are_those_that_a_selector_reads(scorer: LocalScorer) -> None:
    trajectory = make_trajectory(3)
    (example,) = scorer.renderer.tokenize_trajectory(trajectory)
    positions = np.flatnonzero(loss_mask(example, [0, 1, 2]))
    expected = np.concatenate([-step.log_probs for step in scorer.read(trajectory)])
    assert scorer.measure(example, positions).losses == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dft", {}),
        ("mask_low_probability", {"min_probability": 0.01}),
        ("clip", {}),
        ("eaft", {}),
        ("eksft", {"max_entropy": 1.0}),
    ],
)
def test_silenced_tokens_are_those_with_a_small_factor(
    tiny_model_folder: Path, scorer: LocalScorer, name: str, settings: dict[str, float]
) -> None:
    (example,) = scorer.renderer.tokenize_trajectory(make_trajectory(3))
    positions = np.flatnonzero(loss_mask(example, [0, 2]))
    found = load_meter(str(tiny_model_folder), Choice(name, settings))(example, positions)
    plain = scorer.measure(example, positions)
    assert found.losses == pytest.approx(plain.losses, abs=1e-2)
    assert found.silenced is not None
    if name == "dft":
        assert found.silenced.tolist() == (np.exp(-found.losses) < SILENCED).tolist()
    if name == "mask_low_probability":
        assert found.silenced.tolist() == (np.exp(-found.losses) < 0.01).tolist()
    if name == "clip":
        assert not found.silenced.any()


def test_without_an_objective_nothing_is_silenced_and_no_position_is_fine(
    tiny_model_folder: Path, scorer: LocalScorer
) -> None:
    (example,) = scorer.renderer.tokenize_trajectory(make_trajectory(1))
    assert load_meter(str(tiny_model_folder))(example, np.array([3, 4])).silenced is None
    assert len(scorer.measure(example, np.zeros(0, int)).losses) == 0
    assert not torch.is_inference_mode_enabled()


def test_an_example_beyond_the_model_is_an_error(scorer: LocalScorer) -> None:
    (example,) = scorer.renderer.tokenize_trajectory(make_trajectory(80))
    with pytest.raises(DataError, match="Give max_tokens=2048"):
        scorer.measure(example, np.array([len(example.token_ids) - 1]))
