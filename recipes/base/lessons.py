"""The corpus of a base model: for each world a number of lessons, all drawn from a seed.

A lesson is an exploring episode with the questions and requests at the places that it led to.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from importlib import import_module

from corpus import make_conversations
from worlds.common import Conversation

from atlas.environments.experts import stream

BABYAI = "babyai"
# World -> its module in `worlds`.
MODULES = {
    "maze": "mazes",
    "planning": "puzzles",
    "wordle": "guesses",
    "textcraft": "crafts",
    "sql": "tables",
    "textworld-express": "rooms",
    "babyai-agentgym": "agentgym_rooms",
}
PIECE = 500


def collect_corpus(lessons: Mapping[str, int], seed: int, processes: int) -> list[Conversation]:
    """All conversations, made in pieces of fixed size: the number of processes changes nothing."""
    pieces = [
        (world, min(PIECE, number - start), seed * 1_000 + start // PIECE)
        for world, number in lessons.items()
        for start in range(0, number, PIECE)
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.starmap(_piece, pieces, chunksize=1)
    return [conversation for part in parts for conversation in part]


def names_of(worlds: Mapping[str, int]) -> list[str]:
    """The names of things in the worlds, which the tokenizer keeps apart from other words."""
    found: dict[str, None] = {}
    for world in worlds:
        if world in MODULES:
            found |= dict.fromkeys(import_module(f"worlds.{MODULES[world]}").names())
    return [name for name in found if len(name) > 1]


def _piece(world: str, number: int, seed: int) -> list[Conversation]:
    return list(_conversations(world, number, seed))


def _conversations(world: str, number: int, seed: int) -> Iterator[Conversation]:
    if world == BABYAI:
        yield from make_conversations(number, seed)
        return
    lessons = import_module(f"worlds.{MODULES[world]}").lessons
    rng = stream("base", world, seed)
    for _ in range(number):
        yield from lessons(rng)
