"""`precision: auto` is chosen by a timed layer, once for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from atlas.models.local import precision as local_precision
from atlas.training import chosen_precision
from atlas.training.chosen_precision import choose_precision, keep_precision
from atlas.training.train_agent import train_agent
from tests.training.small_runs import losses, make_runs, quick
from tests.training.test_resume import assert_same_files, interrupt

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is not timed")


def timed_as(monkeypatch: pytest.MonkeyPatch, fp32: float, bf16: float) -> None:
    monkeypatch.setattr(chosen_precision, "FEWEST_WEIGHTS", 0)
    monkeypatch.setattr(chosen_precision, "_time_layer", lambda *_: {"fp32": fp32, "bf16": bf16})


@pytest.mark.parametrize(("fp32", "chosen"), [(1.49, "fp32"), (1.5, "bf16"), (3.0, "bf16")])
def test_auto_is_bf16_where_a_layer_is_faster_by_the_factor(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, fp32: float, chosen: str
) -> None:
    timed_as(monkeypatch, fp32, 1.0)
    found = choose_precision(quick(tiny_model_folder, precision="auto"), str(tiny_model_folder))
    assert found.precision == chosen
    assert f"{fp32:.3f} s in fp32 and 1.000 s in bf16" in str(found.reason)


@pytest.mark.parametrize("given", ["fp32", "bf16"])
def test_a_given_precision_needs_no_timed_layer(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, given: str
) -> None:
    monkeypatch.setattr(local_precision, "_slower_in_bf16", lambda: 0.5)
    found = choose_precision(quick(tiny_model_folder, precision=given), "nowhere")
    assert (found.precision, found.reason) == (given, None)


def test_bf16_on_a_cpu_that_emulates_it_is_kept_and_the_reason_says_what_it_costs(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path
) -> None:
    monkeypatch.setattr(local_precision, "_slower_in_bf16", lambda: 67.2)
    found = choose_precision(quick(tiny_model_folder, precision="bf16"), "nowhere")
    assert found.precision == "bf16"
    assert "takes 67 times as long as in fp32" in str(found.reason)
    assert "precision=fp32" in str(found.reason)


def test_a_layer_is_timed_without_a_change_of_the_random_numbers(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path
) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    timed = []

    def timing(*layer: Any) -> dict[str, float]:
        timed.append(time_layer(*layer))
        return timed[-1]

    time_layer = chosen_precision._time_layer
    monkeypatch.setattr(chosen_precision, "FEWEST_WEIGHTS", 0)
    monkeypatch.setattr(chosen_precision, "_time_layer", timing)
    choose_precision(quick(tiny_model_folder, precision="auto"), str(tiny_model_folder))
    assert torch.equal(torch.rand(4), expected)
    (seconds,) = timed
    assert set(seconds) == {"fp32", "bf16"}
    assert all(one > 0 for one in seconds.values())


def test_a_model_with_small_layers_is_in_fp32_whatever_a_timing_would_say(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path
) -> None:
    smallest = chosen_precision.FEWEST_WEIGHTS
    timed_as(monkeypatch, 3.0, 1.0)
    monkeypatch.setattr(chosen_precision, "FEWEST_WEIGHTS", smallest)
    found = choose_precision(quick(tiny_model_folder, precision="auto"), str(tiny_model_folder))
    assert found.precision == "fp32"
    assert "its layers are small" in str(found.reason)


def test_an_architecture_that_cannot_be_timed_is_trained_in_fp32_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise TypeError("no such layer")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_config", fails)
    found = choose_precision(quick(tiny_model_folder, precision="auto"), str(tiny_model_folder))
    assert found.precision == "fp32"
    assert "cannot be timed (TypeError: no such layer)" in str(found.reason)


def test_the_choice_of_a_run_is_kept_when_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    config = quick(tiny_model_folder, precision="auto")
    timed_as(monkeypatch, 2.0, 1.0)
    first = keep_precision(config, str(tiny_model_folder), tmp_path / "states")
    timed_as(monkeypatch, 1.0, 2.0)
    assert keep_precision(config, str(tiny_model_folder), tmp_path / "states") == first
    other = keep_precision(config, str(tiny_model_folder), tmp_path / "other")
    assert (first.precision, other.precision) == ("bf16", "fp32")


def test_the_choice_and_its_reason_are_in_the_summary(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    timed_as(monkeypatch, 2.0, 1.0)
    config = quick(tiny_model_folder, precision="auto", epochs=1)
    manifest = train_agent(config, *make_runs(tmp_path), tmp_path / "run")
    assert manifest.summary["precision"] == "bf16"
    assert "2.0 times as fast" in manifest.summary["precision_reason"]
    assert not any("precision" in name for name in manifest.outputs)


def test_a_given_precision_is_neither_kept_nor_replaced_by_a_kept_one(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    timed_as(monkeypatch, 2.0, 1.0)
    place = str(tiny_model_folder)
    keep_precision(quick(place, precision="auto"), place, tmp_path, tmp_path)
    found = keep_precision(quick(place, precision="fp32"), place, tmp_path, tmp_path)
    assert found.precision == "fp32"
    keep_precision(quick(place, precision="fp32"), place, tmp_path / "other", tmp_path / "shared")
    assert not (tmp_path / "other").exists()


def test_compared_runs_share_the_first_choice_and_a_begun_run_keeps_its_own(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    config, place = quick(tiny_model_folder, precision="auto"), str(tiny_model_folder)
    timed_as(monkeypatch, 1.0, 1.0)
    keep_precision(config, place, tmp_path / "begun")
    timed_as(monkeypatch, 2.0, 1.0)
    first = keep_precision(config, place, tmp_path / "first", tmp_path / "shared")
    timed_as(monkeypatch, 1.0, 1.0)
    second = keep_precision(config, place, tmp_path / "second", tmp_path / "shared")
    begun = keep_precision(config, place, tmp_path / "begun", tmp_path / "shared")
    assert (first.precision, begun.precision) == ("bf16", "fp32")
    assert second == first


def test_a_choice_without_a_timing_is_kept_too(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    # A run that was started on a GPU and is resumed on a CPU.
    config, place = quick(tiny_model_folder, precision="auto"), str(tiny_model_folder)
    monkeypatch.setattr(chosen_precision, "default_device", lambda: "cuda")
    monkeypatch.setattr(chosen_precision, "resolve_precision", lambda _: "bf16")
    started = keep_precision(config, place, tmp_path)
    monkeypatch.undo()
    timed_as(monkeypatch, 1.0, 1.0)
    assert keep_precision(config, place, tmp_path) == started
    assert started.precision == "bf16"


def test_the_losses_of_a_training_in_bf16_are_those_of_fp32_within_a_fifth_of_a_percent(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = make_runs(tmp_path)
    found = {}
    for precision in ("fp32", "bf16"):
        out = tmp_path / precision
        train_agent(quick(tiny_model_folder, precision=precision, epochs=8), *runs, out)
        found[precision] = losses(out)
    first, *_, last = found["fp32"]
    assert last < 0.65 * first, "the training changes much"
    assert found["bf16"] == pytest.approx(found["fp32"], rel=2e-3)
    assert found["bf16"] != found["fp32"]


def test_a_run_that_is_resumed_where_another_precision_is_faster_gives_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = make_runs(tmp_path)
    config = quick(tiny_model_folder, precision="auto", save_every=3)
    timed_as(monkeypatch, 2.0, 1.0)
    train_agent(config, *runs, tmp_path / "whole")
    interrupt(monkeypatch, config, runs, tmp_path / "resumed")
    timed_as(monkeypatch, 1.0, 2.0)
    manifest = train_agent(config, *runs, tmp_path / "resumed")
    assert manifest.summary["precision"] == "bf16"
    assert_same_files(tmp_path, "checkpoint/model.safetensors")
