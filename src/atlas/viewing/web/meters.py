"""What measures tokens for the page of tokens; the command line hands it in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atlas.rendering.measured_tokens import Meter

# Model and objective (empty: none) -> what measures tokens.
LoadMeter = Callable[[str, str], Meter]


@dataclass(frozen=True, slots=True)
class Meters:
    """How to load a meter, and the names of the objectives that one may have."""

    load: LoadMeter
    objectives: tuple[str, ...] = ()


def load_plain_meter(model: str, objective: str) -> Meter:
    """A meter of losses; torch is imported here.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from atlas.models.local.log_probabilities import load_scorer

    return load_scorer(model).measure


PLAIN_METERS = Meters(load_plain_meter)
