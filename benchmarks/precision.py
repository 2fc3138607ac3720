"""fp32 against bf16 on this CPU: time, loss, gradient, and memory over rows of new lengths.

    python benchmarks/precision.py --model smollm2 --chats chats.json
        [--tokens 4096] [--rounds 2] [--lengths 900] [--out precision.json]

`--model` is a model folder, and `--chats` the file that real_chats.py made for it. Every way runs
the same rows in turn; the rounds are repeated, and the least processor time of one thread counts.
The loss and the gradient of all weights are compared with those of fp32. One way is bf16 without
products of matrices in the backward pass of attention (engine/product_attention.py).

`--lengths N` then trains a small random Llama on N sequences of different lengths, each in a row
and an optimizer step, through all that `atlas train` does to tune a model. Each case has a new
process: fp32, bf16 with the bound on the caches of products that atlas sets, and bf16 with the
capacity that oneDNN and PyTorch have by default. Memory is what the process has more (resident)
than after the first tenth of the steps. `--lengths` needs no model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

BOUND = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
DEFAULT_CAPACITY = "1024"
# Name: precision, and whether the backward pass of attention may use products.
WAYS = {"fp32": ("fp32", True), "bf16": ("bf16", True), "bf16, no products": ("bf16", False)}
# Name: precision, and whether the caches have the capacity that they have without atlas.
CASES = {"fp32": ("fp32", False), "bf16": ("bf16", False), "bf16, no bound": ("bf16", True)}
SHORTEST = 64


def compare(model_folder: str, chats: Path, tokens: int, rounds: int) -> dict[str, Any]:
    """Seconds, loss and gradient of each way on rows of at most so many tokens."""
    import torch

    torch.set_num_threads(1)
    from atlas.models.local.load import load_model, locate_model
    from atlas.training.engine import flash_kernels, product_attention
    from atlas.training.engine.exact_engine import PARTS, Engine
    from atlas.training.engine.micro_batches import cut_into_micro_batches
    from atlas.training.examples import TrainingExample

    examples = []
    for index, chat in enumerate(json.loads(chats.read_text(encoding="utf-8"))):
        ids, labels = (np.array(chat[key]) for key in ("ids", "labels"))
        if not (labels != -100).any():
            continue
        end = int(np.flatnonzero(labels != -100)[-1]) + 1
        ids, labels = ids[:end].astype(np.int32), labels[:end].astype(np.int64)
        examples.append(TrainingExample(str(index), ids, labels))
    cut = cut_into_micro_batches([one.input_ids for one in examples], tokens, share_prompts=True)
    rows = [[examples[index] for index in row] for row in cut]
    model = load_model(locate_model(model_folder), "float32", "cpu").train()
    engine = Engine(model)
    engine.uses_flash = True
    engine.put_in(PARTS)
    own_choice, replaceable = product_attention.takes_products, cast(Any, flash_kernels)

    def run(precision: str, products: bool) -> tuple[float, float, Any]:
        replaceable.takes_products = own_choice if products else lambda *_: False
        total = 0.0
        started = time.process_time()
        for row in rows:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = engine.loss(model, row)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        seconds = time.process_time() - started
        gradient = torch.cat([one.grad.flatten() for one in model.parameters()])
        model.zero_grad()
        return seconds, total, gradient

    found: dict[str, dict[str, float]] = {name: {"seconds": float("inf")} for name in WAYS}
    for _ in range(rounds):
        reference: Any = None
        for name, way in WAYS.items():
            seconds, loss, gradient = run(*way)
            print(f"{name}: {seconds:.1f} s, loss {loss:.4f}", file=sys.stderr, flush=True)
            reference = gradient if reference is None else reference
            figures = found[name]
            figures["seconds"] = min(figures["seconds"], seconds)
            figures["loss"] = loss
            figures["loss_difference"] = loss / found["fp32"]["loss"] - 1
            size, wanted = _dot(gradient, gradient), _dot(reference, reference)
            error = gradient - reference
            figures["gradient_error"] = (_dot(error, error) / wanted) ** 0.5
            figures["gradient_cosine"] = _dot(gradient, reference) / (size * wanted) ** 0.5
    found["data"] = {
        "rows": len(rows),
        "tokens": sum(len(one.input_ids) for one in examples),
        "supervised": sum(one.num_supervised_tokens for one in examples),
    }
    return found


def _dot(one: Any, other: Any) -> float:
    """The product of two long vectors. Sums in float32 would be wrong in the second digit."""
    pairs = zip(one.split(2**20), other.split(2**20), strict=True)
    return sum(float(left.double() @ right.double()) for left, right in pairs)


def train_on_new_lengths(precision: str, num: int) -> list[float]:
    """Resident MB of this process after each tenth of a training on `num` different lengths."""
    import torch

    torch.set_num_threads(1)
    import transformers

    from atlas.training.config import TrainConfig
    from atlas.training.examples import TrainingExample
    from atlas.training.ranks import Ranks
    from atlas.training.schedule import Schedule
    from atlas.training.trainer import CriticalStepTrainer
    from atlas.training.tune_model import tune_model

    config = transformers.LlamaConfig(
        vocab_size=1200,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    rng = np.random.default_rng(0)
    groups = []
    for length in rng.permutation(np.arange(num) + SHORTEST).tolist():
        ids = rng.integers(0, config.vocab_size, length).astype(np.int32)
        labels = np.where(np.arange(length) // 16 % 4 == 3, ids, -100).astype(np.int64)
        groups.append((TrainingExample(str(length), ids, labels),))
    seen: list[float] = []
    own_step = CriticalStepTrainer.training_step
    steps = 0

    def watched_step(*arguments: Any, **options: Any) -> Any:
        nonlocal steps
        loss = own_step(*arguments, **options)
        steps += 1
        if steps % max(1, num // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            seen.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        return loss

    CriticalStepTrainer.training_step = watched_step  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory(prefix="atlas-precision-") as folder:
        transformers.LlamaForCausalLM(config).save_pretrained(f"{folder}/model")
        settings = {"model": f"{folder}/model", "precision": precision, "save_every": 10**6}
        train = TrainConfig.model_validate(settings)
        tune_model(train, Schedule.in_order(groups, 1), (), Path(folder) / "out", Ranks())
    return seen


def measure_memory(num: int) -> dict[str, list[float]]:
    found = {}
    for name, (precision, is_unbound) in CASES.items():
        environment = {key: value for key, value in os.environ.items() if key not in BOUND}
        if is_unbound:
            environment |= dict.fromkeys(BOUND, DEFAULT_CAPACITY)
        command = [sys.executable, "-W", "ignore", __file__, "--lengths", str(num)]
        done = subprocess.run(
            [*command, "--case", precision], capture_output=True, text=True, env=environment
        )
        if done.returncode:
            sys.exit(f"{name}: {done.stderr}")
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
        grown = ", ".join(f"{size - found[name][0]:+.0f}" for size in found[name][1:])
        print(f"{name:20} {found[name][0]:6.0f} MB, then {grown}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a model folder")
    parser.add_argument("--chats", type=Path, help="the file of chats that real_chats.py made")
    parser.add_argument("--tokens", type=int, default=4096, help="of a row")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--lengths", type=int, help="also train on so many different lengths")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        print(json.dumps(train_on_new_lengths(given.case, given.lengths)))
        return
    if (given.model is None) != (given.chats is None) or not (given.model or given.lengths):
        parser.error("give --model and --chats together, or --lengths, or all three")
    record: dict[str, Any] = {}
    if given.model:
        record["ways"] = compare(given.model, given.chats, given.tokens, given.rounds)
        data = record["ways"].pop("data")
        print(
            f"{data['tokens']:,} tokens in {data['rows']} rows, {data['supervised']:,} supervised\n"
            f"{'':20}{'seconds':>9}{'loss':>10}{'to fp32':>10}{'gradient error':>16}{'cosine':>10}"
        )
        for name, figures in record["ways"].items():
            print(
                f"{name:20}{figures['seconds']:9.2f}{figures['loss']:10.4f}"
                f"{figures['loss_difference']:10.3%}{figures['gradient_error']:16.4f}"
                f"{figures['gradient_cosine']:10.6f}"
            )
    if given.lengths:
        record["memory"] = measure_memory(given.lengths)
    if given.out is not None:
        given.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
