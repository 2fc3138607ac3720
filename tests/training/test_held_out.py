"""The loss on trajectories that are not trained on: which they are, what it is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from atlas.errors import DataError
from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.records import CriticalStep, Selection
from atlas.store.readers import read_selected, read_selections
from atlas.training.dry_run import print_training_plan
from atlas.training.examples import ExampleSet, build_examples, choose_held_out
from atlas.training.train_agent import train_agent
from tests.run_folders import write_selections
from tests.training.small_runs import make_runs, quick
from tests.training.test_resume import interrupt

SHARE = 0.3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def build(model: Path, runs: tuple[Path, Path], **changes: object) -> ExampleSet:
    renderer = load_renderer(locate_model(str(model)))
    return build_examples(read_selected(runs[1], runs[0]), renderer, quick(model, **changes))


@given(
    ids=st.lists(st.text(), min_size=1, max_size=20, unique=True),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_larger_share_adds_to_a_smaller_one_and_the_order_does_not_matter(
    ids: list[str], shares: tuple[float, float]
) -> None:
    small, large = sorted(shares)
    held = choose_held_out(ids, small)
    assert held <= choose_held_out(ids, large)
    assert held == choose_held_out(ids[::-1], small)
    assert choose_held_out(ids, 0.0) == frozenset()
    assert len(held) == (max(1, round(small * len(ids))) if small else 0)


@pytest.mark.parametrize("changes", [{}, {"kl_weight": 0.5}, {"context_gradient": "stop"}])
def test_the_held_out_loss_is_that_of_the_formula_and_its_trajectories_are_not_trained_on(
    changes: dict[str, object], runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    config = quick(tiny_model_folder, held_out=SHARE, held_out_every=2, **changes)
    manifest = train_agent(config, *runs, tmp_path / "run")
    built = build(tiny_model_folder, runs, held_out=SHARE)
    ids = {one.trajectory_id for one in built.examples}
    held = {one.trajectory_id for one in built.held_out}
    assert held
    assert ids | held == {f"t{index}" for index in range(12)}
    assert not ids & held
    assert manifest.summary["num_trajectories"] == len(ids)
    assert manifest.summary["num_held_out"] == len(held)
    found = {
        row["step"]: row["held_out_loss"]
        for row in rows(tmp_path / "run")
        if "held_out_loss" in row
    }
    last = manifest.summary["optimizer_steps"]
    assert [*found] == [0, *range(2, last, 2), last]
    for step, path in ((0, tiny_model_folder), (last, tmp_path / "run")):
        model = load_model(locate_model(str(path)), "float32", "cpu")
        total, count = 0.0, 0
        for one in built.held_out:
            with torch.no_grad():
                ids_of_one = torch.from_numpy(one.input_ids).long()[None]
                log_probabilities = model(ids_of_one).logits[0].double().log_softmax(-1)
            places = np.flatnonzero(one.labels != -100)
            total -= float(log_probabilities[places - 1, one.labels[places]].sum())
            count += len(places)
        assert found[step] == pytest.approx(total / count, rel=1e-4)
    card = (tmp_path / "run" / "checkpoint" / "README.md").read_text()
    assert f"| held-out loss | {found[last]:.4f}".rstrip("0") in card


def test_computing_it_changes_no_weight_and_a_resume_has_the_same_rows(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"held_out": SHARE, "epochs": 3, "save_every": 3}
    often = quick(tiny_model_folder, held_out_every=1, **options)
    seldom = quick(tiny_model_folder, held_out_every=100, **options)
    train_agent(often, *runs, tmp_path / "whole")
    train_agent(seldom, *runs, tmp_path / "seldom")
    interrupt(monkeypatch, often, runs, tmp_path / "resumed")
    train_agent(often, *runs, tmp_path / "resumed")
    weights = [
        (tmp_path / name / "checkpoint/model.safetensors").read_bytes()
        for name in ("whole", "seldom", "resumed")
    ]
    assert len(set(weights)) == 1
    assert rows(tmp_path / "resumed") == rows(tmp_path / "whole")


def test_held_out_trajectories_without_a_supervised_token_are_an_error(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    held = choose_held_out([f"t{index}" for index in range(12)], 0.1)
    chosen = [
        replace_steps(selection, ()) if selection.trajectory_id in held else selection
        for selection in read_selections(runs[1], runs[0]).values()
    ]
    selection = write_selections(tmp_path / "selection", chosen, runs[0])
    with pytest.raises(DataError, match=r"held_out=0.1 holds out 1 of 12 trajectories, and none"):
        train_agent(quick(tiny_model_folder, held_out=0.1), runs[0], selection, tmp_path / "run")


def test_holding_out_all_trajectories_is_named_as_the_cause(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    config = quick(tiny_model_folder, held_out=0.99)
    with pytest.raises(DataError, match="holds out all 12 trajectories, so none is left to train"):
        train_agent(config, *runs, tmp_path / "run")
    console = Console(record=True, width=200, file=io.StringIO())
    print_training_plan(console, config, *runs)
    assert "training would stop here: held_out=0.99 holds out all 12" in console.export_text()


def replace_steps(selection: Selection, steps: tuple[CriticalStep, ...]) -> Selection:
    return selection.model_copy(update={"critical_steps": steps})
