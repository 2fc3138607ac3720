"""Checks before a model's weights are read: can it be trained, and on these tokens?"""

from __future__ import annotations

from typing import Any

from atlas.errors import ModelError
from atlas.models.local.load import ModelPlace, import_transformers, parts_of, read_config
from atlas.terminal.progress import say
from atlas.training.examples import ExampleSet


def read_model_settings(place: ModelPlace) -> Any:
    """The model's config.json, as transformers reads it.

    Raises:
        ModelError: the config is missing, there are only adapters, or the model cannot be trained
            as a causal LM.
    """
    if place.holds_adapters:
        raise ModelError(
            f"{place.name} holds low-rank adapters, not a whole model. Give a whole one, such as a "
            "run of train with lora.merge=true."
        )
    settings = read_config(place.location)
    _check_architecture(settings, place.name)
    return settings


def _check_architecture(settings: Any, name: str) -> None:
    import_transformers()
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{name} is of type {settings.model_type}, which transformers does not load as a "
            "causal language model. If it is a vision or speech model, give its text model."
        )
    loaded = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)].__name__
    if parts_of(settings) and loaded not in (settings.architectures or [loaded]):
        raise ModelError(
            f"{name} is a {settings.architectures[0]}, of which only the text model ({loaded}) "
            "would be trained and saved, without its other parts. Save its text model and give it."
        )
    if MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)].config_class not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            f"{name} is of type {settings.model_type}, whose text model ({loaded}) transformers "
            "saves in a form that it does not load again. Use another model."
        )
    stored = getattr(settings, "quantization_config", None) or {}
    method = stored.get("quant_method") if isinstance(stored, dict) else stored.quant_method
    if method is not None and method not in ("fp8", "mxfp4"):
        raise ModelError(
            f"the weights of {name} are stored in few bits ({method}) and cannot be trained. Give "
            "the model that they were made from; lora.quantize=4bit keeps it in four bits."
        )


def check_tokens(settings: Any, examples: ExampleSet, name: str) -> None:
    """Check that the model has embeddings for all tokens and positions.

    It prints a note if sequences are longer than the model's rotary embeddings were made for.

    Raises:
        ModelError: the tokenizer is not the model's own or has tokens that the model lacks, or a
            sequence is longer than the model's position embeddings (as in GPT-2).
    """
    text = settings.get_text_config()
    # MPT has another name for this setting.
    positions = getattr(text, "max_position_embeddings", getattr(text, "max_seq_len", None))
    vocabulary = int(text.vocab_size)
    run = (*examples.examples, *examples.held_out)
    largest = max(int(example.input_ids.max()) for example in run)
    if largest >= vocabulary:
        raise ModelError(
            f"the tokenizer of {name} writes token {largest}, and its model has embeddings for "
            f"{vocabulary:,} tokens. Give the tokenizer that belongs to it, or add embeddings with "
            "model.resize_token_embeddings and save both."
        )
    longest = max(len(example.input_ids) for example in run)
    if positions is None or longest <= positions:
        return
    if not hasattr(text, "rope_parameters"):
        if not hasattr(text, "max_seq_len") and not _embeds_positions(settings, positions):
            # The order is in the states (Mamba) or distances (ALiBi), so the length is not limited.
            return
        raise ModelError(
            f"the longest sequence has {longest:,} tokens, and {name} has embeddings for "
            f"{positions:,} positions. Set max_tokens={positions}, or select from shorter "
            "trajectories."
        )
    say(
        f"the longest sequence has {longest:,} tokens, but {name} is made for {positions:,}. Set "
        f"max_tokens={positions} if this is not intended."
    )


def _embeds_positions(settings: Any, positions: int) -> bool:
    """Whether the model has an embedding or a table with an entry for each position."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(settings, trust_remote_code=False)
    embeddings = {id(one.weight) for one in model.modules() if isinstance(one, torch.nn.Embedding)}
    embeddings -= {id(model.get_input_embeddings().weight)}
    tables = [one for one in model.parameters() if id(one) in embeddings]
    return any(max(one.shape, default=0) >= positions for one in (*tables, *model.buffers()))
