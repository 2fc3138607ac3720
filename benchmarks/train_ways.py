"""Each way to train of `train.py`: one pass in this process with its costs, and the peak."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from train_data import (
    PRESETS,
    Chat,
    Preset,
    make_chats,
    read_chats,
    read_preset,
    sort_within_steps,
)
from train_peers import PEERS, common_settings, measure_trainer

PARTS = ("chunked_loss", "packing", "shared_prompts", "last_layer", "recompute")
FLASH, FUSED = (
    {"attn_implementation": "flash_attention_2"},
    {"rope": True, "rms_norm": True, "swiglu": True},
)


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """What trains, with which settings; `examples` of a forward pass.

    Attributes:
        logits: at "all" positions or the "supervised" ones.
        needs: modules without which it is skipped.
    """

    kind: str
    examples: int = 4
    checkpointing: bool = False
    sort: bool = False
    padding_free: bool = False
    logits: str = "supervised"
    liger: bool = False
    needs: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    whole: bool = False
    window: int | None = None


OURS = {
    "ours: padded, logits at supervised": Way("ours", whole=True),
    "+ nothing after the last supervised": Way("ours"),
    "+ chunked_loss": Way("ours", parts=PARTS[:1]),
    "+ packing": Way("ours", parts=PARTS[:2]),
    "+ shared_prompts": Way("ours", parts=PARTS[:3]),
    "+ last_layer": Way("ours", parts=PARTS[:4]),
    "+ recompute": Way("ours", parts=PARTS),
    "all, gradient checkpointing": Way("ours", parts=PARTS, checkpointing=True),
    "context_gradient: stop (not exact)": Way("ours", parts=PARTS[:3], window=0),
}
WAYS = {
    "cpu": {
        "HF Trainer, padded, all logits": Way("hf", logits="all"),
        "TRL by default": Way("trl", checkpointing=True),
        "TRL, sorted, no checkpointing": Way("trl", sort=True),
        "TRL, one by one, no checkpointing": Way("trl", examples=1),
        "LLaMA-Factory by default": Way(
            "llamafactory", examples=1, checkpointing=True, logits="all"
        ),
        "LLaMA-Factory, no checkpointing": Way("llamafactory", examples=1, logits="all"),
        "ms-swift by default": Way("swift", examples=1, checkpointing=True),
        "ms-swift, no checkpointing": Way("swift", examples=1),
        "axolotl, no checkpointing": Way("axolotl", examples=1, logits="all"),
        **OURS,
    },
    "cuda": {
        "HF Trainer, padded, all logits": Way("hf", logits="all"),
        "TRL by default": Way("trl", checkpointing=True),
        "TRL, sorted": Way("trl", sort=True),
        "TRL, padding-free, flash": Way(
            "trl", examples=4, padding_free=True, needs=("flash_attn",)
        ),
        "TRL, padding-free, flash, Liger": Way(
            "trl", examples=4, padding_free=True, liger=True, needs=("flash_attn", "liger_kernel")
        ),
        "LLaMA-Factory, sorted, flash, Liger": Way(
            "llamafactory",
            sort=True,
            logits="all",
            liger=True,
            needs=("flash_attn", "liger_kernel"),
        ),
        **OURS,
        "all, Liger's layers": Way("ours", parts=PARTS, liger=True, needs=("liger_kernel",)),
    },
}


def preset_of(given: argparse.Namespace) -> Preset:
    changes = {
        name: getattr(given, name)
        for name in ("examples", "batch", "layers")
        if getattr(given, name) is not None
    }
    if given.model is not None:
        preset = read_preset(given.model, len(read_chats(given.chats)))
    else:
        preset = PRESETS[given.preset]
    return dataclasses.replace(preset, **changes)


def chats_of(preset: Preset, seed: int, file: str | None = None) -> list[Chat]:
    """Those of the warm-up, then those that are measured."""
    if file is not None:
        return read_chats(file)[: preset.examples]
    return make_chats(preset.examples + preset.warm_up * preset.batch, preset.vocabulary, seed)


def run(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """The figures of one way, or what it misses."""
    import torch
    import transformers

    torch.set_num_threads(given.threads)
    way, preset = WAYS[given.device][name], preset_of(given)
    own = {"hf": "transformers", "trl": "trl", "ours": "atlas"}
    kinds = own | {name: name for name in PEERS}
    missing = [
        module
        for module in (kinds[way.kind], *way.needs)
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        return {"missing": ", ".join(missing)}
    chats = chats_of(preset, given.seed, given.chats)
    chats = sort_within_steps(chats, preset.batch) if way.sort else chats
    transformers.set_seed(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        if way.kind in PEERS:
            return run_peer(way, preset, chats, given, Path(folder))
        model = make_model(preset, way, given)
        model = add_adapters(model) if preset.lora else model
        common = {
            "output_dir": folder,
            "num_train_epochs": 1,
            "learning_rate": 1e-4,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": given.device == "cpu",
            "dataloader_pin_memory": given.device == "cuda",
            "bf16": given.bf16,
            "remove_unused_columns": False,
            "train_sampling_strategy": "sequential",
            "use_liger_kernel": way.liger,
        }
        watch = stopwatch(preset.warm_up, given.device)
        trainer = {"hf": hf_trainer, "trl": trl_trainer, "ours": our_trainer}[way.kind](
            model, chats, way, preset, common, given
        )
        trainer.add_callback(watch)
        trainer.train()
    figures: dict[str, Any] = watch.figures()
    return figures | {"versions": versions("torch", "transformers", *way.needs, kinds[way.kind])}


def stopwatch(warm_up: int, device: str) -> Any:
    """A Trainer callback that measures from the end of the warm-up to the last optimizer step."""
    import torch
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):
        wall = cpu = 0.0
        done = (0.0, 0.0, 0.0)
        first: dict[str, float] | None = None

        def now(self) -> tuple[float, float]:
            if device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter(), time.process_time()

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.wall, self.cpu = self.now()

        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            wall, cpu = self.now()
            if state.global_step <= warm_up:
                self.wall, self.cpu = wall, cpu
            self.done = wall - self.wall, cpu - self.cpu, peak_mib(device)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
            if self.first is None and "loss" in logs:
                self.first = dict(logs)

        def figures(self) -> dict[str, Any]:
            first = self.first
            assert first is not None
            wall, cpu, peak = self.done
            return {
                "wall": wall,
                "cpu": cpu,
                "peak_mib": peak,
                "loss": float(first["loss"]),
                "grad_norm": float(first["grad_norm"]),
            }

    return Stopwatch()


def make_model(preset: Preset, way: Way, given: argparse.Namespace) -> Any:
    import torch
    import transformers

    if preset.folder is not None:
        return transformers.AutoModelForCausalLM.from_pretrained(
            preset.folder, dtype=torch.float32, device_map=given.device
        )
    config = transformers.LlamaConfig(
        vocab_size=preset.vocabulary,
        hidden_size=preset.hidden,
        intermediate_size=preset.inner,
        num_hidden_layers=preset.layers,
        num_attention_heads=preset.heads,
        num_key_value_heads=preset.key_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=not preset.lora,
        **(FLASH if "flash_attn" in way.needs else {}),
    )
    with torch.device(given.device):
        kept = (
            torch.bfloat16 if preset.lora and given.bf16 else torch.float32
        )  # updates of full tuning vanish in bf16 weights
        return transformers.LlamaForCausalLM._from_config(config, dtype=kept)


def add_adapters(model: Any) -> Any:
    import peft

    return peft.get_peft_model(
        model,
        peft.LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
    )


def hf_trainer(
    model: Any,
    chats: list[Chat],
    way: Way,
    preset: Preset,
    common: dict[str, Any],
    given: argparse.Namespace,
) -> Any:
    import transformers

    arguments = transformers.TrainingArguments(
        **common, **batching(way, preset), activation_checkpointing=checkpoints(way, preset)
    )
    rows = [{"input_ids": ids, "labels": labels} for ids, labels in chats]
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=pad_rows
    )


def trl_trainer(
    model: Any,
    chats: list[Chat],
    way: Way,
    preset: Preset,
    common: dict[str, Any],
    given: argparse.Namespace,
) -> Any:
    import datasets
    import trl

    arguments = trl.SFTConfig(
        **common,
        **batching(way, preset),
        gradient_checkpointing=checkpoints(way, preset),
        padding_free=way.padding_free,
        max_length=None,
    )
    rows = datasets.Dataset.from_list(
        [{"input_ids": ids.tolist(), "labels": labels.tolist()} for ids, labels in chats]
    )
    return trl.SFTTrainer(
        model=model, args=arguments, train_dataset=rows, processing_class=make_tokenizer(preset)
    )


def our_trainer(
    model: Any,
    chats: list[Chat],
    way: Way,
    preset: Preset,
    common: dict[str, Any],
    given: argparse.Namespace,
) -> Any:
    import torch
    import transformers

    from atlas.training.config import EngineConfig
    from atlas.training.engine.choose_parts import choose_parts
    from atlas.training.examples import TrainingExample
    from atlas.training.schedule import Schedule
    from atlas.training.trainer import CriticalStepTrainer, collate

    examples = []
    for index, (ids, labels) in enumerate(chats):
        end = len(ids) if way.whole else int(np.flatnonzero(labels != -100)[-1]) + 1
        examples.append(
            TrainingExample(str(index), ids[:end].astype(np.int32), labels[:end].astype(np.int64))
        )
    wanted = EngineConfig(**{part: part in way.parts for part in PARTS})
    chosen = choose_parts(model, wanted, way.window, torch.bfloat16 if given.bf16 else None)
    assert chosen.engine.parts == way.parts, chosen.left_out
    assert chosen.flash_problem is None, chosen.flash_problem
    liger = (
        {
            "liger_kernel_config": {
                **FUSED,
                "cross_entropy": False,
                "fused_linear_cross_entropy": False,
            }
        }
        if way.liger
        else {}
    )
    arguments = transformers.TrainingArguments(
        **common,
        **liger,
        per_device_train_batch_size=1,
        activation_checkpointing=checkpoints(way, preset),
    )
    return CriticalStepTrainer(
        model=model,
        args=arguments,
        train_dataset=Schedule.in_order([(one,) for one in examples], preset.batch).deal_out(1),
        data_collator=collate,
        engine=chosen.engine,
        max_tokens=given.micro_batch_tokens,
        max_examples=None if "packing" in way.parts else way.examples,
    )


def run_peer(
    way: Way, preset: Preset, chats: list[Chat], given: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """The peer's own entry point, with a model folder in float32."""
    make_model(preset, way, given).save_pretrained(folder / "model")
    make_tokenizer(preset).save_pretrained(folder / "model")
    watch = stopwatch(preset.warm_up, given.device)
    measure_trainer(watch)
    sizes, on_cpu = batching(way, preset), given.device == "cpu"
    settings = common_settings(folder, preset, sizes, on_cpu, given.bf16)
    PEERS[way.kind](folder / "model", chats, preset, settings, way, folder)
    figures: dict[str, Any] = watch.figures()
    return figures | {"versions": versions("torch", "transformers", way.kind, *way.needs)}


def batching(way: Way, preset: Preset) -> dict[str, int]:
    size = min(way.examples, preset.batch)
    return {
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": preset.batch // size,
    }


def checkpoints(way: Way, preset: Preset) -> bool:
    return way.checkpointing or preset.checkpointing


def make_tokenizer(preset: Preset) -> Any:
    """One that peers load and need not use."""
    import transformers

    if preset.folder is not None:
        return transformers.AutoTokenizer.from_pretrained(preset.folder)
    from tokenizers import Tokenizer, models

    raw = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<pad>"
    )


def pad_rows(rows: Any) -> dict[str, Any]:
    """What DataCollatorForSeq2Seq and its kin make of a batch."""
    import torch

    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad([torch.from_numpy(row["input_ids"]) for row in rows], batch_first=True)
    mask = pad(
        [torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows], batch_first=True
    )
    labels = pad(
        [torch.from_numpy(row["labels"]) for row in rows], batch_first=True, padding_value=-100
    )
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def peak_mib(device: str) -> float:
    """Most memory held so far: of a GPU what tensors took, of a CPU the whole process."""
    import torch

    return (
        torch.cuda.max_memory_allocated() / 2**20
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )


def measure_matmul_peak(given: argparse.Namespace) -> dict[str, Any]:
    """Operations per second of large matrix products, the best of several; the device's name."""
    import torch

    torch.set_num_threads(given.threads)
    size, rounds = (8192, 30) if given.device == "cuda" else (1024, 6)
    one, other = (
        torch.randn(
            size, size, device=given.device, dtype=torch.bfloat16 if given.bf16 else torch.float32
        )
        for _ in range(2)
    )
    best = float("inf")
    for _ in range(rounds):
        if given.device == "cuda":
            torch.cuda.synchronize()
        started = (
            time.perf_counter() if given.device == "cuda" else time.process_time() / given.threads
        )
        torch.matmul(one, other)
        if given.device == "cuda":
            torch.cuda.synchronize()
        best = min(
            best,
            (time.perf_counter() if given.device == "cuda" else time.process_time() / given.threads)
            - started,
        )
    name = (
        torch.cuda.get_device_name()
        if given.device == "cuda"
        else torch.backends.cpu.get_cpu_capability()
    )
    return {
        "operations_per_second": 2.0 * size**3 / best,
        "device": name,
        "versions": versions("torch", "transformers", "accelerate"),
    }


def versions(*modules: str) -> dict[str, str]:
    import importlib.metadata

    names = {
        "atlas": "atlas-tuning",
        "flash_attn": "flash-attn",
        "liger_kernel": "liger-kernel",
        "swift": "ms-swift",
    }
    return {
        module: importlib.metadata.version(names.get(module, module))
        for module in dict.fromkeys(modules)
    }
