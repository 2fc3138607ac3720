from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from atlas.models.local.load import load_model, locate_model
from atlas.training.examples import TrainingExample
from atlas.training.loss import pad, sum_losses
from atlas.training.schedule import schedule_examples
from atlas.training.token_loss import TokenLoss


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> Any:
    return load_model(locate_model(str(tiny_model_folder)), "float32", "cpu").double()


def example_of(seed: int, length: int, supervised: float = 0.3) -> TrainingExample:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 300, length).astype(np.int32)
    mask = rng.random(length) < supervised
    mask[0], mask[-1] = False, True
    return TrainingExample(f"t{seed}", ids, np.where(mask, ids, -100).astype(np.int64))


def numpy_loss(model: Any, example: TrainingExample) -> float:
    """Five lines of NumPy: the sum of −log softmax at the supervised tokens, from full logits."""
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(example.input_ids).long()[None]).logits[0].numpy()
    log_probs = (
        logits
        - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
        - logits.max(1, keepdims=True)
    )
    positions = np.flatnonzero(example.labels != -100)
    return float(-log_probs[positions - 1, example.labels[positions]].sum())


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(3, 40), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_a_padded_batch_has_the_loss_of_its_sequences_alone(
    model: Any, lengths: list[int], seed: int
) -> None:
    examples = [example_of(seed + index, length) for index, length in enumerate(lengths)]
    together = sum_losses(model, pad(examples), TokenLoss())[0]
    assert together.item() == pytest.approx(
        sum(numpy_loss(model, example) for example in examples), rel=1e-6
    )


def test_gradients_do_not_depend_on_how_an_optimizer_step_is_cut_into_micro_batches(
    model: Any,
) -> None:
    examples = [
        example_of(seed, 5 + 7 * seed, supervised=0.1 + 0.2 * (seed % 3)) for seed in range(6)
    ]
    total = sum(example.num_supervised_tokens for example in examples)

    def gradients(size: int) -> list[torch.Tensor]:
        model.zero_grad()
        for start in range(0, 6, size):
            (
                sum_losses(model, pad(examples[start : start + size]), TokenLoss())[0] / total
            ).backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    for whole, cut in zip(gradients(6), gradients(2), strict=True):
        torch.testing.assert_close(whole, cut, rtol=1e-5, atol=1e-7)


def test_logits_are_computed_at_supervised_positions_only(model: Any) -> None:
    shapes: list[tuple[int, ...]] = []
    handle = model.get_output_embeddings().register_forward_hook(
        lambda _, __, output: shapes.append(tuple(output.shape))
    )
    examples = [example_of(1, 30, 0.2), example_of(2, 50, 0.2)]
    sum_losses(model, pad(examples), TokenLoss())[0]
    handle.remove()
    assert shapes == [
        (sum(example.num_supervised_tokens for example in examples), model.config.vocab_size)
    ]


@settings(max_examples=30, deadline=None)
@given(
    num=st.integers(1, 30),
    epochs=st.floats(0.5, 3),
    batch=st.integers(1, 8),
    seed=st.integers(0, 9),
)
def test_a_schedule_visits_every_trajectory_once_an_epoch(
    num: int, epochs: float, batch: int, seed: int
) -> None:
    groups = [(example_of(index, 5 + index),) * (1 + index % 3) for index in range(num)]
    # A schedule of nothing is refused.
    assume(round(epochs * num))
    schedule = schedule_examples(groups, epochs, batch, seed)
    visits = [group for step in schedule.steps for group in step]
    assert len(visits) == round(epochs * num)
    counts = [sum(group is each for each in visits) for group in groups]
    assert max(counts) - min(counts) <= 1
    again = schedule_examples(groups, epochs, batch, seed)
    assert all(
        one is other
        for step, same in zip(schedule.examples, again.examples, strict=True)
        for one, other in zip(step, same, strict=True)
    )
