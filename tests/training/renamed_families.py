"""Random models of families whose tensors `save_pretrained` renames, splits or joins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.training.tiny_families import HEADS, SHAPE, VOCABULARY

EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
RENAMED: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: transformers.MixtralConfig(**SHAPE, num_local_experts=4),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**SHAPE, **EXPERTS, num_experts=4, head_dim=8),
    "olmoe": lambda: transformers.OlmoeConfig(**SHAPE, num_experts=4, num_experts_per_tok=2),
    "jamba": lambda: transformers.JambaConfig(
        **SHAPE,
        num_experts=4,
        num_experts_per_tok=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=4,
        mamba_dt_rank=4,
    ),
    "nemotron_h": lambda: transformers.NemotronHConfig(
        **{key: value for key, value in SHAPE.items() if key != "num_hidden_layers"},
        hybrid_override_pattern="M*-",
        mamba_num_heads=4,
        mamba_head_dim=16,
        ssm_state_size=8,
        n_groups=2,
        head_dim=8,
    ),
    "gemma3 with vision": lambda: transformers.Gemma3Config(
        text_config={**SHAPE, **HEADS, "model_type": "gemma3_text"},
        vision_config={**VISION, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=4,
        image_token_index=VOCABULARY - 1,
        boi_token_index=VOCABULARY - 3,
        eoi_token_index=VOCABULARY - 2,
    ),
}


def tiny_renamed(family: str) -> Any:
    """A random model in float32, in training mode."""
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(RENAMED[family]()).float().train()


def write_renamed(family: str, tokenizer: Any, folder: Path) -> Path:
    """A random model with this tokenizer, saved as any instruct model is."""
    config = RENAMED[family]()
    text = config.get_text_config()
    text.vocab_size, text.max_position_embeddings = len(tokenizer), 2048
    text.pad_token_id, text.bos_token_id, text.eos_token_id = None, None, tokenizer.eos_token_id
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
