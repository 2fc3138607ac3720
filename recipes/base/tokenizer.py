"""The tokenizer of a base model: byte-level BPE over pieces of text.

A piece is a thing with its color, a number with its direction, a name, a run of other words,
punctuation, or a line end. So "red ball", "2 ahead", "fire charge" and "so I pick it up" can become
one token each, in a goal as in an observation: to find a thing again is to find a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import transformers
from corpus import COLORS, KINDS
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from worlds.common import Conversation

SPECIAL_TOKENS = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
MOST_CONVERSATIONS = 60_000
_COLOR = "(?i:" + "|".join(COLORS) + ")"
_COLORED = rf"{_COLOR}(?: (?:open|closed|locked))? (?:{'|'.join(KINDS)})"
# Other words are cut before these: numbered things, words with a hyphen, and letters that are
# spelled out ("a" and "i" are also words).
_NUMBERED, _JOINED, _LETTER = r"(?:ball|b)\d+", r"[a-z]+(?:[-_][a-z]+)+", r"[b-hj-z]"


def pieces(names: Sequence[str]) -> str:
    """Where the tokenizer may cut."""
    before, own = rf"{_COLOR} ", []
    if names:
        own = [f"(?:{one})(?![A-Za-z'])" for one in (_any_of(names), _JOINED, _LETTER)]
        own = [_NUMBERED, *own]
        before = "|".join((before, *own))
    return "|".join(
        [
            f" ?{_COLORED}",
            r" ?\d+(?: (?:ahead|left|right))?",
            *(f" ?{one}" for one in own),
            rf"(?: ?(?!{before})[A-Za-z']+)+",
            r" ?[^\sA-Za-z0-9]+\n*",
            r"\n+",
        ]
    )


def train_tokenizer(
    conversations: Iterable[Conversation], vocabulary: int, names: Sequence[str], max_length: int
) -> transformers.PreTrainedTokenizerFast:
    """Any text can be written, and frequent pieces are one token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces(names)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(
        (message.content for conversation in conversations for message in conversation), trainer
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=max_length,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL_TOKENS[1:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _any_of(names: Sequence[str]) -> str:
    """A pattern of all names, the longest first, grouped by their first letters for speed."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda one: (-len(one), one)):
        groups.setdefault(name[:2], []).append(name[2:])
    return "|".join(f"{start}(?:{'|'.join(rest)})" for start, rest in sorted(groups.items()))
