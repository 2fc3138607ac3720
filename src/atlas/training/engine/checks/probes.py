"""The sequences on which the engine and plain training are compared.

The tokens of each part of a probe are its own, so in any row of several probes it is known which
position belongs to whom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.rendering.loss_mask import IGNORED_LABEL
from atlas.training.engine.packed_rows import MIN_SHARED_TOKENS
from atlas.training.examples import TrainingExample

# Tokens of the short probes: a common prompt, the rest of the two that share it, and the third.
PROMPT, TAILS, THIRD = MIN_SHARED_TOKENS + 1, (6, 9), 13
# How far a long probe goes beyond a length that the config names.
MARGIN = 24
# Settings after which attention or a state may behave differently.
_LENGTH = re.compile(r"window|chunk|block_size|topk|top_k|local|sparse|length|span|stride|segment")
_NO_LENGTH = re.compile(
    r"expert|dim$|_dim_|layers|heads|num_|prob|intermediate|hidden|loss|penalty|vocab|token|original"
    r"|min_length|max_length|max_position"
)


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
        """The same with other tokens of its own, except for the first of them."""
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


def long_probes(config: Any, longest: int | None, row_tokens: int) -> list[TrainingExample]:
    """Sequences beyond every length that the config names, and shorter ones; none if not needed.

    All but the longest are padded where a row is padded.


    Args:
        longest: tokens of the longest sequence of the training; None: of any length.
        row_tokens: maximum tokens of a forward pass.
    """
    settings = config.to_dict()
    places = settings.get("max_position_embeddings")
    limits = [limit for limit in (longest, places) if isinstance(limit, int) and limit > 0]
    named = max(named_lengths(settings), default=0) + MARGIN
    length = min([named, *limits])
    if length <= PROMPT:
        return []
    rng = np.random.default_rng(1)
    tokens = _common_tokens(config, rng)
    num = 1 if length == named else max(1, min(named, row_tokens) // length)
    lengths = [*[length] * num, length - MARGIN // 2, THIRD]
    return [_probe(rng.choice(tokens, each), tokens, rng, 24).example for each in lengths]


def named_lengths(settings: Any, name: str = "") -> Iterator[int]:
    """Every number of tokens in a config after which a model may behave differently."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from named_lengths(value, str(key))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from named_lengths(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool) and settings > 0:
        if _LENGTH.search(name) and not _NO_LENGTH.search(name):
            yield settings


def _common_tokens(config: Any, rng: np.random.Generator) -> NDArray[np.int64]:
    """Tokens without a special meaning to the model, ascending."""
    special = {0, *_special_tokens(config.to_dict())}
    tokens = np.setdiff1d(np.arange(int(config.vocab_size)), np.array(sorted(special)))
    return np.sort(rng.choice(tokens, min(len(tokens), 256), replace=False))


def _special_tokens(settings: Any, name: str = "") -> Iterable[int]:
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from _special_tokens(value, str(key))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _special_tokens(value, name)
    elif isinstance(settings, int) and name.endswith(("token_id", "token_ids")):
        yield settings


def _probe(
    ids: NDArray[np.int64], own: NDArray[np.int64], rng: np.random.Generator, most: int | None = None
) -> Probe:
    """Two in five tokens are supervised, or about `most` of them, and the last."""
    share = 0.4 if most is None else min(0.4, most / len(ids))
    labels = np.where(rng.random(len(ids)) < share, ids, IGNORED_LABEL)
    labels[0], labels[-1] = IGNORED_LABEL, ids[-1]
    example = TrainingExample("probe", ids.astype(np.int32), labels.astype(np.int64))
    return Probe(example, own)


def examples_of(probes: Sequence[Probe]) -> list[TrainingExample]:
    return [probe.example for probe in probes]
