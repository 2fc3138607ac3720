"""The factors of each objective against a plain computation of one token at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.kinds import Choice
from atlas.training.objectives.base import OBJECTIVE, OBJECTIVES, PredictedTokens
from atlas.training.objectives.clip import DUAL_CLIP
from tests.training.objective_references import SETTINGS, VARIANTS, factor


def predicted(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    weights: torch.Tensor,
    base_logits: torch.Tensor,
) -> PredictedTokens:
    def at_tokens(rows: torch.Tensor) -> torch.Tensor:
        return rows.log_softmax(-1).gather(1, tokens[:, None])[:, 0]

    return PredictedTokens(at_tokens(logits), logits, weights, at_tokens(base_logits), base_logits)


def factors(name: str, settings: dict[str, Any], tokens: PredictedTokens) -> torch.Tensor:
    found: torch.Tensor = OBJECTIVE.make(Choice(name, settings)).factors(tokens)
    return found


def at_odds(num: int, vocabulary: int, seed: int, scale: float) -> PredictedTokens:
    """Predictions of two models that agree in part, of tokens of both signs."""
    torch.manual_seed(seed)
    base = scale * torch.randn(num, vocabulary, dtype=torch.float64)
    moved = base + 0.3 * scale * torch.randn(num, vocabulary, dtype=torch.float64)
    tokens = torch.randint(0, vocabulary, (num,))
    return predicted(moved, tokens, torch.randn(num, dtype=torch.float64), base)


def references(name: str, settings: dict[str, Any], tokens: PredictedTokens) -> list[float]:
    assert tokens.base_logits is not None
    at_token = tokens.logits.log_softmax(-1) == tokens.log_probs[:, None]
    rows = zip(
        at_token.double().argmax(1).tolist(),
        tokens.weights.tolist(),
        tokens.logits.numpy(),
        tokens.base_logits.numpy(),
        strict=True,
    )
    return [factor(name, settings, *row) for row in rows]


def test_every_objective_has_a_reference() -> None:
    assert SETTINGS.keys() == OBJECTIVES.keys()


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda given: str(given))
@given(
    num=st.integers(1, 12),
    vocabulary=st.integers(2, 40),
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.1, 1.0, 3.0, 30.0]),
)
def test_the_factors_are_those_of_one_token_at_a_time(
    name: str, settings: dict[str, Any], num: int, vocabulary: int, seed: int, scale: float
) -> None:
    tokens = at_odds(num, vocabulary, seed, scale)
    found = factors(name, settings, tokens).tolist()
    # A root of an entropy near 0 (eaft) enlarges what float64 leaves of it.
    assert found == pytest.approx(references(name, settings, tokens), rel=1e-9, abs=1e-8)


@pytest.mark.parametrize(("name", "settings"), VARIANTS[1:], ids=lambda given: str(given))
def test_the_settings_of_these_tests_reach_both_sides_of_each_limit(
    name: str, settings: dict[str, Any]
) -> None:
    found = factors(name, settings, at_odds(500, 120, 0, 2.0))
    silenced = float((found < 0.1).double().mean())
    assert 0.02 < silenced < 0.98 or name in ("dft", "eaft")
    assert len(set(found.tolist())) > 1


def moved_by(ratio: float, weight: float, before: float = 0.05) -> PredictedTokens:
    """One token whose probability was `before` and is `ratio` times that."""

    def logits(probability: float) -> torch.Tensor:
        return torch.tensor([[probability, 1 - probability]], dtype=torch.float64).log()

    token, weights = torch.tensor([0]), torch.tensor([weight], dtype=torch.float64)
    return predicted(logits(before * ratio), token, weights, logits(before))


@pytest.mark.parametrize(
    ("ratio", "weight", "counts"),
    [
        (1.0, 1.0, True),
        (1.27, 1.0, True),
        (1.29, 1.0, False),
        (0.01, 1.0, True),
        (1.0, -1.0, True),
        (0.81, -1.0, True),
        (0.79, -1.0, False),
        (1.29, -1.0, True),
        (DUAL_CLIP * 0.99, -1.0, True),
        (DUAL_CLIP * 1.01, -1.0, False),
    ],
)
def test_a_token_counts_inside_its_region_and_until_it_is_back(
    ratio: float, weight: float, counts: bool
) -> None:
    found = factors("clip", {}, moved_by(ratio, weight))
    assert float(found) == pytest.approx(ratio if counts else 0.0)


def test_a_token_that_was_probable_never_leaves_its_region_upwards() -> None:
    assert float(factors("clip", {}, moved_by(1 / 0.79, 1.0, before=0.79))) > 1


@pytest.mark.parametrize(("weight", "limits"), [(2.0, (-1.0, 1.1)), (-0.5, (0.7, 10.0))])
def test_the_gradient_of_the_loss_is_that_of_the_clipped_objective(
    weight: float, limits: tuple[float, float]
) -> None:
    torch.manual_seed(0)
    base = torch.randn(60, 8, dtype=torch.float64)
    logits = (base + torch.randn(60, 8, dtype=torch.float64)).requires_grad_()
    tokens, weights = torch.randint(0, 8, (60,)), torch.full((60,), weight, dtype=torch.float64)
    given = predicted(logits.detach(), tokens, weights, base)
    log_probs = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    assert given.base_log_probs is not None
    ratio = (log_probs - given.base_log_probs).exp()
    objective = torch.min(weight * ratio, weight * ratio.clamp(0.7, 1.1))
    if weight < 0:
        objective = objective.clamp(min=10.0 * weight)
    (expected,) = torch.autograd.grad(-objective.sum(), logits, retain_graph=True)
    loss = (factors("clip", SETTINGS["clip"], given) * weights * -log_probs).sum()
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, expected)
    inside = (ratio > limits[0]) & (ratio < limits[1])
    assert 0 < int(inside.sum()) < 60


def test_a_mask_under_the_base_ignores_the_model_and_one_under_the_model_ignores_the_base() -> None:
    tokens = at_odds(40, 30, 1, 2.0)
    for under, other in (("base", "log_probs"), ("model", "base_log_probs")):
        settings = SETTINGS["mask_low_probability"] | {"under": under}
        changed = {
            name: getattr(tokens, name)
            for name in ("log_probs", "logits", "weights", "base_log_probs", "base_logits")
        } | {other: torch.zeros(40)}
        expected = factors("mask_low_probability", settings, tokens)
        assert torch.equal(
            factors("mask_low_probability", settings, PredictedTokens(**changed)), expected
        )


def test_entropy_of_fewer_tokens_than_the_vocabulary_has_is_that_of_all_of_them() -> None:
    tokens = at_odds(20, 6, 2, 1.0)
    found = factors("eaft", {"top_tokens": 1000}, tokens)
    probabilities = tokens.logits.softmax(-1).numpy()
    whole = -(probabilities * np.log(probabilities)).sum(1) / np.log(6)
    torch.testing.assert_close(found, torch.from_numpy(whole))
