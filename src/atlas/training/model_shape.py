"""The sizes of a model that its costs depend on, from its config: no weight is read or made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atlas.models.local.load import read_config
from atlas.training.adapters import attach_adapters, describe_reach
from atlas.training.config import TrainConfig

# Norms and residuals of a layer keep about so many hidden states.
NORMED = 4


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that costs depend on.

    Attributes:
        linear_weights: entries of the linear maps of one decoder layer, which four bits can hold.
        layer_weights: the same plus those of the experts that one token goes through.
        layer_outputs: entries per token that one layer keeps for its backward pass.
        layer_results: the same if it keeps only matrix products and attention (recomputation.py),
            where the architecture supports that.
        adapter_weights: entries of all low-rank adapters; 0 without.
        reach: which matrices have no adapter, as text; None: all have one, or there are none.
        fixed_length: up to how many tokens the rotary embedding has the same factors; None: always.
        skipped_layers: which setting skips layers at random in training; None: none does.
    """

    num_layers: int
    hidden: int
    vocabulary: int
    query_width: int
    key_width: int
    linear_weights: int
    layer_weights: int
    layer_outputs: int
    num_parameters: int
    adapter_weights: int = 0
    reach: str | None = None
    fixed_length: int | None = None
    skipped_layers: str | None = None
    layer_results: int = 0


def measure_shape(location: str, config: TrainConfig) -> ModelShape:
    """The shape of the model at `location`, and of the adapters that `config` adds.

    Raises:
        ConfigError: the model has no such layers for adapters.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from atlas.training.engine.checks.training_mode import skipped_layers
    from atlas.training.engine.recomputation import is_cheap_again
    from atlas.training.engine.row_lengths import length_with_fixed_factors

    settings = read_config(location)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
    text = settings.get_text_config()
    num_layers, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    # Models without attention (Mamba, RWKV) have no attention heads.
    heads = _size(text, "num_attention_heads")
    head_width = _size(text, "head_dim") or hidden // max(1, heads)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if layers := _layers(model):
        linear = [
            module
            for layer in layers
            for module in layer.modules()
            if isinstance(module, torch.nn.Linear)
        ]
        # Layers of one model may differ: the first without experts, some without attention.
        weights = sum(module.weight.numel() for module in linear) // num_layers
        outputs = sum(module.in_features + module.out_features for module in linear) // num_layers
        results = sum(module.out_features for module in linear) // num_layers
        experts = [one for layer in layers for one in _experts(layer, text)]
    else:
        # An architecture with other names: everything but the embedding counts as its layers.
        embedding = model.get_input_embeddings().weight.numel()
        weights = (num_parameters - embedding) // num_layers
        outputs = results = weights // hidden * 2
        experts = []
    expert_weights = sum(size for size, _ in experts) // num_layers
    expert_outputs = sum(active for _, active in experts) // num_layers
    adapter_weights, reach = 0, None
    if config.lora is not None:
        adapted = attach_adapters(model, config.lora)
        trained = (one for one in adapted.parameters() if one.requires_grad)
        adapter_weights, reach = sum(one.numel() for one in trained), describe_reach(adapted)
    kept = outputs + expert_outputs + NORMED * hidden
    # The layer's input and the output of its attention are kept too, but not that of its last map.
    kept_results = results + expert_outputs + heads * head_width
    recomputes = bool(layers) and all(map(is_cheap_again, layers[:-1]))
    return ModelShape(
        num_layers=num_layers,
        hidden=hidden,
        vocabulary=int(text.vocab_size),
        query_width=heads * head_width,
        key_width=(_size(text, "num_key_value_heads") or heads) * head_width,
        linear_weights=weights,
        layer_weights=weights + expert_weights,
        layer_outputs=kept,
        num_parameters=num_parameters,
        adapter_weights=adapter_weights,
        reach=reach,
        fixed_length=length_with_fixed_factors(model),
        skipped_layers=skipped_layers(model),
        layer_results=min(kept, kept_results) if recomputes else kept,
    )


def _size(text: Any, name: str) -> int:
    """A size in the config; 0 if there is none, the mean if it differs by layer (Gemma-4)."""
    try:
        return int(getattr(text, name, None) or 0)
    except RuntimeError:
        # transformers raises it for a size that differs by layer.
        sizes = [int(getattr(layer, name, None) or 0) for layer in text.per_layer_config]
        return sum(sizes) // len(sizes)


def _layers(model: Any) -> Any:
    """The decoder's layers, or none if the architecture names them in a way of its own."""
    try:
        return getattr(model.get_decoder(), "layers", None)
    except AttributeError:
        return None


def _experts(layer: Any, text: Any) -> Iterator[tuple[int, int]]:
    """(weights, outputs) of each expert matrix that a token goes through, shape [E, out, in]."""
    routed = _size(text, "num_experts_per_tok") or 1
    for parameter in layer.parameters():
        if parameter.dim() == 3:
            used = min(routed, parameter.shape[0])
            width, depth = parameter.shape[1:]
            yield used * width * depth, used * (width + depth)
