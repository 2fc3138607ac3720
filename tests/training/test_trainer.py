"""The Trainer that cuts an optimiser step into forward passes: one rank or two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys, tempfile
from transformers import TrainingArguments
from atlas.training.choose_parts import choose_parts
from atlas.training.config import EngineConfig
from atlas.training.optimizer_steps import OptimizerSteps
from atlas.training.trainer import CriticalStepTrainer, collate
from tests.training.tiny_families import nested_examples, tiny

ranks, max_tokens, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
model, examples = tiny("llama").float(), nested_examples() * 2
arguments = TrainingArguments(
    output_dir=folder, num_train_epochs=1, per_device_train_batch_size=1, learning_rate=1e-2, logging_steps=1, save_strategy="no",
    report_to="none", disable_tqdm=True, use_cpu=True, remove_unused_columns=False, train_sampling_strategy="sequential",
)
trainer = CriticalStepTrainer(
    model=model, args=arguments, data_collator=collate,
    train_dataset=OptimizerSteps([[example] for example in examples], range(12), 6, ranks),
    engine=choose_parts(model, EngineConfig()).engine, max_tokens=max_tokens,
)
trainer.train()
if trainer.accelerator.is_main_process:
    print(json.dumps([[row["loss"], float(row["grad_norm"])] for row in trainer.state.log_history if "loss" in row]))
"""


def train(folder: Path, ranks: int, max_tokens: int) -> list[list[float]]:
    """Loss and gradient norm of each optimiser step."""
    script = folder / "train_script.py"
    script.write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    command = [sys.executable, "-W", "ignore", *launcher, str(script), str(ranks), str(max_tokens), str(folder / "state")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("[["))


@pytest.mark.slow
def test_two_ranks_train_as_one_does_though_their_forward_passes_differ_in_number(tmp_path: Path) -> None:
    alone = train(tmp_path, ranks=1, max_tokens=10_000)
    together = train(tmp_path, ranks=2, max_tokens=60)
    assert len(alone) == 2
    assert together == [pytest.approx(step, rel=1e-4) for step in alone]
