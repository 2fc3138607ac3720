"""Low-rank adapters on a frozen base, full or in four bits.

LoRA: arXiv 2106.09685. QLoRA: arXiv 2305.14314.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

from atlas.errors import ConfigError, DependencyError
from atlas.models.local.load import ModelPlace, import_transformers, load_model, quiet_peft
from atlas.training.config import LoraConfig

MAX_KINDS = 4


def load_with_adapters(place: ModelPlace, lora: LoraConfig, precision: str) -> Any:
    """The model with new adapters, which are the only trained weights.

    Raises:
        ModelError: the model cannot be loaded.
        ConfigError: the model has no such layers.
        DependencyError: PEFT or bitsandbytes is not installed.
    """
    try:
        import peft
    except ImportError:
        raise DependencyError("peft", "lora") from None
    dtype = "bfloat16" if precision == "bf16" else "float32"
    if lora.quantize is None:
        model = load_model(place, dtype)
    else:
        model = load_model(place, dtype, quantization=_four_bits(dtype))
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                # On a CPU bitsandbytes repacks weights at the first pass without gradient, and
                # then gives no gradient any more.
                module.support_avx512bf16_for_cpu = False
        # This freezes the base and keeps norms, embedding and head in float32. The Trainer handles
        # the recomputation of activations.
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return attach_adapters(model, lora)


def attach_adapters(model: Any, lora: LoraConfig) -> Any:
    """The model with new adapters. A model on the meta device shows their shapes.

    Raises:
        ConfigError: the model has no such layers or weights.
        DependencyError: PEFT is not installed.
    """
    try:
        import peft
    except ImportError:
        raise DependencyError("peft", "lora") from None
    given = lora.target_modules
    targets = given if isinstance(given, str) else list(given)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        target_parameters=list(lora.target_parameters) or None,
    )
    leaves = (name for name, module in model.named_modules() if not list(module.children()))
    layers = sorted({name.rsplit(".", 1)[-1] for name in leaves if name})
    stacked = _stacked_weights(model)
    try:
        with quiet_peft():
            adapted = peft.get_peft_model(model, settings)
    except ValueError as error:
        # No layer has such a name, or an adapter does not fit one that has.
        raise ConfigError(
            f"lora.target_modules={targets!r} with lora.target_parameters="
            f"{list(lora.target_parameters)} cannot be used: {str(error).rstrip('.')}. Give "
            f"all-linear, names of layers ({', '.join(layers)}) or a regular expression for whole "
            f"paths; as parameters give {', '.join(stacked) or 'none, as this model has none'}."
        ) from error
    # PEFT passes over the names of parameters that it does not find, if it finds others.
    reached = {name.split(".base_layer")[0] for name in adapted.targeted_parameter_names}
    for name in lora.target_parameters:
        if not any(f".{one}".endswith(f".{name}") for one in reached):
            raise ConfigError(
                f"lora.target_parameters names {name}, which the model does not have. It has "
                f"{', '.join(stacked) or 'no stacked weights'}."
            )
    return adapted


def describe_reach(model: Any) -> str | None:
    """Which matrices of the layers have no adapter, and their share; None: all have one.

    Embeddings and head are not counted, as LoRA leaves them out.
    """
    reached: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    outside = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    adapted = set(model.targeted_module_names)
    parameters = set(model.targeted_parameter_names)
    base = model.get_base_model()
    for path, module in base.named_modules():
        if id(module) in outside or ".lora_" in path or isinstance(module, _embedding()):
            continue
        plain = path.replace(".base_layer", "")
        for name, weight in module.named_parameters(recurse=False):
            is_matrix = sum(size > 1 for size in _shape(weight)) > 1 and not name.endswith("bias")
            if not is_matrix or "conv" in path.rsplit(".", 1)[-1]:
                continue
            found = plain in adapted or f"{plain}.{name}" in parameters
            kind = _kind(plain if name == "weight" else f"{plain}.{name}")
            (reached if found else missed)[kind] += math.prod(_shape(weight))
    if not missed:
        return None
    share = reached.total() / (reached.total() + missed.total())
    common = [kind for kind, _ in missed.most_common(MAX_KINDS)]
    more = f" and {len(missed) - MAX_KINDS} more" if len(missed) > MAX_KINDS else ""
    advice = ""
    if stacked := [name for name in common if name in _stacked_weights(base)]:
        advice = f". To reach stacked weights, set lora.target_parameters=[{','.join(stacked)}]"
    return (
        f"the adapters reach {share:.0%} of the weights in the layers' matrices. None on: "
        f"{', '.join(common)}{more}{advice}"
    )


def _stacked_weights(model: Any) -> list[str]:
    """The kinds of weights that hold the matrices of several experts, shape [E, in, out]."""
    return sorted(
        {
            _kind(name.replace(".base_layer", ""))
            for name, weight in model.named_parameters()
            if sum(size > 1 for size in weight.shape) == 3
            and not name.endswith(".weight")
            and ".lora_" not in name
        }
    )


def _kind(path: str) -> str:
    """The path of a weight below its layer."""
    return re.split(r"\.\d+\.", path)[-1]


def _shape(weight: Any) -> tuple[int, ...]:
    # bitsandbytes packs two weights of four bits into a byte.
    state = getattr(weight, "quant_state", None)
    return tuple(weight.shape if state is None else state.shape)


def _embedding() -> type:
    import torch

    return torch.nn.Embedding


def _four_bits(dtype: str) -> Any:
    """QLoRA's settings: 4-bit normal floats with quantized scales, computing in `dtype`."""
    try:
        # Checked here because transformers names neither the package nor the extra.
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise DependencyError("bitsandbytes", "qlora") from None
    return import_transformers().BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
