"""Steps with a negative weight: the floor bounds the loss, and users are warned before."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from atlas.records import Annotation
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.run_folders import read_manifest
from atlas.training.config import TrainConfig
from atlas.training.objectives.dft import DftObjective
from atlas.training.objectives.guard import NegativeGuard
from atlas.training.token_loss import Targets, TokenLoss
from atlas.training.train_agent import train_agent
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.training.small_runs import quick

FLOOR = 0.05


def loss_and_gradient(logits: Tensor, weights: list[float], objective: Any) -> tuple[float, Tensor]:
    given = logits.clone().requires_grad_()
    targets = Targets(torch.zeros(len(weights), dtype=torch.long), torch.tensor(weights))
    loss = TokenLoss(objective)(given, targets)
    loss.backward()
    assert given.grad is not None
    return float(loss.detach()), given.grad


numbers = st.floats(-30, 30, width=32)


@given(
    rows=st.lists(
        st.tuples(st.floats(-1, 2, width=32), st.lists(numbers, min_size=4, max_size=4)),
        min_size=1,
        max_size=6,
    )
)
def test_the_loss_of_negative_weights_has_a_lower_bound(
    rows: list[tuple[float, list[float]]],
) -> None:
    """And only tokens with a negative weight below the floor lose their gradient."""
    weights = [weight for weight, _ in rows]
    logits = torch.tensor([row for _, row in rows], dtype=torch.float64)
    loss, gradient = loss_and_gradient(logits, weights, NegativeGuard(None, FLOOR))
    plain, plain_gradient = loss_and_gradient(logits, weights, None)
    assert loss >= sum(min(weight, 0) for weight in weights) * math.log(1 / FLOOR) - 1e-6
    probabilities = logits.softmax(-1)[:, 0]
    for row, weight in enumerate(weights):
        if weight < 0 and probabilities[row] < FLOOR * (1 - 1e-9):
            assert not gradient[row].any()
        elif weight >= 0 or probabilities[row] > FLOOR * (1 + 1e-9):
            assert torch.equal(gradient[row], plain_gradient[row])
    if all(weight >= 0 for weight in weights):
        assert loss == plain


def test_an_impossible_token_with_a_negative_weight_is_silenced_and_not_infinite() -> None:
    logits = torch.tensor([[-math.inf, 0.0], [0.0, 0.0]])
    loss, gradient = loss_and_gradient(logits, [-1.0, 1.0], NegativeGuard(None, FLOOR))
    assert loss == pytest.approx(math.log(2))
    assert not gradient[0].any()


def test_the_floor_and_another_objective_multiply() -> None:
    logits = torch.tensor([[3.0, 0.0], [-9.0, 0.0], [-9.0, 0.0]], dtype=torch.float64)
    weights = [-1.0, -1.0, 1.0]
    _, both = loss_and_gradient(logits, weights, NegativeGuard(made_dft(), FLOOR))
    _, dft = loss_and_gradient(logits, weights, made_dft())
    assert torch.equal(both[[0, 2]], dft[[0, 2]])
    assert not both[1].any()


def made_dft() -> DftObjective:
    from atlas.kinds import NoConfig

    return DftObjective(NoConfig())


@pytest.mark.parametrize("steps", [400])
def test_without_the_floor_the_loss_runs_away_and_with_it_does_not(steps: int) -> None:
    """Gradient descent on one token to train away from, beside one to learn."""

    def lowest(objective: Any) -> float:
        logits = torch.zeros(2, 5, dtype=torch.float64, requires_grad=True)
        targets = Targets(torch.tensor([0, 1]), torch.tensor([-1.0, 1.0]))
        optimizer = torch.optim.SGD([logits], lr=1.0)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = TokenLoss(objective)(logits, targets)
            loss.backward()
            optimizer.step()
        return float(logits.log_softmax(-1)[0, 0].detach())

    assert lowest(None) < 10 * math.log(FLOOR)
    # One step can pass the floor, but no further step follows it.
    assert 2 * math.log(FLOOR) < lowest(NegativeGuard(None, FLOOR)) < math.log(FLOOR)


def scored_runs(folder: Path, scores: tuple[float, ...]) -> tuple[Path, Path]:
    """Twelve trajectories whose steps have these scores in turn, and a random selection."""
    trajectories = []
    for index in range(12):
        trajectory = make_trajectory(2 + index % 5, f"t{index}")
        steps = [
            step.model_copy(update={"annotation": Annotation(score=scores[place % len(scores)])})
            for place, step in enumerate(trajectory.steps, start=index)
        ]
        trajectories.append(trajectory.model_copy(update={"steps": tuple(steps)}))
    written = write_trajectories(folder / "trajectories", trajectories)
    select_steps(SelectConfig(selector="random", ratio=0.6), written, folder / "selection")
    return written, folder / "selection"


def away(model: Path, **changes: object) -> TrainConfig:
    return quick(model, step_weights="annotation", lowest_weight=-0.5, **changes)


def test_a_training_away_from_steps_warns_says_so_in_the_card_and_keeps_its_bound(
    tiny_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = scored_runs(tmp_path, (1.0, 1.0, -0.5))
    config = away(tiny_model_folder, learning_rate=1e-2, epochs=12, negative_floor=FLOOR)
    summary = train_agent(config, *runs, tmp_path / "run").summary
    printed = " ".join(capsys.readouterr().err.split())
    assert "steps have a negative weight" in printed
    assert "set held_out=0.1 to see" in printed
    card = (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    assert f"trained away from | {summary['num_negative_steps']} steps" in card
    assert "silenced tokens | all steps" in card
    assert 0 < summary["silenced"] < 1
    share = summary["negative_weight_share"]
    rows = [
        json.loads(row) for row in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    # Of one optimizer step, whose share of negative weights may be up to 1.
    assert all(row["loss"] >= math.log(FLOOR) for row in rows)
    assert 0 < share < 0.5
    assert read_manifest(tmp_path / "run").summary["negative_floor"] == FLOOR


def test_nothing_changes_where_no_weight_is_negative(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    """A bound that no step uses gives the same weights, byte by byte."""
    runs = scored_runs(tmp_path, (0.5, 0.7, 2.0))
    plain = quick(tiny_model_folder, step_weights="annotation")
    for name, config in (("plain", plain), ("bounded", away(tiny_model_folder))):
        train_agent(config, *runs, tmp_path / name)
    one, other = (
        (tmp_path / name / "checkpoint" / "model.safetensors").read_bytes()
        for name in ("plain", "bounded")
    )
    assert one == other
