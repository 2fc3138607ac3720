"""The sequences on which the engine and plain training are compared.

No two probes use the same tokens after their common prompt. So the tokens of a row show which
position belongs to which probe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.engine.packed_rows import MIN_SHARED_TOKENS, lexicographic_order
from atlas.training.examples import TrainingExample

# Numbers of tokens of the short probes: the prompt that two of them share, the rest of these two,
# and the third probe.
PROMPT, TAILS, THIRD = MIN_SHARED_TOKENS + 1, (6, 9), 13
# How far a long probe goes beyond a length that the config names.
MARGIN = 24
# Tokens of a row, and of each of its sequences, for models that compute something by the place in
# the row (a bias in bf16 is rounded from 256 on).
ROW_TOKENS, IN_ROW = 1024, 128
# Names of settings that hold a length beyond which attention or a state may behave differently, and
# names that look like them but hold something else.
_LENGTH = re.compile(
    r"window|chunk|block_size|topk|top_k|local|sparse|compress|length|span|stride|segment|distance"
    r"|extent|mem_len|floor"
)
_NO_LENGTH = re.compile(
    r"expert|moe|group|dim$|_dim_|layers|heads|num_|prob|intermediate|hidden|loss|penalty|vocab"
    r"|token|original|inference|min_length|max_length|max_position"
)
# Names of settings for how many blocks are attended to, and for the length of a block.
_CHOSEN = re.compile(r"topk|top_k")
_OF_CHOSEN = re.compile(r"block_size|compress")
# Maximum tokens of a probe if the length of the training sequences is not known.
MOST_TOKENS = 8192 + MARGIN


@dataclass(frozen=True, slots=True)
class Probe:
    """A sequence to compare on.

    Attributes:
        own: the tokens that only this probe has; after the first of them in the sequence they may
            be exchanged for each other.
    """

    example: TrainingExample
    own: NDArray[np.int64]

    def varied(self) -> Probe:
        """The probe with its own tokens exchanged for each other, except for the first of them."""
        ids = self.example.input_ids.copy()
        places = np.flatnonzero(np.isin(ids, self.own))[1:]
        following = np.searchsorted(self.own, ids[places]) + 1
        ids[places] = self.own[following % len(self.own)]
        labels = np.where(self.example.labels == IGNORED_LABEL, IGNORED_LABEL, ids)
        return replace(self, example=replace(self.example, input_ids=ids, labels=labels))


def short_probes(config: Any) -> list[Probe]:
    """Three short sequences in lexicographic order, two of which begin alike."""
    rng = np.random.default_rng(0)
    # The third has the largest tokens.
    groups = np.array_split(_common_tokens(config, rng), 4)
    prompt = rng.choice(groups[0], PROMPT)
    probes = []
    for own, length in zip(groups[1:3], TAILS, strict=True):
        tail = rng.choice(own, length)
        tail[0] = own[0]
        probes.append(_probe(np.concatenate([prompt, tail]), own, rng))
    return [*probes, _probe(rng.choice(groups[3], THIRD), groups[3], rng)]


def long_probes(
    config: Any, longest: int | None, row_tokens: int, table: int = 0
) -> list[TrainingExample]:
    """Sequences beyond every length that the config names, and shorter ones; none if not needed.

    All but the longest are padded where a row is padded.

    Args:
        longest: tokens of the longest sequence of the training; None: `MOST_TOKENS`.
        row_tokens: maximum tokens of a forward pass.
        table: tokens of the smallest table of masks in the model; 0: it has none.
    """
    settings = config.to_dict()
    # Some families give this setting another name.
    places = getattr(config, "max_position_embeddings", None)
    most = longest or MOST_TOKENS
    if isinstance(places, int) and places > 0:
        most = min(most, places)
    beyond = max(longest_named(settings), table) + MARGIN
    length = min(beyond, most)
    if length <= PROMPT:
        return []
    rng = np.random.default_rng(1)
    tokens = _common_tokens(config, rng)
    num = math.ceil(min(beyond, max(row_tokens, length)) / length)
    sequences = [rng.choice(tokens, each) for each in (*[length] * num, THIRD)]
    # One more begins as the first does.
    tail = rng.choice(tokens, MARGIN - MARGIN // 2)
    sequences.append(np.concatenate([sequences[0][: length - MARGIN], tail]))
    ordered = [sequences[index] for index in lexicographic_order(sequences)]
    return [_probe(ids, tokens, rng, 24).example for ids in ordered]


def row_probes(config: Any, longest: int | None, row_tokens: int) -> list[TrainingExample]:
    """Sequences that fill a row of `ROW_TOKENS`, for what may depend on the place in the row.

    Args:
        longest: tokens of the longest sequence of the training; None: of any length.
        row_tokens: maximum tokens of a forward pass.
    """
    rng = np.random.default_rng(2)
    tokens = _common_tokens(config, rng)
    length = max(THIRD, min(longest or IN_ROW, IN_ROW))
    num = max(2, min(row_tokens, ROW_TOKENS) // length)
    sequences = [rng.choice(tokens, length) for _ in range(num)]
    ordered = [sequences[index] for index in lexicographic_order(sequences)]
    return [_probe(ids, tokens, rng, 24).example for ids in ordered]


def longest_named(settings: dict[str, Any]) -> int:
    """The most tokens after which a model of this config may behave differently."""
    named: dict[str, int] = {}
    for name, number in _numbers(settings):
        if _LENGTH.search(name) and not _NO_LENGTH.search(name):
            named[name] = max(number, named.get(name, 1))
    chosen = [length for name, length in named.items() if _CHOSEN.search(name)]
    of_chosen = [length for name, length in named.items() if _OF_CHOSEN.search(name)]
    products = [max(chosen) * min(of_chosen)] if chosen and of_chosen else []
    return max([*named.values(), *products], default=0)


def _numbers(settings: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Each whole number of a config under the name of its setting."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _numbers(value, str(key))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _numbers(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool):
        yield name, settings


def _common_tokens(config: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """Tokens without a special meaning to the model, ascending."""
    named = _numbers(config.to_dict())
    special = {0, *(one for name, one in named if name.endswith(("token_id", "token_ids")))}
    tokens = np.setdiff1d(np.arange(int(config.vocab_size)), np.array(sorted(special)))
    return np.sort(rng.choice(tokens, min(len(tokens), 256), replace=False))


def _probe(
    ids: NDArray[np.int64],
    own: NDArray[np.int64],
    rng: np.random.Generator,
    most: int | None = None,
) -> Probe:
    """Two in five tokens are supervised, or about `most` of them, and the last ones."""
    share = 0.4 if most is None else min(0.4, most / len(ids))
    labels = np.where(rng.random(len(ids)) < share, ids, IGNORED_LABEL)
    labels[-2:], labels[0] = ids[-2:], IGNORED_LABEL
    example = TrainingExample("probe", ids.astype(np.int32), labels.astype(np.int64))
    return Probe(example, own)
