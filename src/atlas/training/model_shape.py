"""The sizes of a model that its costs depend on, from its config: no weight is read or made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atlas.models.local.hub import is_only_cached
from atlas.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes that costs depend on.

    Attributes:
        linear_weights: entries of the linear maps of one decoder layer, which four bits can hold.
        layer_weights: the same plus those of the experts that one token goes through.
        layer_outputs: entries per token that one layer keeps for its backward pass.
        adapter_weights: entries of all low-rank adapters; 0 without.
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


def measure_shape(location: str, config: TrainConfig) -> ModelShape:
    """The shape of the model at `location`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = AutoConfig.from_pretrained(location, local_files_only=is_only_cached(location))
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(settings)
    text = settings.get_text_config()
    num_layers, hidden = int(text.num_hidden_layers), int(text.hidden_size)
    heads = int(text.num_attention_heads)
    head_width = int(getattr(text, "head_dim", None) or hidden // heads)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    if layers := getattr(model.get_decoder(), "layers", None):
        linear = [module for module in layers[0].modules() if isinstance(module, torch.nn.Linear)]
        weights = sum(module.weight.numel() for module in linear)
        outputs = sum(module.in_features + module.out_features for module in linear)
        experts = list(_experts(layers[0], text))
    else:
        # An architecture with other names: everything but the embedding counts as its layers.
        embedding = model.get_input_embeddings().weight.numel()
        weights = (num_parameters - embedding) // num_layers
        outputs = weights // hidden * 2
        experts = []
    # Norms and residuals keep about four hidden states.
    kept = outputs + sum(active for _, active in experts) + 4 * hidden
    return ModelShape(
        num_layers=num_layers,
        hidden=hidden,
        vocabulary=int(text.vocab_size),
        query_width=heads * head_width,
        key_width=int(getattr(text, "num_key_value_heads", None) or heads) * head_width,
        linear_weights=weights,
        layer_weights=weights + sum(size for size, _ in experts),
        layer_outputs=kept,
        num_parameters=num_parameters,
        adapter_weights=config.lora.rank * outputs * num_layers if config.lora else 0,
    )


def _experts(layer: Any, text: Any) -> Iterator[tuple[int, int]]:
    """(weights, outputs) of each expert matrix that a token goes through, shape [E, out, in]."""
    routed = int(getattr(text, "num_experts_per_tok", None) or 1)
    for parameter in layer.parameters():
        if parameter.dim() == 3:
            used = min(routed, parameter.shape[0])
            width, depth = parameter.shape[1:]
            yield used * width * depth, used * (width + depth)
