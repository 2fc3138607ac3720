"""What a family needs beyond the sizes of `family_configs.py`, and the variants; literal tables.

`OVERRIDES` holds sizes with names of their own, and layers of each of a family's kinds. `VARIANTS`
are configs with a feature that changes what training computes. `NOT_BUILT` says why a name in the
table of transformers has no row.
"""

from __future__ import annotations

from typing import Any

# Lengths that a config names. The samples of `family_checks.py` are longer than all of them.
WINDOW, POSITIONS, VOCABULARY = 64, 128, 120
# Families with a table of positions cannot read beyond it.
TABLE_OF_POSITIONS = 256

WHOLE, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"
ALTERNATE = {"layer_types": [SLIDING, WHOLE, SLIDING, WHOLE]}
LATENT = {"num_key_value_heads": 4}
LONG_TABLE = {"max_position_embeddings": TABLE_OF_POSITIONS}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}

OVERRIDES: dict[str, dict[str, Any]] = {
    "axk1": LATENT,
    "axk2": LATENT,
    "bailing_hybrid": {**LATENT, "layer_types": [LINEAR, WHOLE, LINEAR, WHOLE]},
    "bamba": {"attn_layer_indices": [1, 3]},
    "cohere_compass_text": {
        **ALTERNATE,
        "rope_parameters": {SLIDING: ROPE, WHOLE: ROPE},
    },
    "cpmant": {
        **LONG_TABLE,
        "dim_head": 8,
        "dim_ff": 48,
        "position_bias_max_distance": TABLE_OF_POSITIONS,
        "position_bias_num_buckets": 32,
        "prompt_types": 2,
        "prompt_length": 4,
        "segment_types": 2,
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {
            "hidden_size": 32,
            "ffn_hidden_size": 48,
            "moe_num_experts": 4,
            "moe_top_k": 2,
        },
    },
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "deepseek_v32": LATENT,
    "deepseek_v4": {
        "num_key_value_heads": 1,
        "o_groups": 2,
        "o_lora_rank": 8,
        "head_dim": 16,
        "layer_types": [
            SLIDING,
            "compressed_sparse_attention",
            "heavily_compressed_attention",
            "compressed_sparse_attention",
        ],
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 32},
        "mlp_layer_types": ["moe", "moe", "hash_moe", "moe"],
    },
    "doge": {"keep_window_size": WINDOW},
    "dots1": ALTERNATE,
    "dots3_note_text": {
        **LATENT,
        "head_dim": 16,
        "per_layer_config": {"1": {"num_attention_heads": 4}},
        "layer_types": ["indexed_attention", SLIDING, "indexed_attention", SLIDING],
    },
    "gemma3_text": ALTERNATE,
    "gemma3n_text": {
        **ALTERNATE,
        "num_kv_shared_layers": 2,
        "intermediate_size": 48,
        "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0],
    },
    "gemma4_text": {"per_layer_config": {"1": {"head_dim": 16}, "3": {"head_dim": 16}}} | ALTERNATE,
    "gemma4_unified_text": {"per_layer_config": {"1": {"head_dim": 16}, "3": {"head_dim": 16}}}
    | ALTERNATE,
    "glm4_moe_lite": LATENT,
    "glm_moe_dsa": LATENT,
    "gpt_neo": {
        **LONG_TABLE,
        "attention_types": [[["global", "local"], 2]],
    },
    "granitemoehybrid": {"layer_types": [LINEAR, WHOLE, LINEAR, WHOLE]},
    "hrm_text": {"num_layers_per_stack": 2},
    "inkling_text": {
        **dict.fromkeys(("swa_head_dim", "d_rel"), 8),
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "rel_extent": WINDOW,
        "unpadded_vocab_size": VOCABULARY,
        "layer_types": ["hybrid_sliding", "hybrid", "hybrid_sliding", "hybrid"],
        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"],
    },
    "inkling2_text": {
        **dict.fromkeys(("swa_head_dim", "d_rel"), 8),
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 2,
        "rel_extent": WINDOW,
        "unpadded_vocab_size": VOCABULARY,
        "n_layers_per_attn_res_block": 2,
        "layer_types": ["hybrid_sliding", "hybrid", "hybrid_sliding", "hybrid"],
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {**LATENT, "layer_types": [LINEAR, WHOLE, LINEAR, WHOLE]},
    "kolibri1": ALTERNATE,
    "laguna": {**ALTERNATE, "num_attention_heads_per_layer": [4, 4, 4, 4]},
    "lfm2": {"layer_types": ["conv", WHOLE, "conv", WHOLE]},
    "lfm2_moe": {"layer_types": ["conv", WHOLE, "conv", WHOLE]},
    "longcat_flash": {**LATENT, "num_layers": 2, "zero_expert_num": 2},
    "mamba2": {"num_heads": 8},
    "mellum": ALTERNATE,
    "minicpm3": LATENT,
    "nemotron_h": {"n_groups": 1},
    "qwen4_exp_text": {
        "indexer_n_heads": 16,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 16,
        "indexer_compress_ratio": 4,
        "hc_lowrank": 8,
        "layer_types": [LINEAR, "indexed_attention", LINEAR, "indexed_attention"],
    },
    "youtu": LATENT,
    "zamba": {
        "num_hidden_layers": 6,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "head_dim": 16,
        "num_key_value_heads": 4,
        "n_mamba_heads": 2,
    },
    "zamba2": {
        "layers_block_type": [LINEAR, "hybrid", LINEAR, "hybrid"],
        "n_mamba_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 16,
        "mamba_ngroups": 1,
        "adapter_rank": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}

# Families with a table of position embeddings, or of something else per position.
TABLES = (
    "bart bert bert-generation big_bird bigbird_pegasus biogpt blenderbot blenderbot-small "
    "camembert codegen ctrl data2vec-text electra ernie gpt-sw3 gpt2 gpt_bigcode gptj marian "
    "mbart megatron-bert mpt mvp openai-gpt opt pegasus plbart prophetnet rembert roberta "
    "roberta-prelayernorm roformer trocr whisper xglm xlm xlm-roberta xlm-roberta-xl"
)
OVERRIDES |= {name: {**OVERRIDES.get(name, {}), **LONG_TABLE} for name in TABLES.split()}
OVERRIDES["whisper"] = {"max_target_positions": TABLE_OF_POSITIONS}
OVERRIDES["roc_bert"] = {
    **LONG_TABLE,
    "pronunciation_vocab_size": 16,
    "shape_vocab_size": 16,
    "pronunciation_embed_dim": 8,
    "shape_embed_dim": 8,
}
OVERRIDES["xlnet"] = {"d_inner": 48}
OVERRIDES["xmod"] = {**LONG_TABLE, "default_language": "en_XX"}

OVERRIDES["mpt"] = {"max_seq_len": TABLE_OF_POSITIONS}
OVERRIDES["gemma3"] = {
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "mm_tokens_per_image": 4,
}

# Configs that hold the config of a language model: the family of that one.
COMPOSITES = {
    "emu3": "emu3_text_model",
    "fuyu": "persimmon",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text",
    "llama4": "llama4_text",
    "mllama": "mllama_text_model",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
    "qwen4_exp": "qwen4_exp_text",
}

NOT_BUILT = {
    "blt": "its tables of hashed bytes have 4.6 billion parameters, whatever the sizes",
    "cpmant": "it puts a learned prompt before each sequence",
    "dots3_note": "a language model with vision and sound; see dots3_note_text",
    "gemma3n": "it needs the package timm; see gemma3n_text",
    "gemma4_assistant": "it drafts tokens from the states of another model",
    "gemma4_unified_assistant": "it drafts tokens from the states of another model",
    "git": "it holds a vision model of fixed size",
    "got_ocr2": "it holds a vision model of fixed size; its language model is qwen2",
    "moss_transcribe_diarize": "it transcribes sound",
    "musicgen": "it writes codes of sound, not text",
    "musicgen_melody": "it writes codes of sound, not text",
    "phi4_multimodal": "it holds vision and sound models of fixed size; see phi3",
    "reformer": "it trains only on sequences that are multiples of its chunks",
}

ROUTER_LOSS = {"output_router_logits": True, "router_aux_loss_coef": 0.5}
# Variant -> family and what its config sets beyond the family's row.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert, decoder": ("bert", {"is_decoder": True}),
    "falcon, ALiBi": ("falcon", {"alibi": True}),
    "falcon, new decoder": ("falcon", {"new_decoder_architecture": True}),
    "gemma2, low caps": (
        "gemma2",
        {"attn_logit_softcapping": 1.0, "final_logit_softcapping": 1.0},
    ),
    "gemma3_text, both ways": ("gemma3_text", {"use_bidirectional_attention": True}),
    "gpt_bigcode, many keys": ("gpt_bigcode", {"multi_query": False}),
    "granite, scaled": (
        "granite",
        {
            "logits_scaling": 8.0,
            "embedding_multiplier": 12.0,
            "residual_multiplier": 0.22,
            "attention_multiplier": 0.1,
        },
    ),
    "granitemoe, scaled": ("granitemoe", {"logits_scaling": 6.0}),
    "falcon_h1, scaled": ("falcon_h1", {"lm_head_multiplier": 0.04}),
    "mpt, scaled": ("mpt", {"logit_scale": 0.2}),
    "llama, linear": ("llama", {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}}),
    "llama, yarn": (
        "llama",
        {
            "rope_parameters": {
                **ROPE,
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": WINDOW,
            }
        },
    ),
    "llama, dynamic NTK": (
        "llama",
        {"rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 4.0}},
    ),
    "phi3, longrope": (
        "phi3",
        {
            "original_max_position_embeddings": WINDOW,
            "rope_parameters": {
                **ROPE,
                "rope_type": "longrope",
                "short_factor": [1.0, 1.0, 1.5, 2.0],
                "long_factor": [1.0, 4.0, 8.0, 16.0],
                "original_max_position_embeddings": WINDOW,
            },
        },
    ),
    "deepseek_v32, tied scores": ("deepseek_v32", {"index_n_heads": 1}),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    **{
        f"{family}, window": (family, {"use_sliding_window": True, "max_window_layers": 2})
        for family in ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "dots1")
    },
    **{
        f"{family}, router loss": (family, ROUTER_LOSS)
        for family in (
            "ernie4_5_moe",
            "flex_olmo",
            "gpt_oss",
            "granitemoe",
            "jamba",
            "minimax",
            "mixtral",
            "olmoe",
            "phimoe",
            "qwen2_moe",
            "qwen3_moe",
            "qwen3_next",
        )
    },
    **{
        f"{family}, LayerDrop": (family, {"layerdrop": 0.5}) for family in ("opt", "biogpt", "xglm")
    },
    "bart, LayerDrop": ("bart", {"decoder_layerdrop": 0.5}),
    "llama, dropout": ("llama", {"attention_dropout": 0.2}),
    "gemma2, dropout": ("gemma2", {"attention_dropout": 0.2}),
    "mixtral, dropout": ("mixtral", {"attention_dropout": 0.2}),
    "qwen3_next, dropout": ("qwen3_next", {"attention_dropout": 0.2}),
    "gpt2, dropout": ("gpt2", {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}),
    "phi, dropout": ("phi", {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attention_dropout": 0.2}),
    "mixtral, jitter": ("mixtral", {"router_jitter_noise": 0.3}),
    "phimoe, jitter": ("phimoe", {"router_jitter_noise": 0.3}),
}
