"""What a kind of puzzle consists of: its rules in PDDL, its words, and a generator of problems."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atlas.environments.planning.pddl import PuzzleProblem


@dataclass(frozen=True, slots=True)
class PlanningDomain:
    """A kind of puzzle.

    Attributes:
        pddl: the rules.
        about: what the world is and what limits its actions, for the first observation.
        facts: predicate -> sentence, in which `{0}` is the first object.
        actions: name of an action -> short English, in which `{0}` is the first parameter.
        says_changes: after an action, only new facts are said; `look around` says all.
        generate: a random problem; the flag asks for a large one.
    """

    name: str
    pddl: str
    about: str
    facts: Mapping[str, str]
    actions: Mapping[str, str]
    says_changes: bool
    generate: Callable[[random.Random, bool], PuzzleProblem]
