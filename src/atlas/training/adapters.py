"""Low-rank adapters on a frozen base, full or in four bits.

LoRA: arXiv 2106.09685. QLoRA: arXiv 2305.14314.
"""

from __future__ import annotations

from typing import Any

from atlas.errors import ConfigError, DependencyError
from atlas.models.local.load import ModelPlace, import_transformers, load_model
from atlas.training.config import LoraConfig


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
    given = lora.target_modules
    targets = given if isinstance(given, str) else list(given)
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
    )
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        # No layer has such a name, or an adapter does not fit one that has.
        leaves = (name for name, module in model.named_modules() if not list(module.children()))
        layers = sorted({name.rsplit(".", 1)[-1] for name in leaves if name})
        raise ConfigError(
            f"lora.target_modules={targets!r} cannot be used: {str(error).rstrip('.')}. Give "
            f"all-linear, names of layers ({', '.join(layers)}) or a regular expression for whole "
            "paths."
        ) from error


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
