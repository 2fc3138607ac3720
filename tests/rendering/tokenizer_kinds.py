"""Small tokenizers of the kinds that write white space in different ways."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tests.templates import CORPUS, make_tokenizer

# Newlines, role names and first words that merge where a tokenizer does not split before them.
TEXTS = [*CORPUS, "assistant\n\n\nThought: I\n\n I I'm\n<think>\n\n</think>\n\nThought"] * 5


def _merging_newlines(special: list[str]) -> Any:
    """Byte-level BPE that does not split a text into words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(TEXTS, trainer)
    return raw


def _with_prefix_space(special: list[str], legacy: bool) -> Any:
    """BPE in the manner of sentencepiece: a space before each text, and bytes for the unknown.

    `legacy` adds the space after each special token too, as Llama 2's converted tokenizer does.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    if legacy:
        raw.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    raw.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    of_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", *special, *of_bytes], show_progress=False
    )
    raw.train_from_iterator(TEXTS, trainer)
    # The bytes are common tokens, which no text can spell.
    written = json.loads(raw.to_str())
    written["added_tokens"] = [
        token for token in written["added_tokens"] if token["content"] not in of_bytes
    ]
    return Tokenizer.from_str(json.dumps(written))


KINDS = ("byte-level", "merging newlines", "prefix space", "legacy prefix space")


@cache
def tokenizer_of(
    kind: str, template: str, special: tuple[str, ...], eos: str, bos: str | None
) -> Any:
    """A tokenizer of one of KINDS with a template."""
    from transformers import PreTrainedTokenizerFast

    if kind == "byte-level":
        return make_tokenizer(template, list(special), eos, bos)
    if kind == "merging newlines":
        raw = _merging_newlines(list(special))
    else:
        raw = _with_prefix_space(list(special), legacy=kind.startswith("legacy"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token=eos, pad_token=eos, bos_token=bos
    )
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [token for token in special if token != eos]}
    )
    tokenizer.chat_template = template
    return tokenizer
