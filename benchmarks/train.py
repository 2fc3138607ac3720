"""What training on chosen steps costs: the exact engine, its parts one by one, beside Hugging Face's Trainer and TRL.

    python benchmarks/train.py [--examples 8] [--layers 6] [--hidden 256] [--repeats 2] [--peer-python PATH] [--out train.json]

Makes ReAct chats from a seed, as token ids: a prompt of 438 tokens that all share, then steps of an observation and a response, up
to 3,000 tokens; 30 % of the steps are supervised. Each way trains one pass over the same chats with the same random Llama in a
process of its own, in turn, and the turns are repeated. Wall and processor seconds are of the training alone, model and data made;
the fastest turn counts, by processor time, which another process on the same machine disturbs least. Memory is the process's peak
above what it held before training. Loss and gradient norm of the first optimiser step show that all ways do the same.

TRL is measured where the interpreter has it (--peer-python names another one), as it comes and at its best settings known here.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROMPT_TOKENS, MAX_TOKENS, SELECTED = 438, 3000, 0.3
PARTS = ("chunked_loss", "packing", "shared_prompts", "last_layer")
# name -> (what trains, its settings)
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "HF Trainer, padded, all logits": ("hf", {"per_device_train_batch_size": 4}),
    "TRL as it comes": ("trl", {"per_device_train_batch_size": 4}),
    "TRL, sorted, no checkpointing": ("trl", {"per_device_train_batch_size": 4, "gradient_checkpointing": False, "sort": True}),
    "TRL, one by one, no checkpointing": ("trl", {"per_device_train_batch_size": 1, "gradient_checkpointing": False}),
    "ours: padded, logits at supervised": ("ours", {"parts": (), "whole": True}),
    "+ nothing after the last supervised": ("ours", {"parts": ()}),
    "+ chunked_loss": ("ours", {"parts": PARTS[:1]}),
    "+ packing": ("ours", {"parts": PARTS[:2]}),
    "+ shared_prompts": ("ours", {"parts": PARTS[:3]}),
    "+ last_layer": ("ours", {"parts": PARTS}),
    "context_gradient: stop (not exact)": ("ours", {"parts": PARTS[:3], "window": 0}),
    "all, gradient checkpointing": ("ours", {"parts": PARTS, "gradient_checkpointing": True}),
}


def make_chats(num: int, vocabulary: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and labels (-100 where nothing is supervised) of each chat, whole."""
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, vocabulary, PROMPT_TOKENS)
    chats = []
    for _ in range(num):
        ids, owner = [prompt], [np.full(PROMPT_TOKENS, -1)]
        num_steps = int(rng.integers(4, 40))
        for step in range(num_steps):
            observation, response = int(rng.lognormal(3.5, 0.5)), int(rng.lognormal(3.3, 0.4))
            if sum(map(len, ids)) + observation + response > MAX_TOKENS:
                num_steps = step
                break
            ids.append(rng.integers(0, vocabulary, observation + response))
            owner.append(np.repeat([-1, step], [observation, response]))
        chosen = rng.choice(num_steps, max(1, int(SELECTED * num_steps)), replace=False)
        tokens = np.concatenate(ids)
        chats.append((tokens, np.where(np.isin(np.concatenate(owner), chosen), tokens, -100)))
    return chats


def train(way: str, given: argparse.Namespace) -> dict[str, Any]:
    """One pass in this process; figures, or what is missing."""
    import torch
    import transformers

    torch.set_num_threads(given.threads)
    transformers.set_seed(given.seed)
    kind, settings = WAYS[way]
    chats = make_chats(given.examples, given.vocabulary, given.seed)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=given.vocabulary,
            hidden_size=given.hidden,
            intermediate_size=round(given.hidden * 2.75),
            num_hidden_layers=given.layers,
            num_attention_heads=given.hidden // 64,
            num_key_value_heads=max(1, given.hidden // 128),
            tie_word_embeddings=True,
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "output_dir": folder,
            "num_train_epochs": 1,
            "learning_rate": 1e-4,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            "dataloader_pin_memory": False,
            "bf16": given.bf16,
            "remove_unused_columns": False,
            "train_sampling_strategy": "sequential",
        }
        trainer = {"hf": hf_trainer, "trl": trl_trainer, "ours": our_trainer}[kind](model, chats, dict(settings), common, given)
        if trainer is None:
            return {"missing": kind}
        before = peak_mib()
        wall, cpu = time.perf_counter(), time.process_time()
        trainer.train()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    first = next(row for row in trainer.state.log_history if "loss" in row)
    gpu = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    return {"wall": wall, "cpu": cpu, "peak_mib": gpu or peak_mib() - before, "loss": first["loss"], "grad_norm": float(first["grad_norm"])}


def hf_trainer(model: Any, chats: Any, settings: dict[str, Any], common: dict[str, Any], given: argparse.Namespace) -> Any:
    import transformers

    size = settings["per_device_train_batch_size"]
    arguments = transformers.TrainingArguments(**common, **settings, gradient_accumulation_steps=max(1, given.batch // size))
    rows = [{"input_ids": ids, "labels": labels} for ids, labels in chats]
    return transformers.Trainer(model=model, args=arguments, train_dataset=rows, data_collator=pad_rows)


def trl_trainer(model: Any, chats: Any, settings: dict[str, Any], common: dict[str, Any], given: argparse.Namespace) -> Any:
    try:
        import datasets
        import trl
    except ImportError:
        return None
    import transformers
    from tokenizers import Tokenizer, models

    if settings.pop("sort", False):  # within each optimiser step, so that its examples stay the same
        batches = [chats[start : start + given.batch] for start in range(0, len(chats), given.batch)]
        chats = [chat for batch in batches for chat in sorted(batch, key=lambda chat: len(chat[0]))]
    size = settings["per_device_train_batch_size"]
    arguments = trl.SFTConfig(**common, **settings, gradient_accumulation_steps=max(1, given.batch // size), max_length=None)
    rows = datasets.Dataset.from_list([{"input_ids": ids.tolist(), "labels": labels.tolist()} for ids, labels in chats])
    raw = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<pad>")
    return trl.SFTTrainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)


def our_trainer(model: Any, chats: Any, settings: dict[str, Any], common: dict[str, Any], given: argparse.Namespace) -> Any:
    import transformers

    from atlas.training.choose_parts import choose_parts
    from atlas.training.config import EngineConfig
    from atlas.training.examples import TrainingExample
    from atlas.training.optimizer_steps import OptimizerSteps
    from atlas.training.trainer import CriticalStepTrainer, collate

    examples = []
    for index, (ids, labels) in enumerate(chats):
        end = len(ids) if settings.get("whole") else int(np.flatnonzero(labels != -100)[-1]) + 1
        examples.append(TrainingExample(str(index), ids[:end].astype(np.int32), labels[:end].astype(np.int64)))
    chosen = choose_parts(model, EngineConfig(**{part: part in settings["parts"] for part in PARTS}), settings.get("window"))
    assert chosen.engine.parts == tuple(settings["parts"]), chosen.left_out
    arguments = transformers.TrainingArguments(
        **common, per_device_train_batch_size=1, activation_checkpointing=settings.get("gradient_checkpointing", False)
    )
    return CriticalStepTrainer(
        model=model,
        args=arguments,
        train_dataset=OptimizerSteps(examples, range(len(examples)), given.batch),
        data_collator=collate,
        engine=chosen.engine,
        max_tokens=given.micro_batch_tokens,
        max_examples=None if "packing" in settings["parts"] else 4,
    )


def pad_rows(rows: Any) -> dict[str, Any]:
    """What DataCollatorForSeq2Seq and its kin make of a batch."""
    import torch

    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([torch.from_numpy(row["input_ids"]) for row in rows], batch_first=True)
    mask = pad([torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows], batch_first=True)
    labels = pad([torch.from_numpy(row["labels"]) for row in rows], batch_first=True, padding_value=-100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_way(way: str, interpreter: str, arguments: list[str]) -> dict[str, Any] | None:
    """The figures of one turn, in a process of its own; None where its trainer is not installed."""
    command = [interpreter, "-P", "-W", "ignore", __file__, "--way", way, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-4000:]}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return None if "missing" in figures else figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=8, help="chats of the pass")
    parser.add_argument("--batch", type=int, default=8, help="chats of an optimiser step")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--micro-batch-tokens", type=int, default=8192, help="for the packed ways; padded ones take 4 chats")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has TRL")
    parser.add_argument("--only", nargs="*", default=[], help="parts of the names of the ways to run")
    parser.add_argument("--out", type=Path, default=Path("train.json"))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(train(given.way, given)))
        return
    settings = {name: value for name, value in vars(given).items() if name not in ("way", "out", "peer_python", "only", "repeats", "bf16")}
    arguments = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    arguments += ["--bf16"] if given.bf16 else []
    chats = make_chats(given.examples, given.vocabulary, given.seed)
    num_tokens, supervised = sum(len(ids) for ids, _ in chats), sum(int((labels != -100).sum()) for _, labels in chats)
    share = f"{supervised:,} supervised ({supervised / num_tokens:.1%})"
    print(f"{len(chats)} chats, {num_tokens:,} tokens, {share}, Python {platform.python_version()}")
    turns: dict[str, list[dict[str, Any]]] = {}
    for repeat in range(given.repeats):
        for way, (kind, _) in WAYS.items():
            if given.only and not any(part in way for part in given.only):
                continue
            interpreter = given.peer_python if kind == "trl" else sys.executable
            figures = run_way(way, interpreter, arguments)
            if figures is not None:
                turns.setdefault(way, []).append(figures)
                print(f"turn {repeat + 1}, {way}: {figures['cpu']:.1f} s", file=sys.stderr, flush=True)
            elif not repeat:
                print(f"{way}: not installed, passed over")
    results = {way: min(figures, key=lambda figure: figure["cpu"]) for way, figures in turns.items()}
    first = next(iter(results.values()))
    print(f"{'':36}{'wall s':>8}{'cpu s':>8}{'ratio':>7}{'tokens/s':>10}{'superv./s':>10}{'MiB':>8}{'loss':>10}{'grad norm':>11}")
    for way, figure in results.items():
        figure |= {"ratio": first["cpu"] / figure["cpu"], "tokens_per_cpu_second": num_tokens / figure["cpu"]}
        print(
            f"{way:36}{figure['wall']:8.1f}{figure['cpu']:8.1f}{figure['ratio']:7.2f}{num_tokens / figure['cpu']:10,.0f}"
            f"{supervised / figure['cpu']:10,.1f}{figure['peak_mib']:8,.0f}{figure['loss']:10.5f}{figure['grad_norm']:11.5f}"
        )
    record = {"settings": settings | {"bf16": given.bf16, "repeats": given.repeats}, "tokens": num_tokens, "supervised": supervised}
    given.out.write_text(json.dumps(record | {"results": results, "turns": turns}, indent=2) + "\n")


if __name__ == "__main__":
    main()
