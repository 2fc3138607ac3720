"""Every row of OBJECTIVES keeps the same laws, and so does an objective outside the table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor
from torch.nn import functional

from atlas.config import check_config
from atlas.errors import ConfigError, ModelError
from atlas.kinds import Choice, config_class
from atlas.training.config import TrainConfig
from atlas.training.objectives.base import (
    OBJECTIVE,
    OBJECTIVES,
    Objective,
    PredictedTokens,
    make_objective,
)
from atlas.training.token_loss import Targets, TokenLoss
from atlas.training.train_agent import train_agent
from tests.training import outside_objectives
from tests.training.small_runs import losses, make_runs, quick

# Rows that tests/extending_rows.py adds are in the table by the time that tests are collected.
NAMES = [*OBJECTIVES, outside_objectives.NAME]
# Of the rows that would silence all tokens of a random model: every one is equally probable.
ON_A_RANDOM_MODEL = {
    "eksft": {"max_entropy": 10.0},
    "mask_low_probability": {"min_probability": 1e-3},
}
INFINITE = float("inf")
names = pytest.mark.parametrize("name", NAMES)


def objective(name: str) -> Objective:
    made: Objective = OBJECTIVE.make(Choice(name))
    return made


def predicted(
    made: Objective, logits: Tensor, base_logits: Tensor, tokens: Tensor, weights: Tensor
) -> PredictedTokens:
    """What the objective says that it needs, and nothing else."""

    def at_tokens(rows: Tensor) -> Tensor:
        return -functional.cross_entropy(rows, tokens, reduction="none")

    return PredictedTokens(
        at_tokens(logits),
        logits,
        weights,
        at_tokens(base_logits) if made.needs == "base_probabilities" else None,
        base_logits if made.needs == "base_distribution" else None,
    )


def rows_of(tokens: PredictedTokens, rows: Tensor) -> PredictedTokens:
    kept: dict[str, Any] = {}
    for each in fields(tokens):
        value = getattr(tokens, each.name)
        kept[each.name] = None if value is None else value[rows]
    return PredictedTokens(**kept)


def random_tokens(made: Objective, num: int = 60, dtype: Any = torch.float64) -> PredictedTokens:
    torch.manual_seed(0)
    scales = torch.logspace(-1, 1.3, num, dtype=dtype)[:, None]
    base = scales * torch.randn(num, 50, dtype=dtype)
    logits = base + 0.4 * scales * torch.randn(num, 50, dtype=dtype)
    tokens, weights = torch.randint(0, 50, (num,)), torch.randn(num, dtype=dtype)
    return predicted(made, logits, base, tokens, weights)


def one_hot(token: int, size: int = 4) -> Tensor:
    """Logits that exclude all other tokens."""
    return torch.full((size,), -INFINITE).scatter(0, torch.tensor(token), 0.0)


def hostile_tokens(made: Objective, size: int) -> PredictedTokens:
    """Every pair of hostile rows for model and base, with weights of either sign."""
    flat, huge = torch.zeros(size), torch.linspace(-1e30, 1e30, size)
    kinds: list[Tensor] = [
        flat,
        huge,
        huge.neg(),
        huge.mul(1e-30),
        one_hot(0, size),
        one_hot(size - 1, size),
    ]
    if size > 2:
        kinds.append(torch.tensor([0.0, *[-INFINITE] * (size - 2), 0.0]))
        kinds.append(torch.tensor([0.0, *[-80.0] * (size - 1)]))
    pairs = [(now, before, sign) for now in kinds for before in kinds for sign in (1.0, -1.0, 0.0)]
    logits = torch.stack([now for now, _, _ in pairs])
    base = torch.stack([before for _, before, _ in pairs])
    weights = torch.tensor([sign for _, _, sign in pairs])
    return predicted(made, logits, base, torch.zeros(len(pairs), dtype=torch.long), weights)


@names
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_factor_of_a_token_does_not_depend_on_the_other_tokens(name: str, dtype: Any) -> None:
    made = objective(name)
    tokens = random_tokens(made, dtype=dtype)
    together = made.factors(tokens)
    assert together.shape == (60,)
    torch.manual_seed(1)
    for rows in (torch.arange(60)[:1], torch.arange(60)[1:], torch.randperm(60), torch.arange(0)):
        torch.testing.assert_close(made.factors(rows_of(tokens, rows)), together[rows])


@names
@pytest.mark.parametrize("size", [1, 2, 4, 30])
def test_factors_are_finite_whatever_the_predictions(name: str, size: int) -> None:
    made = objective(name)
    found = made.factors(hostile_tokens(made, size))
    assert found.isfinite().all()
    assert found.abs().max() <= 10


@names
@pytest.mark.parametrize("size", [1, 4])
def test_loss_and_gradient_are_finite_where_plain_cross_entropy_is(name: str, size: int) -> None:
    """An infinite −log π stays infinite, or its token is silenced: it never is not a number."""
    made = objective(name)
    hostile = hostile_tokens(made, size)
    for row in range(len(hostile.weights)):
        one = rows_of(hostile, torch.tensor([row]))
        logits = one.logits.clone().requires_grad_()
        targets = Targets(torch.zeros(1, dtype=torch.long), one.weights, one.base_log_probs)
        loss = TokenLoss(made)(logits, targets, one.base_logits)
        loss.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        if one.log_probs.isfinite().all():
            assert loss.isfinite()
            assert logits.grad.isfinite().all()
        elif (made.factors(one) == 0).all():
            assert loss.item() == 0
            assert not logits.grad.any()
        elif one.weights.item():
            assert loss.isinf()


@names
def test_predictions_that_are_not_numbers_are_not_silenced(name: str) -> None:
    """Otherwise a training that has diverged would look healthy."""
    made = objective(name)
    hostile = hostile_tokens(made, 4)
    for row in range(len(hostile.weights)):
        one = rows_of(hostile, torch.tensor([row]))
        targets = Targets(torch.zeros(1, dtype=torch.long), one.weights, one.base_log_probs)
        assert TokenLoss(made)(one.logits * float("nan"), targets, one.base_logits).isnan()


@names
def test_the_gradient_is_that_of_cross_entropy_times_the_factors(name: str) -> None:
    made = objective(name)
    tokens = random_tokens(made)
    logits = tokens.logits.clone().requires_grad_()
    targets = torch.randint(0, 50, (60,))
    given = replace(tokens, log_probs=-functional.cross_entropy(logits, targets, reduction="none"))
    factors = made.factors(replace(given, log_probs=given.log_probs.detach()))
    weighted = functional.cross_entropy(logits, targets, reduction="none") * factors * given.weights
    (expected,) = torch.autograd.grad(weighted.sum(), logits)
    wanted = Targets(targets, given.weights, given.base_log_probs)
    loss = TokenLoss(made)(logits, wanted, given.base_logits)
    (found,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss, weighted.sum())


@names
def test_factors_are_the_same_again_and_change_nothing(name: str) -> None:
    made = objective(name)
    tokens = random_tokens(made)
    values = [found for each in fields(tokens) if (found := getattr(tokens, each.name)) is not None]
    before = [value.clone() for value in values]
    first = made.factors(tokens)
    drawn = torch.get_rng_state()
    assert torch.equal(made.factors(tokens), first)
    assert torch.equal(objective(name).factors(tokens), first)
    assert torch.equal(torch.get_rng_state(), drawn), "it draws no random numbers"
    assert all(map(torch.equal, values, before))


@names
def test_the_first_line_of_its_docstring_describes_it(name: str) -> None:
    line = OBJECTIVE.describe(name)
    assert line.endswith(".")
    assert len(line) <= 100


def settings_of(name: str) -> list[tuple[str, Any]]:
    return list(config_class(OBJECTIVE.find(name)).model_fields.items())


@names
def test_settings_out_of_range_are_refused_with_their_name(name: str) -> None:
    for key, info in settings_of(name):
        assert info.description
        wrong: list[Any] = [[1], {"a": 1}]
        if info.annotation in (int, float):
            wrong += ["many", float("nan"), INFINITE]
        else:
            wrong += ["anything"]
        beyond: dict[Any, Callable[[Any], Any]] = {
            Ge: lambda mark: mark.ge - 1,
            Gt: lambda mark: mark.gt,
            Le: lambda mark: mark.le + 1,
            Lt: lambda mark: mark.lt,
        }
        wrong += [beyond[type(mark)](mark) for mark in info.metadata if type(mark) in beyond]
        for value in wrong:
            with pytest.raises(ConfigError, match=key):
                check_config(
                    TrainConfig,
                    {"model": "m", "objective": {"name": name, key: value}},
                    "recipe",
                )


@names
def test_numbers_have_a_bound(name: str) -> None:
    for key, info in settings_of(name):
        if info.annotation in (int, float):
            assert any(type(mark) in (Ge, Gt) for mark in info.metadata), key


@names
def test_an_unknown_setting_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="unheard"):
        check_config(
            TrainConfig, {"model": "m", "objective": {"name": name, "unheard": 1}}, "recipe"
        )


@names
def test_a_model_is_trained_with_it_and_a_second_run_has_the_same_bytes(
    name: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    runs = make_runs(tmp_path)
    objective = {"name": name, **ON_A_RANDOM_MODEL.get(name, {})}
    config = quick(tiny_model_folder, objective=objective, epochs=1)
    first = train_agent(config, *runs, tmp_path / "first")
    train_agent(config, *runs, tmp_path / "second")
    assert all(map(math.isfinite, losses(tmp_path / "first")))
    one, two = (
        (tmp_path / out / "checkpoint" / "model.safetensors").read_bytes()
        for out in ("first", "second")
    )
    assert one == two
    rows = [
        json.loads(line) for line in (tmp_path / "first/metrics.jsonl").read_text().splitlines()
    ]
    if make_objective(Choice(name)) is not None:
        assert all(0 <= row["silenced"] <= 1 for row in rows)
        assert 0 <= first.summary["silenced"] <= 1


def test_a_training_whose_tokens_are_all_silenced_says_so(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    config = quick(tiny_model_folder, objective="mask_low_probability", epochs=1)
    with pytest.raises(ModelError, match="objective=mask_low_probability has silenced all"):
        train_agent(config, *make_runs(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("OneForAll", r"gave a Tensor of shape \[\], expected a tensor of shape \[\d+\]"),
        ("OneForEachLogit", r"gave a Tensor of shape \[\d+, \d+\], expected a tensor of shape"),
        ("ListOfNumbers", "gave a list, expected a tensor of shape"),
        ("WithoutBase", "gave a NoneType, expected a tensor of shape"),
        ("NoNumbers", "gave nan for a token of probability .*, expected a finite number"),
        ("NumPyArray", r"gave a ndarray of shape \[\d+\], expected a tensor of shape"),
        ("Elsewhere", "gave a tensor with device meta, expected cpu"),
        ("Sparse", r"gave a tensor with layout torch.sparse_coo, expected torch.strided"),
        ("Complex", "gave complex numbers, expected real ones"),
        ("TooLarge", "gave 1e\\+39 for a token of probability .*, expected a finite number"),
        ("ChangesWeights", r"has changed tokens.weights in place, expected"),
        ("ChangesLogits", r"has changed tokens.log_probs, tokens.logits in place, expected"),
        ("Raising", "factors raised ZeroDivisionError: in factors"),
        ("Needy", "its attribute 'needs' is 'everything', expected one of nothing"),
        ("NoMethod", "lacks the method factors"),
        ("Absent", "Absent"),
    ],
)
def test_a_broken_objective_from_outside_ends_with_what_is_wrong(
    name: str, said: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    whole = f"{outside_objectives.__name__}:{name}"
    runs = make_runs(tmp_path)

    def train() -> None:
        train_agent(quick(tiny_model_folder, objective=whole), *runs, tmp_path / "out")

    with pytest.raises(ConfigError, match=said) as error:
        train()
    assert whole in str(error.value)
