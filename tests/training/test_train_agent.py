"""Training on run folders: what is learned, and what survives an interruption."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.errors import DataError
from atlas.models.local.load import load_model, load_renderer, locate_model
from atlas.records import CriticalStep, Selection
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.readers import read_selected, read_selections, read_trajectories
from atlas.store.run_folders import read_manifest
from atlas.training.engine.exact_engine import PARTS
from atlas.training.examples import build_examples
from atlas.training.train_agent import LoraConfig, TrainConfig, train_agent
from tests.conftest import make_trajectory
from tests.parse_counts import count_parses
from tests.run_folders import write_selections
from tests.training.small_runs import losses, make_runs, quick

SCRIPT = """
import sys
from pathlib import Path
from atlas.training.train_agent import TrainConfig, train_agent
config, trajectories, selection, out = sys.argv[1:]
config = TrainConfig.model_validate_json(config)
train_agent(config, Path(trajectories), Path(selection), Path(out))
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def trained(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a short training that no test changes."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train_agent(quick(tiny_model_folder), *runs, out)
    return out


def test_a_run_lowers_the_loss_and_its_checkpoint_loads_as_any_model(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    manifest = train_agent(quick(tiny_model_folder, epochs=15), *runs, tmp_path / "run")
    values = losses(tmp_path / "run")
    assert sum(values[-3:]) < 0.8 * sum(values[:3])
    assert manifest.summary["optimizer_steps"] == 45
    logged = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [logged[0]["epoch"], logged[-1]["epoch"]] == [pytest.approx(15 / 45), 15]
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").exists()
    assert load_renderer(locate_model(str(tmp_path / "run"))).tokenizer.chat_template
    assert not (tmp_path / "run" / "resume.partial").exists()


def test_the_counts_of_the_summary_are_those_of_the_masks(
    runs: tuple[Path, Path], tiny_model_folder: Path, trained: Path
) -> None:
    manifest = read_manifest(trained)
    selections = read_selections(runs[1], runs[0])
    examples = build_examples(
        read_selected(runs[1], runs[0]),
        load_renderer(locate_model(str(tiny_model_folder))),
        quick(tiny_model_folder),
    )
    assert manifest.summary["num_supervised_tokens"] == sum(
        (e.labels != -100).sum() for e in examples.examples
    )
    assert manifest.summary["num_supervised_steps"] == sum(
        len(selection.indices) for selection in selections.values()
    )
    assert manifest.summary["num_trained_tokens"] < manifest.summary["num_tokens"], (
        "tails after the last supervised token are not run"
    )


def test_leaving_out_the_tail_changes_no_loss(
    runs: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    from atlas.rendering.loss_mask import labels, loss_mask
    from atlas.training.examples import TrainingExample
    from atlas.training.loss import pad, sum_losses
    from atlas.training.token_loss import TokenLoss

    place = locate_model(str(tiny_model_folder))
    model, renderer, trajectory = (
        load_model(place, "float32", "cpu").double(),
        load_renderer(place),
        make_trajectory(6),
    )
    (example,) = renderer.tokenize_trajectory(trajectory)
    mask = loss_mask(example, [1, 3])
    end = int(mask.nonzero()[0][-1]) + 1

    def loss(cut: TrainingExample) -> torch.Tensor:
        return sum_losses(model, pad([cut]), TokenLoss())[0].detach()

    whole = TrainingExample("t", example.token_ids, labels(example, mask))
    cut = TrainingExample("t", example.token_ids[:end], labels(example, mask)[:end])
    torch.testing.assert_close(loss(whole), loss(cut))


def test_arms_that_differ_in_their_selection_see_the_same_trajectories_in_the_same_steps(
    runs: tuple[Path, Path], tiny_model_folder: Path, trained: Path, tmp_path: Path
) -> None:
    select_steps(SelectConfig(selector="all"), runs[0], tmp_path / "all")
    one = read_manifest(trained).summary
    other = train_agent(
        quick(tiny_model_folder), runs[0], tmp_path / "all", tmp_path / "other"
    ).summary
    assert one["optimizer_steps"] == other["optimizer_steps"]
    assert (
        one["num_supervised_tokens"]
        < other["num_supervised_tokens"]
        == other["num_supervised_tokens"]
    )


def test_the_engine_changes_no_loss_of_a_run(
    runs: tuple[Path, Path], tiny_model_folder: Path, trained: Path, tmp_path: Path
) -> None:
    off = dict.fromkeys(PARTS, False)
    plain = train_agent(quick(tiny_model_folder, engine=off), *runs, tmp_path / "plain").summary
    exact = read_manifest(trained).summary
    one_by_one = quick(tiny_model_folder, engine={"micro_batch_tokens": 1}, micro_batch_size=None)
    train_agent(one_by_one, *runs, tmp_path / "one")
    assert plain["engine"] == "plain"
    assert exact["engine"] == " ".join(PARTS)
    assert (plain["attention"], exact["attention"]) == (
        "the model's own",
        "flash attention, piece by piece",
    )
    assert losses(trained) == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "plain"), rel=1e-3)


def test_the_kl_holds_the_model_to_its_base_and_is_a_column_of_its_own(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    def train(name: str, **changes: object) -> tuple[dict[str, Any], list[dict[str, float]]]:
        manifest = train_agent(
            quick(tiny_model_folder, epochs=6, learning_rate=3e-3, **changes),
            *runs,
            tmp_path / name,
        )
        return manifest.summary, [
            json.loads(line)
            for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]

    free, free_rows = train("free")
    light, light_rows = train("light", kl_weight=1e-6)
    heavy, _ = train("heavy", kl_weight=10.0)
    assert "final_kl" not in free
    assert all("kl" not in row for row in free_rows)
    assert free["num_supervised_tokens"] == light["num_supervised_tokens"]
    assert light["num_anchored_tokens"] > 0
    assert abs(light_rows[0]["kl"]) < 1e-6, "before the first update both are the same model"
    assert 0 < heavy["final_kl"] < 0.5 * light["final_kl"]
    assert [row["loss"] for row in light_rows] == pytest.approx(
        [row["loss"] for row in free_rows], rel=1e-3
    )


def test_a_summary_says_how_the_loss_was_normalized_and_each_way_differs(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    scored = [
        Selection(
            trajectory_id=trajectory.id,
            selector="test",
            num_steps=len(trajectory.steps),
            budget=2,
            critical_steps=tuple(
                CriticalStep(index=index, score=1.0 + index)
                for index in range(2 - len(trajectory.steps) % 2)
            ),
        )
        for trajectory in read_trajectories(runs[0])
    ]
    selection = write_selections(tmp_path / "scored", scored, runs[0])
    first = set()
    for normalizer, weights in (
        ("tokens", "none"),
        ("tokens", "score"),
        ("steps", "none"),
        ("trajectories", "score"),
    ):
        out = tmp_path / f"{normalizer}-{weights}"
        config = quick(
            tiny_model_folder, epochs=1, loss_normalizer=normalizer, step_weights=weights
        )
        summary = train_agent(config, runs[0], selection, out).summary
        assert (summary["loss_normalizer"], summary["step_weights"]) == (normalizer, weights)
        first.add(losses(out)[0])
    assert len(first) == 4
    with pytest.raises(DataError, match="expects a finite number above 0"):
        train_agent(
            quick(tiny_model_folder, step_weights="annotation"),
            runs[0],
            selection,
            tmp_path / "none",
        )


def test_bf16_trains_to_nearly_the_same_losses(
    runs: tuple[Path, Path], tiny_model_folder: Path, trained: Path, tmp_path: Path
) -> None:
    whole = train_agent(
        quick(tiny_model_folder, precision="bf16"), *runs, tmp_path / "bf16"
    ).summary
    assert (whole["precision"], whole["attention"]) == ("bf16", "flash attention, piece by piece")
    assert losses(tmp_path / "bf16") == pytest.approx(losses(trained), rel=0.01)


@pytest.mark.parametrize("kl_weight", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_to_the_same_losses(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path, kl_weight: float
) -> None:
    script = tmp_path / "train_script.py"
    script.write_text(SCRIPT)
    config = TrainConfig(
        model=str(tiny_model_folder),
        epochs=12,
        batch_size=4,
        micro_batch_size=2,
        learning_rate=1e-3,
        save_every=3,
        kl_weight=kl_weight,
        loss_normalizer="trajectories" if kl_weight else "tokens",
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train_agent(config, *runs, whole)
    given = [config.model_dump_json(), *map(str, runs), str(killed)]
    process = subprocess.Popen([sys.executable, str(script), *given], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(killed.glob("resume.partial/checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert read_status(killed) == "running"
    train_agent(config, *runs, killed)
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (killed / "checkpoint/model.safetensors").read_bytes() == (
        whole / "checkpoint/model.safetensors"
    ).read_bytes()


def read_status(run: Path) -> str:
    return str(json.loads((run / "manifest.json").read_text())["status"])


def test_a_run_parses_each_trajectory_once(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = count_parses(monkeypatch)
    train_agent(quick(tiny_model_folder), *runs, tmp_path / "run")
    assert parsed == {f"t{index}": 1 for index in range(12)}


def test_a_finished_run_is_free_to_run_again(
    runs: tuple[Path, Path], tiny_model_folder: Path, trained: Path
) -> None:
    first = read_manifest(trained)
    started = time.monotonic()
    assert train_agent(quick(tiny_model_folder), *runs, trained) == first
    assert time.monotonic() - started < 1


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)  # PEFT 0.21 under transformers 5.23
def test_low_rank_adapters_train_and_load(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    config = quick(tiny_model_folder, epochs=6, lora=LoraConfig(rank=4).model_dump())
    train_agent(config, *runs, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint" / "adapter_model.safetensors").exists()
    base, tuned = (
        load_model(locate_model(str(path)), "float32", "cpu")
        for path in (tiny_model_folder, tmp_path / "run")
    )
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert not torch.allclose(base(ids).logits, tuned(ids).logits)


@pytest.mark.filterwarnings("ignore")  # bitsandbytes warns of its CPU kernels, PEFT of transformers
def test_adapters_train_on_a_base_in_four_bits(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="the qlora extra is not installed")
    manifest = train_agent(
        quick(tiny_model_folder, epochs=6, lora={"rank": 4, "quantize": "4bit"}),
        *runs,
        tmp_path / "run",
    )
    values = losses(tmp_path / "run")
    assert sum(values[-3:]) < sum(values[:3])
    assert manifest.summary["engine"] == "chunked_loss packing shared_prompts last_layer"
    assert (tmp_path / "run" / "checkpoint" / "adapter_model.safetensors").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_tracker_writes_into_the_run_folder(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboardX", reason="no tracker is installed")
    train_agent(quick(tiny_model_folder, report_to=["tensorboard"]), *runs, tmp_path / "run")
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_last_step_is_logged_however_rarely_the_others_are(
    runs: tuple[Path, Path], tiny_model_folder: Path, trained: Path, tmp_path: Path
) -> None:
    for log_every in (4, 100):
        train_agent(quick(tiny_model_folder, log_every=log_every), *runs, tmp_path / str(log_every))
    every, fourth, last = map(losses, (trained, tmp_path / "4", tmp_path / "100"))
    assert len(every) == 6
    assert fourth == pytest.approx([sum(every[:4]) / 4, sum(every[4:]) / 2], rel=1e-5)
    assert last == pytest.approx([sum(every) / 6], rel=1e-5)
    assert read_manifest(tmp_path / "100").summary["final_loss"] == pytest.approx(last[0], abs=1e-4)


def test_the_manifest_ties_the_checkpoint_to_its_inputs(
    runs: tuple[Path, Path], trained: Path
) -> None:
    manifest = read_manifest(trained)
    assert manifest.inputs["trajectories"].digest == read_manifest(runs[0]).digest
    assert manifest.inputs["selection"].digest == read_manifest(runs[1]).digest
    assert {
        "checkpoint/model.safetensors",
        "checkpoint/chat_template.jinja",
        "checkpoint/README.md",
    } <= manifest.outputs.keys()
    template = load_renderer(locate_model(str(trained))).tokenizer.chat_template
    assert manifest.summary["template_digest"] == hashlib.sha256(template.encode()).hexdigest()[:12]
    assert manifest.config["seed"] == 0
    assert manifest.versions.keys() >= {"code", "atlas-tuning", "torch", "transformers"}


def test_a_template_that_writes_the_date_has_the_tokens_of_the_day_the_run_was_started(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datetime

    from atlas.store import run_folders
    from atlas.training import train_agent as module

    class Yesterday(datetime.date):
        @classmethod
        def today(cls) -> Yesterday:
            return cls(2024, 2, 28)

    seen: list[object] = []
    load = module.load_renderer

    def watched(place: object, template: object, day: object) -> object:
        seen.append(day)
        if len(seen) == 1:
            raise KeyboardInterrupt
        return load(place, template, day)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "load_renderer", watched)
    monkeypatch.setattr(run_folders, "date", Yesterday)
    out = tmp_path / "dated"
    with pytest.raises(KeyboardInterrupt):
        train_agent(quick(tiny_model_folder), *runs, out)
    (out / "checkpoint-0").mkdir()
    (out / "checkpoint-0" / "state").write_text("of the interrupted run")
    monkeypatch.setattr(run_folders, "date", datetime.date)
    train_agent(quick(tiny_model_folder), *runs, out)
    assert seen == [datetime.date(2024, 2, 28)] * 2
