"""Small configs of the causal language models of transformers.

`SMALL` shrinks every setting that a config class has under its usual name; `family_tables.py` holds
what a family needs beyond that.
"""

from __future__ import annotations

from typing import Any

from family_tables import (
    COMPOSITES,
    NOT_BUILT,
    OVERRIDES,
    POSITIONS,
    TABLE_OF_POSITIONS,
    VARIANTS,
    VOCABULARY,
    WINDOW,
)

MOST_PARAMETERS = 1_500_000

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "lru_width"), 32),
    **dict.fromkeys(
        (
            "intermediate_size",
            "ffn_dim",
            "n_inner",
            "dff",
            "ffn_hidden_size",
            "decoder_ffn_dim",
            "encoder_ffn_dim",
        ),
        48,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 4
    ),
    "encoder_layers": 1,
    **dict.fromkeys(
        (
            "num_attention_heads",
            "n_head",
            "n_heads",
            "num_heads",
            "decoder_attention_heads",
            "encoder_attention_heads",
        ),
        4,
    ),
    "num_key_value_heads": 2,
    "num_kv_heads": 2,
    "head_dim": 8,
    "rotary_dim": 8,
    **dict.fromkeys(("max_position_embeddings", "max_seq_len", "model_max_length"), POSITIONS),
    **dict.fromkeys(("n_positions", "n_ctx"), TABLE_OF_POSITIONS),
    **dict.fromkeys(
        (
            "sliding_window",
            "sliding_window_size",
            "attention_window_size",
            "window_size",
            "attention_chunk_size",
        ),
        WINDOW,
    ),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), VOCABULARY),
    **dict.fromkeys(
        (
            "moe_intermediate_size",
            "shared_expert_intermediate_size",
            "shared_experts_intermediate_size",
            "moe_shared_expert_intermediate_size",
            "shared_intermediate_size",
            "expert_ffn_hidden_size",
        ),
        16,
    ),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(
        ("n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts"), 1
    ),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "index_topk", "index_head_dim"), 16),
    **dict.fromkeys(("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"), 8),
    # With few heads, many scores of the index are exactly 0, and the kernel of top-k chooses among
    # them by the length of the row.
    "index_n_heads": 16,
    **dict.fromkeys(("mamba_n_heads", "mamba_d_head", "mamba_d_state", "mamba_num_heads"), 8),
    **dict.fromkeys(("mamba_head_dim", "ssm_state_size", "state_size"), 8),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), 16),
    "mamba_expand": 2,
    "mamba_d_ssm": 64,
    "mamba_n_groups": 1,
    "mamba_dt_rank": 4,
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"), 2),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"), 8),
    **dict.fromkeys(("hidden_size_per_layer_input", "laurel_rank"), 8),
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # Dropout is one of the variants.
    **dict.fromkeys(
        (
            "attention_dropout",
            "hidden_dropout",
            "resid_pdrop",
            "embd_pdrop",
            "attn_pdrop",
            "emb_pdrop",
            "dropout",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "resid_dropout",
            "embed_dropout",
            "activation_dropout",
            "residual_dropout",
            "router_jitter_noise",
            "layerdrop",
        ),
        0.0,
    ),
}

# The ends of the names of variants whose training draws at random.
RANDOM = ("LayerDrop", "dropout", "jitter")


def row_names() -> list[str]:
    """Every row of the sweep: the families that are built, then the variants."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    families = [name for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if name not in NOT_BUILT]
    return [*sorted(families), *sorted(VARIANTS)]


def config_of(row: str) -> Any:
    """The small config of a family or a variant."""
    family, more = VARIANTS.get(row, (row, {}))
    config_class, settings = _settings_of(family)
    if family in COMPOSITES:
        settings |= {"text_config": _settings_of(COMPOSITES[family])[1]}
    return config_class(**settings | more)


def _settings_of(family: str) -> tuple[Any, dict[str, Any]]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config_class: Any = CONFIG_MAPPING[family]
    known = set(config_class.__dataclass_fields__) | set(config_class.attribute_map)
    small = {name: value for name, value in SMALL.items() if name in known}
    return config_class, small | OVERRIDES.get(family, {})
