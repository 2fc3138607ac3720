"""Hugging Face causal LMs on this machine: a hub id, a folder, or the run folder of `atlas train`.

A tokenizer is loaded before its model, so that a missing chat template is reported before the slow
part.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from atlas.errors import DependencyError, ModelError, first_line
from atlas.models.local.adapters import ADAPTER_FILE, read_adapter
from atlas.models.local.hub import is_only_cached
from atlas.models.local.precision import bound_product_caches, default_device
from atlas.rendering.chat_templates.stock import STOCK, set_chat_template, template_digest
from atlas.rendering.renderer import Renderer
from atlas.rendering.tool_schemas import read_tools
from atlas.shipped import shipped
from atlas.store.record_files import file_digest
from atlas.store.run_folders import MANIFEST_FILE, Input, read_manifest, relative_path, run_input

CHECKPOINT_FOLDER = "checkpoint"
# The files of the processor that prepares images for a vision model.
PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
# Endings of the files that hold weights, settings and tokenizers.
MODEL_SUFFIXES = (".json", ".safetensors", ".bin", ".jinja", ".model", ".txt")


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """Where a model's files are: `name` from the user, `location` for Hugging Face."""

    name: str
    location: str

    @property
    def is_folder(self) -> bool:
        return Path(self.location).is_dir()

    @property
    def holds_adapters(self) -> bool:
        """Whether there are only low-rank adapters, which name their base model."""
        return (Path(self.location) / ADAPTER_FILE).exists()


def locate_model(name: str) -> ModelPlace:
    """Find the files of a model that is given as a hub id, a folder or a training run.

    Raises:
        ModelError: the path does not hold a model.
        RunError: the training run is not finished.
    """
    path = shipped(Path(name))
    if (path / MANIFEST_FILE).exists():
        read_manifest(path, ("train",))
        return ModelPlace(name, str((path / CHECKPOINT_FOLDER).resolve()))
    if path.is_dir():
        if not any((path / file).exists() for file in ("config.json", "adapter_config.json")):
            raise ModelError(
                f"{path} holds no model: neither config.json nor adapter_config.json is there. "
                "Give a model folder or a hub id."
            )
        # Adapters must name their base model by an absolute path, to be loadable from any folder.
        return ModelPlace(name, str(path.resolve()))
    if path.is_absolute() or name.startswith(".") or name.count("/") > 1:
        raise ModelError(
            f"model folder {path} does not exist. Check the path, or give a hub id such as "
            "Qwen/Qwen2.5-0.5B-Instruct."
        )
    return ModelPlace(name, name)


def model_input(name: str, out: Path) -> Input:
    """A model as an input of the run at `out`; a folder has the digest of its files."""
    path = shipped(Path(name))
    if (path / MANIFEST_FILE).exists():
        return run_input(path, out, ("train",))
    if not locate_model(name).is_folder:
        return Input(path=name)
    files = sorted(file for file in path.iterdir() if file.suffix in MODEL_SUFFIXES)
    digests = "".join(f"{file_digest(file)} {file.name}\n" for file in files)
    return Input(path=relative_path(path, out), digest=hashlib.sha256(digests.encode()).hexdigest())


def load_tokenizer(place: ModelPlace) -> Any:
    """The tokenizer of a model.

    Raises:
        ModelError: it is missing or unusable, or the hub cannot be reached.
    """
    transformers = import_transformers()
    is_cached = is_only_cached(place.location)
    # A broken tokenizer.json raises a bare Exception.
    try:
        return transformers.AutoTokenizer.from_pretrained(
            place.location, local_files_only=is_cached, trust_remote_code=False
        )
    except Exception as error:
        reason = loading_fault(error)
        raise ModelError(f"the tokenizer of {place.name} cannot be loaded: {reason}") from error


def load_renderer(
    place: ModelPlace, chat_template: str | None = None, day: date | None = None
) -> Renderer:
    """The renderer with the tokenizer of a model.

    Args:
        chat_template: a file or a built-in template, in place of the model's own.
        day: the date that a chat template writes as today's; None: today.

    Raises:
        ModelError: the tokenizer is unusable or has no chat template.
        ConfigError: the given template cannot be used.
    """
    tokenizer = load_tokenizer(place)
    if chat_template is not None:
        set_chat_template(tokenizer, chat_template, place.name)
    return Renderer(tokenizer, place.name, day)


def load_renderer_named(name: str | None, chat_template: str | None = None) -> Renderer | None:
    """The renderer of a hub id, a training run or a folder, which may hold only a tokenizer."""
    if name is None:
        return None
    folder = shipped(Path(name))
    if (folder / "tokenizer.json").exists():
        return load_renderer(ModelPlace(name, str(folder.resolve())), chat_template)
    return load_renderer(locate_model(name), chat_template)


def rendering_inputs(
    out: Path, chat_template: str | None = None, tools: str | None = None
) -> dict[str, Input]:
    """The settings `chat_template` and `tools`, as far as given, as inputs of the run at `out`."""
    inputs = {}
    if chat_template is not None:
        path = (
            chat_template
            if chat_template in STOCK
            else relative_path(shipped(Path(chat_template)), out)
        )
        inputs["chat_template"] = Input(path=path, digest=template_digest(chat_template))
    if tools is not None:
        read_tools(tools)
        inputs["tools"] = Input(
            path=relative_path(Path(tools), out), digest=file_digest(Path(tools))
        )
    return inputs


def read_config(location: str) -> Any:
    """The config.json at a location, as transformers reads it.

    Raises:
        ModelError: it is missing or unusable, or asks for code that transformers does not have.
    """
    transformers = import_transformers()
    is_cached = is_only_cached(location)
    try:
        config = transformers.AutoConfig.from_pretrained(
            location, local_files_only=is_cached, trust_remote_code=False
        )
    except Exception as error:
        # Possible causes: invalid JSON, an unknown architecture, or a hub that cannot be reached.
        reason = loading_fault(error).rstrip(".")
        raise ModelError(
            f"the config.json of model {location} cannot be read: {reason}. Check the name, the "
            "files and the connection."
        ) from error
    # A name with a slash is a repository of kernels, whose code would be fetched and run.
    for part in (config, *parts_of(config)):
        chosen = getattr(part, "_attn_implementation", None)
        if "/" in str(chosen):
            raise ModelError(
                f"the config.json of model {location} asks for code of {chosen} "
                "(attn_implementation), and atlas runs no code that a model names. Remove it."
            )
    return config


def parts_of(config: Any) -> list[Any]:
    """The configs of the parts of a model, such as text and vision; none for a text model."""
    from transformers import PreTrainedConfig

    return [part for part in vars(config).values() if isinstance(part, PreTrainedConfig)]


def processor_files(place: ModelPlace) -> list[Path]:
    """The files of a model that prepare images, which its text model does not need."""
    import_transformers()
    from transformers.utils import cached_file

    found = [
        cached_file(place.location, name, _raise_exceptions_for_missing_entries=False)
        for name in PROCESSOR_FILES
    ]
    return [Path(file) for file in found if file is not None]


def load_model(
    place: ModelPlace, dtype: str, device: str | None = None, quantization: Any = None
) -> Any:
    """The model itself, in evaluation mode.

    Args:
        dtype: a torch dtype by name, "float32" or "bfloat16".
        device: None: the first GPU if there is one, else the CPU.
        quantization: transformers' quantization config for the weights of linear layers.

    Raises:
        ModelError: the files hold no causal LM, or its weights are incomplete.
    """
    transformers = import_transformers()
    import torch

    device = device or default_device()
    is_cached = is_only_cached(place.location)
    options: dict[str, Any] = {
        "dtype": getattr(torch, dtype),
        "local_files_only": is_cached,
        "trust_remote_code": False,
    }
    stored = _stored_quantization(place)
    if stored is not None:
        options["quantization_config"] = stored
    if quantization is not None:
        options |= {"quantization_config": quantization, "device_map": {"": device}}
    missing: Collection[str] = ()
    # Damaged weights raise safetensors' own error; a wrong architecture raises RuntimeError.
    try:
        if place.holds_adapters:
            try:
                from peft import AutoPeftModelForCausalLM
            except ImportError:
                raise DependencyError("peft", "lora") from None
            with quiet_peft():
                model = AutoPeftModelForCausalLM.from_pretrained(place.location, **options)
        else:
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                place.location, output_loading_info=True, **options
            )
            missing = report["missing_keys"]
    except DependencyError:
        raise
    except Exception as error:
        raise ModelError(f"model {place.name} cannot be loaded: {loading_fault(error)}") from error
    # transformers would initialize missing weights at random.
    if missing:
        raise ModelError(
            f"the weights of model {place.name} lack {len(missing)} of those in its config.json, "
            f"among them {min(missing)}. Get its files again, or fix its config.json."
        )
    if stored is not None:
        # transformers gives these weights in bfloat16.
        model = model.to(getattr(torch, dtype))
    return (model if quantization else model.to(device)).eval()


def _stored_quantization(place: ModelPlace) -> Any:
    """How to read weights that are stored in few bits as plain ones; None: they are plain.

    Their own kernels have no gradient and need certain GPUs.

    Raises:
        ModelError: the model is an encoder-decoder, of which transformers would load only a half.
    """
    location = place.location
    if place.holds_adapters:
        location = read_adapter(Path(location)).base_model_name_or_path
    config = read_config(location)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            f"model {place.name} is an encoder-decoder ({config.model_type}), expected a causal "
            "language model, such as those named …ForCausalLM in config.json."
        )
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    transformers = import_transformers()
    method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    kinds = {"fp8": transformers.FineGrainedFP8Config, "mxfp4": transformers.Mxfp4Config}
    return kinds[method](dequantize=True) if method in kinds else None


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Hide warnings that PEFT 0.21 causes itself with transformers 5.23."""
    with warnings.catch_warnings():
        # PEFT uses an old name, and sets patterns for joined experts that it does not find later.
        warnings.filterwarnings("ignore", ".is_gradient_checkpointing. is", FutureWarning)
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern", RuntimeWarning)
        # A merge gives the head a weight of its own.
        warnings.filterwarnings("ignore", "Model has .tie_word_embeddings=True", UserWarning)
        warnings.filterwarnings("ignore", "Setting .save_embedding_layers. to", UserWarning)
        yield


def import_transformers() -> Any:
    """Import transformers, without its log and progress bars, and bound the caches of products."""
    # Every use of a model begins here. The first product of the process may be of another stage.
    bound_product_caches()
    try:
        import transformers
    except ImportError:
        raise DependencyError("transformers", "train") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def loading_fault(error: Exception) -> str:
    """The first line of an error, or that the model asks for code of its own."""
    if "trust_remote_code" in str(error):
        return (
            "it asks for code of its own files (auto_map), and atlas runs no code that a model "
            "brings. Give a model whose architecture transformers has"
        )
    return first_line(error)
