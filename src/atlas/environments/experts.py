"""What experts share: settings, random streams with names, phrases, and turns in ReAct text."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

from pydantic import Field

from atlas.config import Config
from atlas.environments.base import ExpertTurn
from atlas.environments.react import react_message
from atlas.records import Annotation, CriticalKind


class ExpertConfig(Config):
    """How an expert plays. Collected data names these settings as its source."""

    detour_rate: float = Field(
        default=0.1, ge=0, le=1, description="probability per step that the expert makes a detour"
    )
    mistake_rate: float = Field(
        default=0.1, ge=0, le=1, description="probability per step that the expert makes a mistake"
    )


def stream(*names: str | int) -> random.Random:
    """A random generator for one purpose: `stream("expert", task.id, seed)`.

    Different names give independent numbers. An expert that shared the task's generator would guess
    what the task hides.
    """
    digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def draw_slips(rng: random.Random, config: ExpertConfig) -> tuple[bool, bool]:
    """Whether this step is to be a detour, and whether it is to be a mistake.

    Both numbers are drawn at each step, so that one rate does not change the draws of the other.
    """
    return rng.random() < config.detour_rate, rng.random() < config.mistake_rate


def say(rng: random.Random, phrases: Sequence[str], **words: str) -> str:
    """One of the phrases with its words filled in; `{Noun}` is the capitalized `{noun}`."""
    capitals = {key.capitalize(): value[:1].upper() + value[1:] for key, value in words.items()}
    return rng.choice(phrases).format(**words, **capitals)


def react_turn(
    thought: str, action: str, kinds: Sequence[CriticalKind] = (), score: float = 0.0
) -> ExpertTurn:
    """A turn in ReAct text, with the labels of its step."""
    return ExpertTurn(react_message(thought, action), Annotation(kinds=tuple(kinds), score=score))
