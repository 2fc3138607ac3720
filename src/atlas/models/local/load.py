"""Hugging Face causal LMs on this machine: a hub id, a folder, or the run folder of `atlas train`.

Only this workshop and `training` load torch. A tokenizer is loaded before its model, so that faults that make a run
worthless (no chat template) show before the expensive part starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from atlas.errors import DependencyError, ModelError
from atlas.models.local.hub import is_only_cached
from atlas.rendering.renderer import Renderer
from atlas.store.record_files import file_digest
from atlas.store.run_folders import MANIFEST_FILE, Input, read_manifest, relative_path, run_input

Precision = Literal["auto", "fp32", "bf16"]

CHECKPOINT_FOLDER = "checkpoint"
MODEL_SUFFIXES = (
    ".json",
    ".safetensors",
    ".bin",
    ".jinja",
    ".model",
    ".txt",
)  # weights, settings, tokenizer


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where a model's files are: `name` as the user gave it, `location` as Hugging Face loads it."""

    name: str
    location: str

    @property
    def is_folder(self) -> bool:
        return Path(self.location).is_dir()

    @property
    def holds_adapters(self) -> bool:
        """Whether there are low-rank adapters alone, that name their base model."""
        return (Path(self.location) / "adapter_config.json").exists()


def locate_model(name: str) -> ModelPlace:
    """The place of a model given as a hub id, a folder or a training run.

    Raises:
        ModelError: a path without a model in it.
        RunError: a training run that is not finished.
    """
    path = Path(name)
    if (path / MANIFEST_FILE).exists():
        read_manifest(path, ("train",))
        return ModelPlace(name, str((path / CHECKPOINT_FOLDER).resolve()))
    if path.is_dir():
        if not any((path / file).exists() for file in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"{path} holds no model: neither config.json nor adapter_config.json is there. Give a model folder or a hub id."
            )
        return ModelPlace(
            name, str(path.resolve())
        )  # adapters name their base by this, wherever they are loaded from
    if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ModelError(
            f"model folder {path} does not exist. Check the path, or give a hub id such as Qwen/Qwen2.5-0.5B-Instruct."
        )
    return ModelPlace(name, name)


def model_input(name: str, out: Path) -> Input:
    """A model as an input of the run at `out`: a training run, a folder (with the digest of its files) or a hub id."""
    path = Path(name)
    if (path / MANIFEST_FILE).exists():
        return run_input(path, out, ("train",))
    place = locate_model(name)
    if not place.is_folder:
        return Input(path=name)
    files = sorted(file for file in path.iterdir() if file.suffix in MODEL_SUFFIXES)
    digests = "".join(f"{file_digest(file)} {file.name}\n" for file in files)
    return Input(path=relative_path(path, out), digest=hashlib.sha256(digests.encode()).hexdigest())


def load_renderer(place: ModelPlace) -> Renderer:
    """The tokenizer of a model, ready to render conversations.

    Raises:
        ModelError: no tokenizer there, one without a chat template, or a hub that cannot be reached.
    """
    transformers = import_transformers()
    is_cached = is_only_cached(place.location)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place.location, local_files_only=is_cached
        )
    except Exception as error:  # a broken tokenizer.json raises a bare Exception
        raise ModelError(
            f"the tokenizer of {place.name} cannot be loaded: {_first_line(error)}"
        ) from error
    return Renderer(tokenizer, place.name)


def load_renderer_named(name: str | None) -> Renderer | None:
    """The renderer of a hub id, a training run or a folder (one with a tokenizer alone will do), if one is named."""
    if name is None:
        return None
    folder = Path(name)
    return load_renderer(
        ModelPlace(name, str(folder.resolve()))
        if (folder / "tokenizer.json").exists()
        else locate_model(name)
    )


def load_model(
    place: ModelPlace, dtype: str, device: str | None = None, quantization: Any = None
) -> Any:
    """The model itself, in evaluation mode, on `device` (the first GPU if there is one).

    Args:
        dtype: a torch dtype by name, "float32" or "bfloat16".
        quantization: transformers' quantization config for the weights of linear layers; None: they are as `dtype` says.

    Raises:
        ModelError: no model there, one that is no causal LM, or weights that are not all there.
    """
    transformers = import_transformers()
    import torch

    device = device or default_device()
    options: dict[str, Any] = (
        {}
        if quantization is None
        else {"quantization_config": quantization, "device_map": {"": device}}
    )
    options |= {"dtype": getattr(torch, dtype), "local_files_only": is_only_cached(place.location)}
    missing: Collection[str] = ()
    try:
        if place.holds_adapters:
            model = _import_peft().AutoPeftModelForCausalLM.from_pretrained(
                place.location, **options
            )
        else:
            model, told = transformers.AutoModelForCausalLM.from_pretrained(
                place.location, output_loading_info=True, **options
            )
            missing = told["missing_keys"]
    except Exception as error:  # torn weights raise safetensors' own error, an architecture that does not fit a RuntimeError
        raise ModelError(f"model {place.name} cannot be loaded: {_first_line(error)}") from error
    if missing:  # transformers would make them up
        raise ModelError(
            f"the weights of model {place.name} lack {len(missing)} of those that its config.json asks for, among them {min(missing)}. "
            "Get its files again, or mend its config.json."
        )
    return (model if quantization else model.to(device)).eval()


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: Precision) -> Literal["fp32", "bf16"]:
    """`auto` is bf16 on a GPU that has it and fp32 elsewhere (many CPUs emulate bf16 slowly)."""
    import torch

    if precision != "auto":
        return precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def import_transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise DependencyError("transformers", "train") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _import_peft() -> Any:
    try:
        import peft
    except ImportError:
        raise DependencyError("peft", "lora") from None
    return peft


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
