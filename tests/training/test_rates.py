"""The learning rate of every optimizer step is above 0, and each training reaches its peak."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import ConfigError, ModelError
from atlas.models.local.load import load_model, locate_model
from atlas.training.config import Scheduler, TrainConfig
from atlas.training.rates import count_warmup_steps, rate_factors
from atlas.training.states import digest_tensors, tensors_of
from atlas.training.train_agent import train_agent
from tests.training.small_runs import make_runs, quick

KINDS = get_args(Scheduler)


@pytest.mark.parametrize("kind", KINDS)
# The first call imports transformers.
@settings(deadline=None)
@given(ratio=st.floats(0, 1, exclude_max=True), num_steps=st.integers(1, 300))
def test_every_step_has_a_rate_above_0_and_one_has_the_peak(
    kind: str, ratio: float, num_steps: int
) -> None:
    config = TrainConfig.model_validate(
        {"model": "m", "lr_scheduler": kind, "warmup_ratio": ratio, "learning_rate": 1e-5}
    )
    factor = rate_factors(config, num_steps)
    rates = [factor(step) for step in range(num_steps)]
    assert all(0 < rate <= 1 for rate in rates)
    warmup = count_warmup_steps(config, num_steps)
    assert rates[warmup] == pytest.approx(1)
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_of_one_step_at_the_default_warm_up_changes_every_weight(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path, kind: str
) -> None:
    config = quick(tiny_model_folder, epochs=1, batch_size=32, lr_scheduler=kind)
    assert train_agent(config, *runs, tmp_path / "run").summary["optimizer_steps"] == 1
    base, tuned = (
        digest_tensors(tensors_of(load_model(locate_model(str(path)), "float32", "cpu")))
        for path in (tiny_model_folder, tmp_path / "run")
    )
    names = [name for name in base if name.endswith(("weight", "bias"))]
    assert all(base[name] != tuned[name] for name in names)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
@pytest.mark.parametrize("changes", [{}, {"lora": {"rank": 4}}, {"kl_weight": 0.5}])
def test_a_training_that_changes_no_weight_is_an_error(
    runs: tuple[Path, Path], tiny_model_folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    if "lora" in changes:
        pytest.importorskip("peft", reason="the lora extra is not installed")
    config = quick(tiny_model_folder, learning_rate=1e-300, **changes)
    with pytest.raises(ModelError, match=r"has changed none of the [0-9]+ trained tensors"):
        train_agent(config, *runs, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_tensors_that_did_not_move_are_named(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("peft", reason="the lora extra is not installed")
    config = quick(tiny_model_folder, epochs=1, batch_size=32, lora={"rank": 4})
    train_agent(config, *runs, tmp_path / "run")
    # In the first step only the second matrix of each adapter has a gradient, as it is 0.
    assert "trained tensors have not changed, among them" in capsys.readouterr().err


def test_a_schedule_of_deepspeed_is_refused(
    runs: tuple[Path, Path],
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import TrainingArguments

    plugin = SimpleNamespace(deepspeed_config={"scheduler": {"type": "WarmupLR"}})
    monkeypatch.setattr(TrainingArguments, "deepspeed_plugin", plugin, raising=False)
    monkeypatch.setattr(TrainingArguments, "__post_init__", _keeping(plugin))
    with pytest.raises(ConfigError, match="Remove 'scheduler' from it"):
        train_agent(quick(tiny_model_folder), *runs, tmp_path / "run")


def _keeping(plugin: object) -> object:
    from transformers import TrainingArguments

    prepare = TrainingArguments.__post_init__

    def prepare_and_keep(self: TrainingArguments) -> None:
        prepare(self)
        self.deepspeed_plugin = plugin

    return prepare_and_keep
