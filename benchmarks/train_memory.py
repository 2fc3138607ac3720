"""The memory and time of training: what `atlas train --dry-run` expects, and what is seen.

    python benchmarks/train_memory.py [--model FOLDER] [--only bf16 rows] [--out memory.json]

Each case trains two optimizer steps of random tokens in a new process, through all that `atlas
train` does to tune a model: its checks, the passes, AdamW. Memory is the peak of the process
(resident pages), and what the dry run's estimate says about the same examples is beside it. Time is
processor time of the passes with one thread, per token. Without `--model`, the models are
random Llamas, small enough for every machine; with it, the model in this folder, such as the one
that recipes/smollm2 makes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SMALL = {"hidden": 192, "inner": 512, "layers": 6, "heads": 6, "key_heads": 2, "vocabulary": 1200}
MIDDLE = {
    "hidden": 512,
    "inner": 1408,
    "layers": 8,
    "heads": 8,
    "key_heads": 4,
    "vocabulary": 32_000,
}
# Name: shape, sequences and tokens of each, settings of the training.
Case = tuple[dict[str, int], int, int, dict[str, Any]]


def rows_of(tokens: int, **engine: Any) -> dict[str, Any]:
    return {"engine": {"micro_batch_tokens": tokens, **engine}}


def cases() -> dict[str, Case]:
    found: dict[str, Case] = {}
    for name, shape in (("small", SMALL), ("middle", MIDDLE)):
        for precision in ("fp32", "bf16"):
            for tokens in (512, 1024, 2048, 4096, 8192):
                settings = {"precision": precision, **rows_of(tokens)}
                found[f"{name}, {precision}, rows of {tokens}"] = shape, 16, 512, settings
        kept = rows_of(4096, recompute=False)
        found[f"{name}, all kept"] = shape, 8, 512, {"precision": "fp32", **kept}
        of_long = {"precision": "fp32", **rows_of(4096)}
        found[f"{name}, one long sequence"] = shape, 2, 4096, of_long
        found[f"{name}, gradient checkpointing"] = (
            shape,
            8,
            512,
            of_long | {"gradient_checkpointing": True},
        )
        found[f"{name}, LoRA"] = shape, 8, 512, of_long | {"lora": {"rank": 16}}
        found[f"{name}, KL"] = shape, 8, 512, of_long | {"kl_weight": 0.1}
    return found


def examples_of(number: int, length: int, vocabulary: int, held: bool) -> list[Any]:
    from atlas.training.examples import TrainingExample

    rng = np.random.default_rng(0)
    made = []
    for index in range(number):
        ids = rng.integers(0, vocabulary, length).astype(np.int32)
        # Every fourth block of 32 tokens is supervised.
        supervised = np.arange(length) // 32 % 4 == 3
        labels = np.where(supervised, ids, -100).astype(np.int64)
        anchored = np.arange(length) // 32 % 4 == 1
        extra = {"anchored": anchored} if held else {}
        made.append(TrainingExample(str(index), ids, labels, **extra))
    return made


def run(case: Case, model: str | None, folder: Path) -> dict[str, Any]:
    """The figures of a case, in this process."""
    import torch

    torch.set_num_threads(1)
    import transformers

    from atlas.models.local.precision import resolve_precision
    from atlas.training.config import TrainConfig
    from atlas.training.costs import estimate_memory
    from atlas.training.model_shape import measure_shape
    from atlas.training.ranks import Ranks
    from atlas.training.schedule import Schedule
    from atlas.training.trainer import CriticalStepTrainer
    from atlas.training.tune_model import tune_model

    shape, number, length, settings = case
    if model is None:
        config = transformers.LlamaConfig(
            vocab_size=shape["vocabulary"],
            hidden_size=shape["hidden"],
            intermediate_size=shape["inner"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["key_heads"],
            max_position_embeddings=8192,
            tie_word_embeddings=True,
        )
        model = str(folder / "model")
        transformers.LlamaForCausalLM(config).save_pretrained(model)
    train = TrainConfig.model_validate({"model": model, "save_every": 1000, **settings})
    sizes = measure_shape(model, train)
    examples = examples_of(number, length, sizes.vocabulary, train.kl_weight > 0)
    steps = Schedule.in_order([(one,) for one in examples], max(1, number // 2))
    expected = estimate_memory(sizes, train, steps.examples, resolve_precision(train.precision))
    seconds = 0.0
    own_step = CriticalStepTrainer.training_step

    def timed_step(*arguments: Any, **options: Any) -> Any:
        nonlocal seconds
        started = time.process_time()
        loss = own_step(*arguments, **options)
        seconds += time.process_time() - started
        return loss

    CriticalStepTrainer.training_step = timed_step  # type: ignore[method-assign]
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    tuned = tune_model(train, steps, (), folder / "out", Ranks())
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    return {
        "seen": peak,
        "expected": sum(expected.values()),
        "parts": expected,
        "microseconds_per_token": seconds / (number * length) * 1e6,
        "engine": tuned.summary["engine"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a model folder, instead of random models")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of the cases")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        with tempfile.TemporaryDirectory(prefix="atlas-memory-") as folder:
            print(json.dumps(run(cases()[given.case], given.model, Path(folder))))
        return
    results: dict[str, Any] = {}
    print(f"{'':36}{'seen':>8}{'expected':>10}{'':>8}{'µs/token':>10}   (GiB)")
    for name in cases():
        is_other = given.model is not None and not name.startswith("middle")
        if is_other or not all(part in name for part in given.only):
            continue
        command = [sys.executable, "-W", "ignore", __file__, "--case", name]
        command += ["--model", given.model] if given.model else []
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr}")
        found = json.loads(done.stdout.strip().splitlines()[-1])
        results[name] = found
        seen, expected = found["seen"] / 2**30, found["expected"] / 2**30
        print(
            f"{name.removeprefix('middle, ') if given.model else name:36}{seen:8.2f}"
            f"{expected:10.2f}{expected / seen - 1:8.0%}{found['microseconds_per_token']:10.1f}",
            flush=True,
        )
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
