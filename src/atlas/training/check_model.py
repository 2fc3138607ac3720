"""Checks before a model's weights are read: can it be trained, and on these tokens?"""

from __future__ import annotations

from typing import Any

from atlas.errors import ModelError
from atlas.models.local.hub import is_only_cached
from atlas.models.local.load import ModelPlace, import_transformers
from atlas.terminal.progress import say
from atlas.training.examples import ExampleSet


def read_model_settings(place: ModelPlace) -> Any:
    """The model's config.json, as transformers reads it.

    Raises:
        ModelError: the config is missing, or there are only adapters.
    """
    if place.holds_adapters:
        raise ModelError(
            f"{place.name} holds low-rank adapters, not a whole model. Merge them into their base "
            "and give the result."
        )
    is_cached = is_only_cached(place.location)
    read = import_transformers().AutoConfig.from_pretrained
    try:
        return read(place.location, local_files_only=is_cached)
    except Exception as error:
        # Possible causes: invalid JSON, an unknown architecture, or a hub that cannot be reached.
        reason = str(error).strip().split("\n", 1)[0].rstrip(".")
        raise ModelError(
            f"the config.json of model {place.name} cannot be read: {reason}. Check the name, the "
            "files and the connection."
        ) from error


def check_tokens(settings: Any, examples: ExampleSet, name: str) -> None:
    """Check that the model has embeddings for all tokens and positions.

    It prints a note if sequences are longer than the model's rotary embeddings were made for.

    Raises:
        ModelError: the tokenizer is not the model's own or has tokens that the model lacks, or a
            sequence is longer than the model's position embeddings (as in GPT-2).
    """
    text = settings.get_text_config()
    vocabulary, positions = int(text.vocab_size), getattr(text, "max_position_embeddings", None)
    largest = max(int(example.input_ids.max()) for example in examples.examples)
    if largest >= vocabulary:
        raise ModelError(
            f"the tokenizer of {name} writes token {largest}, and its model has embeddings for "
            f"{vocabulary:,} tokens. Give the tokenizer that belongs to it, or add embeddings with "
            "model.resize_token_embeddings and save both."
        )
    longest = max(len(example.input_ids) for example in examples.examples)
    if positions is None or longest <= positions:
        return
    if not hasattr(text, "rope_parameters"):
        raise ModelError(
            f"the longest sequence has {longest:,} tokens, and {name} has embeddings for "
            f"{positions:,} positions. Set max_tokens={positions}, or select from shorter "
            "trajectories."
        )
    say(
        f"the longest sequence has {longest:,} tokens, but {name} is made for {positions:,}. Set "
        f"max_tokens={positions} if this is not intended."
    )
