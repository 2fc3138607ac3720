"""Objectives of ATLaS beside the same objectives of other trainers, on the same model and batch.

    python benchmarks/objectives.py
        [--peers trl=PYTHON llamafactory=PYTHON axolotl=PYTHON swift=PYTHON profit=PYTHON]
        [--profit FOLDER] [--out objectives.json]

Makes a random Llama and four chats from a seed, and computes loss and gradients of one optimizer
step (fp32, all parts of the engine). Then each peer computes them with its own code: TRL with
SFTTrainer, LLaMA-Factory, axolotl and ms-swift with the loss functions that their trainers call on
the model's output. `profit` is the authors' version of LLaMA-Factory: --profit is a checkout of
Utaotao/ProFit, and its interpreter has LLaMA-Factory. A peer that the interpreter lacks is named
and left out.

"loss" is the peer's loss over ours. "gradient" is the norm of the difference of all gradients over
the norm of ours, after division by the factor in "times" where two definitions differ by one.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from train_data import PRESETS, make_chats
from train_ways import PARTS, make_tokenizer, pad_rows

VOCABULARY, CHATS = 512, 4


@dataclass(frozen=True, slots=True)
class Comparison:
    """An objective of ours and what computes the same.

    Attributes:
        times: the factor between the two by definition.
    """

    peer: str
    objective: str
    settings: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0
    why: str = ""


COMPARISONS = (
    Comparison("trl", "none"),
    Comparison("trl", "dft"),
    Comparison("llamafactory", "dft"),
    Comparison("axolotl", "dft"),
    Comparison("swift", "dft"),
    Comparison("llamafactory", "eaft", times=math.log(20) / 3, why="divides by 3, not by ln 20"),
    Comparison("axolotl", "eaft", times=math.log(20), why="does not divide by ln 20"),
    Comparison("profit", "mask_low_probability", {"min_probability": 0.1, "under": "model"}),
)
MODULES = {"swift": "swift", "profit": "llamafactory"}


def main() -> None:
    given = parse()
    if given.way:
        peer, objective = given.way.split("/")
        print(json.dumps(compute(peer, objective, given.folder, given.profit)))
        return
    interpreters = dict(peer.split("=", 1) for peer in given.peers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder, given.seed)
        rows = []
        for each in COMPARISONS:
            ours = run(sys.executable, "atlas", each, folder, given)
            if "failed" in ours:
                sys.exit(f"{each.objective}: {ours['failed']}")
            if each.peer not in interpreters:
                continue
            theirs = run(interpreters[each.peer], each.peer, each, folder, given)
            rows.append(describe(each, ours, theirs, folder))
            print(line_of(rows[-1]), flush=True)
    given.out.write_text(json.dumps(rows, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", nargs="*", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--profit", type=Path, help="a checkout of Utaotao/ProFit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("objectives.json"))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def make_inputs(folder: Path, seed: int) -> None:
    """A model whose predictions are neither flat nor sure, with a tokenizer, and the chats."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        initializer_range=0.3,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "model")
    make_tokenizer(PRESETS["tiny"]).save_pretrained(folder / "model")
    chats = make_chats(CHATS, VOCABULARY, seed)
    rows = [{"input_ids": ids.tolist(), "labels": labels.tolist()} for ids, labels in chats]
    settings = {each.objective: each.settings for each in COMPARISONS}
    (folder / "inputs.json").write_text(json.dumps({"rows": rows, "settings": settings}))


def run(
    interpreter: str, peer: str, each: Comparison, folder: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """The figures of a new process; `missing` or `failed` if there are none."""
    command = [interpreter, "-W", "ignore", __file__, "--way", f"{peer}/{each.objective}"]
    command += ["--folder", str(folder), *(["--profit", str(given.profit)] if given.profit else [])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or [str(done.returncode)])[-1][:300]}
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def compute(peer: str, objective: str, folder: Path, profit: Path | None) -> dict[str, Any]:
    """The loss of this process's trainer. Its gradients are written beside the inputs."""
    if importlib.util.find_spec(MODULES.get(peer, peer)) is None:
        return {"missing": peer}
    import torch
    import transformers

    inputs = json.loads((folder / "inputs.json").read_text())
    rows = [{name: np.array(values) for name, values in row.items()} for row in inputs["rows"]]
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder / "model"), dtype=torch.float32
    ).train()
    number = sum(int((row["labels"][1:] != -100).sum()) for row in rows)
    settings = inputs["settings"][objective]
    if peer == "atlas":
        loss = ours(model, rows, objective, settings) / number
    elif peer == "trl":
        loss = of_trl(model, rows, objective, number, folder)
    else:
        loss = of_function(peer, objective, settings, model, rows, number, profit)
    loss.backward()
    gradients = {
        name: one.grad.numpy() for name, one in model.named_parameters() if one.grad is not None
    }
    np.savez(folder / f"{peer}-{objective}.npz", **gradients)
    module = "ms-swift" if peer == "swift" else MODULES.get(peer, peer)
    return {"loss": float(loss.detach()), "version": version_of(module)}


def ours(model: Any, rows: list[dict[str, Any]], objective: str, settings: Any) -> Any:
    """Σ factor · (−log π) with all parts of the engine."""
    from atlas.kinds import Choice
    from atlas.training.config import EngineConfig
    from atlas.training.engine.choose_parts import choose_parts
    from atlas.training.examples import TrainingExample
    from atlas.training.objectives.base import make_objective
    from atlas.training.token_loss import TokenLoss

    examples = [
        TrainingExample(str(index), row["input_ids"].astype(np.int32), row["labels"])
        for index, row in enumerate(rows)
    ]
    engine = choose_parts(model, EngineConfig()).engine
    assert engine.parts == PARTS
    engine.token_loss = TokenLoss(make_objective(Choice(objective, settings)))
    return engine.loss(model, examples)


def of_trl(model: Any, rows: list[Any], objective: str, number: int, folder: Path) -> Any:
    import datasets
    import torch
    import transformers
    import trl

    arguments = trl.SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=len(rows),
        loss_type="nll" if objective == "none" else objective,
        max_length=None,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to="none",
        bf16=False,
    )
    lists = [{name: values.tolist() for name, values in row.items()} for row in rows]
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_list(lists),
        processing_class=transformers.AutoTokenizer.from_pretrained(str(folder / "model")),
    )
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(number))


def of_function(
    peer: str,
    objective: str,
    settings: Any,
    model: Any,
    rows: list[Any],
    number: int,
    profit: Path | None,
) -> Any:
    """A peer's loss function on the output of the model for one padded batch."""
    import torch

    batch = {name: torch.as_tensor(values) for name, values in pad_rows(rows).items()}
    labels, count = batch.pop("labels"), torch.tensor(number)
    outputs = model(**batch)
    if peer == "swift":
        from swift.trainers.utils import per_token_loss_func

        return per_token_loss_func(outputs, labels, enable_dft_loss=True).sum() / number
    function: Callable[..., Any] = getattr(
        _module_of(peer, objective, profit), _NAMES[peer, objective]
    )
    if peer == "profit":
        limits = [settings["min_probability"]]
        return function(outputs, labels, count, "higher", limits)
    return function(outputs, labels, count)


_NAMES = {
    ("llamafactory", "dft"): "dft_loss_func",
    ("llamafactory", "eaft"): "eaft_loss_func",
    ("axolotl", "dft"): "dft_loss",
    ("axolotl", "eaft"): "eaft_loss",
    ("profit", "mask_low_probability"): "profit_loss_func",
}


def _module_of(peer: str, objective: str, profit: Path | None) -> Any:
    if peer == "axolotl":
        return importlib.import_module(f"axolotl.monkeypatch.loss.{objective}")
    if peer == "llamafactory":
        return importlib.import_module("llamafactory.train.trainer_utils")
    if profit is None:
        raise SystemExit("profit needs --profit, a checkout of Utaotao/ProFit")
    # Their file in the place of LLaMA-Factory's, whose other modules it imports.
    source = profit / "src" / "llamafactory" / "train" / "trainer_utils.py"
    spec = importlib.util.spec_from_file_location("llamafactory.train.profit_utils", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def version_of(module: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(module)
    except PackageNotFoundError:
        return "not installed as a package"


def describe(
    each: Comparison, ours: dict[str, Any], theirs: dict[str, Any], folder: Path
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "objective": each.objective,
        "settings": each.settings,
        "peer": each.peer,
        "times": each.times,
        "why": each.why,
        "ours": ours,
        "theirs": theirs,
    }
    if "loss" not in theirs:
        return row
    names = (f"{peer}-{each.objective}.npz" for peer in ("atlas", each.peer))
    here, there = (np.load(folder / name) for name in names)
    assert sorted(here.files) == sorted(there.files), "the same parameters"
    pairs = [(here[name].ravel(), there[name].ravel() / each.times) for name in here.files]
    of_ours, of_peer = (
        np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True)
    )
    row["loss_ratio"] = theirs["loss"] / ours["loss"]
    row["loss_error"] = abs(theirs["loss"] / each.times / ours["loss"] - 1)
    row["gradient_error"] = float(np.linalg.norm(of_ours - of_peer) / np.linalg.norm(of_ours))
    return row


def line_of(row: dict[str, Any]) -> str:
    name = f"{row['objective']:22}{row['peer']:14}"
    theirs = row["theirs"]
    if problem := theirs.get("missing") or theirs.get("failed"):
        return f"{name}left out: {problem}"
    return (
        f"{name}{theirs['version']:10} loss {row['ours']['loss']:.6f}, "
        f"ratio {row['loss_ratio']:.6f} (by definition {row['times']:.6f}), "
        f"error {row['loss_error']:.1e}, gradient {row['gradient_error']:.1e}  {row['why']}"
    )


if __name__ == "__main__":
    main()
