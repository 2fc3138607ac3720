"""Peers of `train.py` that train from their own settings: LLaMA-Factory, ms-swift, axolotl.

Each gets the model as a folder and the chats as token ids and labels, in its own form. All use the
Trainer of transformers inside, whose `train` is given the stopwatch.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from train_data import Chat, Preset


def measure_trainer(watch: Any) -> None:
    """Every Trainer that is started from now on calls `watch`."""
    import transformers

    train = transformers.Trainer.train

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        self.add_callback(watch)
        return train(self, *arguments, **options)

    transformers.Trainer.train = watched


def rows_of(chats: list[Chat]) -> list[dict[str, list[int]]]:
    return [
        {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids), "labels": labels.tolist()}
        for ids, labels in chats
    ]


def common_settings(
    folder: Path, preset: Preset, batching: dict[str, int], on_cpu: bool, bf16: bool
) -> dict[str, Any]:
    """Settings that LLaMA-Factory and ms-swift take over from transformers."""
    return {
        "output_dir": str(folder / "out"),
        "num_train_epochs": 1,
        "learning_rate": 1e-4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "bf16": bf16,
        **batching,
    }


def run_llamafactory(
    model: Path, chats: list[Chat], preset: Preset, settings: dict[str, Any], way: Any, folder: Path
) -> None:
    """Its entry point for a training, with its form of a tokenized data set."""
    import datasets
    from llamafactory.train.tuner import run_exp

    rows = datasets.Dataset.from_list(rows_of(chats))
    datasets.DatasetDict({"train": rows}).save_to_disk(str(folder / "chats"))
    own = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(model),
        "template": "empty",
        "dataset": "chats",
        "tokenized_path": str(folder / "chats"),
        "disable_shuffling": True,
        "finetuning_type": "lora" if preset.lora else "full",
        "lora_rank": 16,
        "flash_attn": "fa2" if "flash_attn" in way.needs else "sdpa",
        "enable_liger_kernel": way.liger,
        "disable_gradient_checkpointing": not (way.checkpointing or preset.checkpointing),
    }
    run_exp(settings | own, [])


def run_ms_swift(
    model: Path, chats: list[Chat], preset: Preset, settings: dict[str, Any], way: Any, folder: Path
) -> None:
    """Its command `sft`, with rows as its template would encode them."""
    from swift.pipelines.train.sft import SwiftSft

    rows = [
        {"input_ids": ids.tolist(), "labels": labels.tolist(), "length": len(ids)}
        for ids, labels in chats
    ]

    class Encoded(SwiftSft):
        def _prepare_dataset(self) -> list[Any]:
            return [rows, None]

    own = {
        "model": str(model),
        "model_type": "llama",
        "template": "dummy",
        "tuner_type": "lora" if preset.lora else "full",
        # Not read.
        "dataset": [str(folder / "chats.jsonl")],
        "split_dataset_ratio": 0.0,
        "torch_dtype": "float32",
        "fp16": False,
        "gradient_checkpointing": way.checkpointing or preset.checkpointing,
        "train_dataloader_shuffle": False,
        "dataset_shuffle": False,
        "warmup_ratio": 0.0,
        "dataloader_num_workers": 0,
        "add_version": False,
    }
    given = {**settings, **own, "report_to": ["none"]}
    arguments = []
    for name, value in given.items():
        texts = value if isinstance(value, list) else [value]
        arguments += [
            f"--{name}",
            *(str(text).lower() if text in (True, False) else str(text) for text in texts),
        ]
    Encoded(arguments).main()


def run_axolotl(
    model: Path, chats: list[Chat], preset: Preset, settings: dict[str, Any], way: Any, folder: Path
) -> None:
    """Its command `train`, with a file of tokenized rows."""
    # It would report each run to its makers.
    os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
    import yaml
    from axolotl.cli.train import do_cli

    data = folder / "chats.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_of(chats)), encoding="utf-8")
    own = {
        "base_model": str(model),
        "datasets": [{"path": str(data), "ds_type": "json", "type": None}],
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": settings["output_dir"],
        "sequence_len": 8192,
        "sample_packing": False,
        "shuffle_merged_datasets": False,
        "train_on_inputs": False,
        "val_set_size": 0,
        "micro_batch_size": settings["per_device_train_batch_size"],
        "gradient_accumulation_steps": settings["gradient_accumulation_steps"],
        "num_epochs": 1,
        "optimizer": "adamw_torch",
        "lr_scheduler": "linear",
        "learning_rate": settings["learning_rate"],
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "bf16": settings["bf16"],
        "tf32": False,
        "use_cpu": settings["use_cpu"],
        "gradient_checkpointing": way.checkpointing or preset.checkpointing,
        "sdp_attention": True,
        "curriculum_sampling": True,
        **({"adapter": "lora", "lora_r": 16, "lora_alpha": 32} if preset.lora else {}),
    }
    config = folder / "config.yml"
    config.write_text(yaml.safe_dump(own), encoding="utf-8")
    do_cli(config=str(config))


PEERS = {"llamafactory": run_llamafactory, "swift": run_ms_swift, "axolotl": run_axolotl}
