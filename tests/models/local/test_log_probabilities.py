from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas.errors import DataError
from atlas.models.local import log_probabilities
from atlas.models.local.load import load_model, locate_model
from atlas.models.local.log_probabilities import LocalScorer
from atlas.records import Message
from atlas.rendering.renderer import Renderer
from tests.conftest import make_trajectory
from tests.templates import MISTRAL, THINKING, tiny_tokenizer


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    return load_model(locate_model(str(tiny_model_folder)), "float32", "cpu")


@pytest.fixture
def scorer(model: Any, tokenizer: Any) -> LocalScorer:
    return LocalScorer(model, Renderer(tokenizer), "tiny")


def by_hand(model: Any, token_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-probability and entropy of each token given those before it, in NumPy; nan at first."""
    with torch.no_grad():
        logits = (
            model(input_ids=torch.from_numpy(token_ids)[None].long()).logits[0].double().numpy()
        )
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    chosen = log_p[np.arange(len(token_ids) - 1), token_ids[1:]]
    return np.concatenate([[np.nan], chosen]), np.concatenate(
        [[np.nan], -(np.exp(log_p) * log_p).sum(axis=1)[:-1]]
    )


def test_each_step_is_measured_over_its_own_tokens_as_by_hand(
    model: Any, scorer: LocalScorer
) -> None:
    trajectory = make_trajectory(5)
    [example] = scorer.renderer.tokenize_trajectory(trajectory)
    log_probs, entropies = by_hand(model, example.token_ids)
    for step, tokens in enumerate(scorer.read(trajectory)):
        mine = example.step_of_token == step
        np.testing.assert_allclose(tokens.log_probs, log_probs[mine], atol=1e-4)
        np.testing.assert_allclose(tokens.entropies, entropies[mine], atol=1e-4)
        assert tokens.mean_loss == pytest.approx(-log_probs[mine].mean(), abs=1e-4)
        assert tokens.mean_entropy == pytest.approx(entropies[mine].mean(), abs=1e-4)
        assert example.token_ids[mine][-1] == scorer.renderer.end_of_turn[-1], (
            "the end of turn is one of them"
        )


def test_what_comes_after_a_step_does_not_change_it(scorer: LocalScorer) -> None:
    long, short = scorer.read(make_trajectory(6)), scorer.read(make_trajectory(3))
    for one, other in zip(long[:3], short, strict=True):
        np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)


def test_blocks_of_positions_change_nothing(
    scorer: LocalScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scorer.read(make_trajectory(4))
    monkeypatch.setattr(log_probabilities, "ROWS", 7)
    for one, other in zip(whole, scorer.read(make_trajectory(4)), strict=True):
        np.testing.assert_array_equal(one.log_probs, other.log_probs)
        np.testing.assert_array_equal(one.entropies, other.entropies)


def test_a_template_that_rewrites_history_is_read_once_per_step(model: Any) -> None:
    trajectory = make_trajectory(3)
    steps = tuple(
        step.model_copy(
            update={"response": step.response.model_copy(update={"reasoning": f"Hm {index}."})}
        )
        for index, step in enumerate(trajectory.steps)
    )
    trajectory = trajectory.model_copy(update={"steps": steps})
    scorer = LocalScorer(model, Renderer(tiny_tokenizer(THINKING)), "tiny")
    examples = scorer.renderer.tokenize_trajectory(trajectory)
    assert len(examples) == 3
    for example, tokens in zip(examples, scorer.read(trajectory), strict=True):
        log_probs, _ = by_hand(model, example.token_ids)
        np.testing.assert_allclose(
            tokens.log_probs, log_probs[example.step_of_token != -1], atol=1e-4
        )


def test_what_the_model_cannot_read_whole_is_refused_with_its_reason(
    model: Any, scorer: LocalScorer
) -> None:
    scorer.max_tokens = 50
    with pytest.raises(DataError, match=r"tokens exceed the 50 that tiny reads"):
        scorer.read(make_trajectory(4))
    refusing = tiny_tokenizer(MISTRAL)
    refusing.chat_template = (
        "{% if messages|length > 3 %}{{ raise_exception('too many turns') }}{% endif %}" + MISTRAL
    )
    with pytest.raises(DataError, match="too many turns"):
        LocalScorer(model, Renderer(refusing), "tiny").read(make_trajectory(4))


def test_no_steps_are_no_tokens(scorer: LocalScorer) -> None:
    assert (
        scorer.read(
            make_trajectory(0).model_copy(
                update={"prompt": (Message(role="user", content="Hello"),)}
            )
        )
        == []
    )
