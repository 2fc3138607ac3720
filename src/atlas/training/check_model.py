"""What can be known of a model before its weights are read: whether it can be trained at all, and on these tokens."""

from __future__ import annotations

from typing import Any

from atlas.errors import ModelError
from atlas.models.local.hub import is_only_cached
from atlas.models.local.load import ModelPlace, import_transformers
from atlas.terminal.progress import say
from atlas.training.examples import ExampleSet


def read_model_settings(place: ModelPlace) -> Any:
    """Its config.json, as transformers reads it.

    Raises:
        ModelError: there is none, or adapters alone.
    """
    if place.holds_adapters:
        raise ModelError(
            f"{place.name} holds low-rank adapters, not a whole model. Merge them into their base and give the result."
        )
    is_cached = is_only_cached(place.location)
    try:
        return import_transformers().AutoConfig.from_pretrained(
            place.location, local_files_only=is_cached
        )
    except Exception as error:  # a file that is no JSON, an architecture that is not known, a hub that is not reached
        reason = str(error).strip().split("\n", 1)[0]
        raise ModelError(
            f"the config.json of model {place.name} cannot be read: {reason.rstrip('.')}. Check the name, the files and the connection."
        ) from error


def check_tokens(settings: Any, examples: ExampleSet, name: str) -> None:
    """Whether the model has embeddings for all tokens and positions; says it where sequences are longer than rotations were made for.

    Raises:
        ModelError: it has not: its tokenizer is another one's, or got tokens that the model did not; or it counts positions in a
            table that is shorter than a sequence, as GPT-2 does.
    """
    text = settings.get_text_config()
    vocabulary, positions = int(text.vocab_size), getattr(text, "max_position_embeddings", None)
    largest = max(int(example.input_ids.max()) for example in examples.examples)
    if largest >= vocabulary:
        raise ModelError(
            f"the tokenizer of {name} writes token {largest}, and its model has embeddings for {vocabulary:,} tokens. "
            "Give the tokenizer that belongs to it, or add embeddings with model.resize_token_embeddings and save both."
        )
    longest = max(len(example.input_ids) for example in examples.examples)
    if positions is None or longest <= positions:
        return
    if not hasattr(text, "rope_parameters"):
        raise ModelError(
            f"the longest sequence has {longest:,} tokens, and {name} has embeddings for {positions:,} positions. "
            f"Set max_tokens={positions}, or select from shorter trajectories."
        )
    say(
        f"the longest sequence has {longest:,} tokens, but {name} is made for {positions:,}. Set max_tokens={positions} if not meant."
    )
