"""The Trainer that cuts an optimizer step into forward passes: one rank or two."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atlas.training.base_model import BaseModel
from tests.training.tiny_families import (
    nested_examples,
    reference_losses,
    shaken,
    tiny,
    with_weights_and_anchors,
)

ROOT = Path(__file__).resolve().parents[2]
KL_WEIGHT = 0.5
SCRIPT = """
import json, sys
from atlas.training.base_model import BaseModel
from tests.training.test_trainer import train_tiny
from tests.training.tiny_families import shaken, tiny

ranks, max_tokens, folder, base_is = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
model = tiny("llama").float()
if base_is == "without adapters":
    import peft
    lora = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False
    )
    model = peft.get_peft_model(model, lora)
base = None if base_is == "none" else BaseModel(model)
trainer, rows = train_tiny(shaken(model), base, ranks, max_tokens, folder)
if trainer.accelerator.is_main_process:
    print(json.dumps(rows))
"""


def train_tiny(
    model: Any, base: BaseModel | None, ranks: int, max_tokens: int, folder: str
) -> tuple[Any, list[list[float]]]:
    """The trainer after three optimizer steps, and loss, gradient norm and KL of each.

    The examples have weights and anchors if there is a base model.
    """
    from transformers import TrainingArguments

    from atlas.training.config import EngineConfig
    from atlas.training.engine.choose_parts import choose_parts
    from atlas.training.schedule import Schedule
    from atlas.training.trainer import CriticalStepTrainer, collate

    examples = (
        nested_examples() * 2 if base is None else with_weights_and_anchors(nested_examples() * 2)
    )
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
    )
    trainer = CriticalStepTrainer(
        model=model,
        args=arguments,
        train_dataset=Schedule.in_order([(one,) for one in examples[:13]], 6).deal_out(ranks),
        data_collator=collate,
        engine=choose_parts(model, EngineConfig(), base=base).engine,
        max_tokens=max_tokens,
        kl_weight=KL_WEIGHT,
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return trainer, [[row["loss"], float(row["grad_norm"]), row.get("kl", 0.0)] for row in rows]


def train(folder: Path, ranks: int, max_tokens: int, base_is: str) -> list[list[float]]:
    """What `train_tiny` logs on its first rank."""
    script = folder / "train_script.py"
    script.write_text(SCRIPT)
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        if ranks > 1
        else []
    )
    arguments = [str(script), str(ranks), str(max_tokens), str(folder / "state"), base_is]
    command = [sys.executable, "-W", "ignore", *launcher, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("[["))


def test_an_optimizer_step_has_the_loss_of_the_formula_however_it_is_cut(tmp_path: Path) -> None:
    before = tiny("llama")
    tuned = shaken(copy.deepcopy(before))
    first = with_weights_and_anchors(nested_examples() * 2)[:6]
    weighted, divergence = reference_losses(tuned, before, first).tolist()
    kl = divergence / sum(int(one.num_anchored_tokens) for one in first)
    expected = weighted / sum(float(one.target_weights.sum()) for one in first) + KL_WEIGHT * kl
    logs = []
    for max_tokens in (10_000, 100, 1):
        model = copy.deepcopy(before)
        base = BaseModel(model)
        logs.append(train_tiny(shaken(model), base, 1, max_tokens, str(tmp_path / "state"))[1])
    assert logs[0][0][0] == pytest.approx(expected, rel=1e-6)
    assert logs[0][0][2] == pytest.approx(kl, rel=1e-6)
    for log in logs[1:]:
        assert log == [pytest.approx(step, rel=1e-5) for step in logs[0]]


@pytest.mark.slow
@pytest.mark.parametrize("base_is", ["none", "a copy", "without adapters"])
def test_two_ranks_train_as_one_does_though_their_forward_passes_differ_in_number(
    tmp_path: Path, base_is: str
) -> None:
    if base_is == "without adapters":
        pytest.importorskip("peft", reason="the lora extra is not installed")
    alone = train(tmp_path, ranks=1, max_tokens=10_000, base_is=base_is)
    together = train(tmp_path, ranks=2, max_tokens=60, base_is=base_is)
    assert len(alone) == 3, "the last step holds one example: the other rank has nothing to run"
    assert (alone[0][2] > 0) == (base_is != "none")
    # In float32, after updates.
    assert together == [pytest.approx(step, rel=5e-4) for step in alone]
