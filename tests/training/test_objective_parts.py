"""An objective with every part of the engine, against one sequence at a time in float64."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas.config import Config
from atlas.errors import ConfigError, ModelError
from atlas.kinds import Choice
from atlas.store.run_folders import read_manifest
from atlas.training.base_model import BaseModel
from atlas.training.base_predictions import with_base_log_probs
from atlas.training.config import EngineConfig, TrainConfig
from atlas.training.dry_run import _describe
from atlas.training.engine import chunked_loss
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS, Engine
from atlas.training.examples import ExampleSet, TrainingExample
from atlas.training.objectives.base import (
    Needs,
    Objective,
    ObjectiveBase,
    PredictedTokens,
    make_objective,
)
from atlas.training.ranks import Ranks
from atlas.training.schedule import Schedule
from atlas.training.states import digest_tensors
from atlas.training.tally_rows import TALLY_ROWS
from atlas.training.token_loss import Targets, TokenLoss
from atlas.training.train_agent import train_agent
from atlas.training.tune_model import _check_change
from tests.training.small_runs import losses, make_runs, quick
from tests.training.tiny_families import assert_same, gradients, nested_examples, tiny

EXACT = 2e-6


class Uncertain(ObjectiveBase[Config]):
    """The entropy."""

    def factors(self, tokens: PredictedTokens) -> Tensor:
        return torch.special.entr(tokens.log_distribution.exp()).sum(-1)


class Moved(ObjectiveBase[Config]):
    """The ratio to the base model's probability."""

    needs: Needs = "base_probabilities"

    def factors(self, tokens: PredictedTokens) -> Tensor:
        assert tokens.base_log_probs is not None
        return (tokens.log_probs - tokens.base_log_probs).exp() * tokens.weights.sign()


class Far(ObjectiveBase[Config]):
    """1 and the KL to the base model."""

    needs: Needs = "base_distribution"

    def factors(self, tokens: PredictedTokens) -> Tensor:
        now, before = tokens.log_distribution, tokens.base_log_distribution
        return 1 + (now.exp() * (now - before)).sum(-1)


def weighted(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    rng = np.random.default_rng(3)
    return [
        TrainingExample(
            one.trajectory_id,
            one.input_ids,
            one.labels,
            weights=rng.random(len(one.labels)),
            kinds=rng.integers(0, 5, len(one.labels)).astype(np.int8),
        )
        for one in examples
    ]


def logits_of(model: Any, one: TrainingExample) -> Tensor:
    ids = torch.from_numpy(one.input_ids).long()[None]
    places = torch.from_numpy(np.flatnonzero(one.labels[1:] != -100))
    found: Tensor = model(input_ids=ids, use_cache=False).logits[0][places].double()
    return found


def reference(
    model: Any, before: Any, examples: Sequence[TrainingExample], objective: Objective
) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for one in examples:
        targets = torch.from_numpy(one.labels[1:][one.labels[1:] != -100])[:, None]
        logits, weights = logits_of(model, one), torch.from_numpy(one.target_weights)
        with torch.no_grad():
            base = logits_of(before, one)
            log_probs, of_base = (
                each.log_softmax(-1).gather(1, targets) for each in (logits, base)
            )
            tokens = PredictedTokens(log_probs[:, 0], logits, weights, of_base[:, 0], base)
            factors = objective.factors(tokens)
        losses = -logits.log_softmax(-1).gather(1, targets)[:, 0]
        total = total + (losses * weights * factors).sum()
    return total


def shaken(model: Any) -> None:
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)


@pytest.mark.parametrize("kind", [Uncertain, Moved, Far])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_every_choice_of_parts_has_the_loss_and_gradients_of_the_reference(
    kind: type[Any], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_LOGITS", 1)
    model, examples = tiny(family), weighted(nested_examples())
    before, objective = copy.deepcopy(model), kind(Config())
    base = BaseModel(model) if objective.needs == "base_distribution" else None
    engine = choose_parts(model, EngineConfig(), base=base).engine
    schedule = Schedule.in_order([(one,) for one in examples], len(examples))
    config = TrainConfig(model="unused")
    for parts in (PARTS, (), PARTS[:1]):
        engine.put_in(parts)
        if objective.needs == "base_probabilities":
            known = with_base_log_probs(schedule, engine, config, Ranks(), torch.no_grad)
            found = np.concatenate([one.target_base_log_probs for one in known.examples[0]])
            wanted = torch.cat(
                [
                    logits_of(before, one)
                    .log_softmax(-1)
                    .gather(1, torch.from_numpy(one.labels[1:][one.labels[1:] != -100])[:, None])
                    for one in examples
                ]
            )
            np.testing.assert_allclose(found, wanted[:, 0].detach().numpy(), rtol=1e-5)
            schedule = known
    examples = schedule.examples[0]
    shaken(model)

    def backward(loss: Tensor) -> float:
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    expected = gradients(model, lambda: backward(reference(model, before, examples, objective)))
    for parts in (PARTS, PARTS[1:], ("packing",), PARTS[:1], ()):
        engine.put_in(parts)
        engine.token_loss = TokenLoss(objective)
        found = gradients(model, lambda: backward(engine.loss(model, examples)))
        assert_same(found, expected, EXACT)
        tally = engine.token_loss.tally
        assert tally is not None
        kinds = np.concatenate([one.target_kinds for one in examples])
        assert tally[:, 0].tolist() == np.bincount(kinds, minlength=len(TALLY_ROWS)).tolist()


def test_a_silenced_token_that_is_impossible_adds_nothing() -> None:
    class Silent(ObjectiveBase[Config]):
        def factors(self, tokens: PredictedTokens) -> Tensor:
            return torch.tensor([0.0, 1.0])

    logits = torch.tensor([[0.0, -torch.inf], [1.0, 0.0]], requires_grad=True)
    targets = Targets(torch.tensor([1, 1]), torch.ones(2))
    loss = TokenLoss(Silent(Config()))(logits, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(np.log1p(np.e))
    assert logits.grad is not None
    assert logits.grad[0].tolist() == [0.0, 0.0]


def test_a_class_from_outside_with_an_unknown_need_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs.*expected one of nothing"):
        make_objective(Choice(f"{__name__}:Needy"))


class Needy(ObjectiveBase[Config]):
    """Needs what there is not."""

    needs: Any = "everything"

    def factors(self, tokens: PredictedTokens) -> Tensor:
        return tokens.log_probs


@pytest.mark.parametrize("name", ["dft", f"{__name__}:Moved", f"{__name__}:Far"])
def test_a_run_reports_what_was_silenced(
    name: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    runs = make_runs(tmp_path)
    whole = train_agent(quick(tiny_model_folder, objective=name), *runs, tmp_path / "whole")
    assert whole.summary["objective"] == name
    assert 0 <= whole.summary["silenced"] <= 1
    rows = [
        json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    ]
    assert all({"silenced", "mean_factor", "silenced_no_kind"} <= row.keys() for row in rows)
    plain = train_agent(quick(tiny_model_folder), *runs, tmp_path / "plain")
    assert "silenced" not in plain.summary
    assert losses(tmp_path / "plain") != losses(tmp_path / "whole")
    assert read_manifest(tmp_path / "whole").summary["mean_factor"] != 1


def test_an_objective_with_the_distribution_of_the_base_has_its_log_probabilities_too() -> None:
    seen: list[PredictedTokens] = []

    class Recording(Far):
        def factors(self, tokens: PredictedTokens) -> Tensor:
            seen.append(tokens)
            return super().factors(tokens)

    torch.manual_seed(0)
    logits, base = torch.randn(4, 9), torch.randn(4, 9)
    tokens = torch.tensor([0, 3, 8, 3])
    TokenLoss(Recording(Config()))(logits, Targets(tokens, torch.ones(4)), base)
    assert seen[0].base_log_probs is not None
    expected = base.log_softmax(-1)[range(4), tokens]
    torch.testing.assert_close(seen[0].base_log_probs, expected)


def test_the_held_out_loss_needs_no_pass_of_the_base_model(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_base: dict[bool, set[bool]] = {True: set(), False: set()}
    plain = Engine.losses

    def losses_of(engine: Engine, model: Any, examples: Sequence[TrainingExample]) -> Tensor:
        has_base[torch.is_grad_enabled()].add(engine.base is not None)
        return plain(engine, model, examples)

    config = quick(tiny_model_folder, objective=f"{__name__}:Far", epochs=1, held_out=0.2)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "losses", losses_of)
        train_agent(config, *make_runs(tmp_path), tmp_path / "run")
    assert has_base == {True: {True}, False: {False}}


def test_the_plan_names_the_settings_of_the_objective() -> None:
    config = TrainConfig.model_validate({"model": "m", "objective": "clip"})
    assert "objective clip high=0.28 low=0.2" in _describe(ExampleSet(), config)[-1]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"objective": "dft"}, "objective=dft has silenced all tokens. Set its limits"),
        ({}, "negative_floor=0.01 has silenced all tokens"),
    ],
)
def test_a_training_that_changes_nothing_says_what_silenced_all_tokens(
    changes: dict[str, Any], cause: str
) -> None:
    weights = {"weight": torch.ones(3)}
    config = TrainConfig.model_validate({"model": "m", **changes})
    with pytest.raises(ModelError, match=cause):
        _check_change(config, digest_tensors(weights), weights, {"mean_factor": 0.0})
