"""Blockworld: an arm builds towers of blocks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from atlas.environments.planning.domain import PlanningDomain
from atlas.environments.planning.pddl import Fact, PuzzleProblem

PDDL = """
(define (domain blockworld)
  (:types block)
  (:action pickup
    :parameters (?b - block)
    :precondition (and (on-table ?b) (clear ?b) (arm-empty))
    :effect (and (holding ?b) (not (on-table ?b)) (not (clear ?b)) (not (arm-empty))))
  (:action putdown
    :parameters (?b - block)
    :precondition (holding ?b)
    :effect (and (on-table ?b) (clear ?b) (arm-empty) (not (holding ?b))))
  (:action stack
    :parameters (?b ?under - block)
    :precondition (and (holding ?b) (clear ?under))
    :effect (and (on ?b ?under) (clear ?b) (arm-empty) (not (holding ?b)) (not (clear ?under))))
  (:action unstack
    :parameters (?b ?under - block)
    :precondition (and (on ?b ?under) (clear ?b) (arm-empty))
    :effect (and (holding ?b) (clear ?under) (not (on ?b ?under)) (not (clear ?b))
      (not (arm-empty)))))
"""


def generate(rng: random.Random, is_large: bool) -> PuzzleProblem:
    """Towers of blocks, and other towers of the same blocks as the goal."""
    numbers = rng.sample(range(1, 10), rng.randint(6, 7) if is_large else rng.randint(3, 5))
    blocks = [f"b{number}" for number in sorted(numbers)]
    start = _towers(rng, blocks)
    facts: set[Fact] = {("arm-empty",)}
    for tower in start:
        facts |= {("on-table", tower[0]), ("clear", tower[-1]), *_stacked(tower)}
    wanted = [fact for tower in _towers(rng, blocks) for fact in _stacked(tower)]
    return PuzzleProblem(
        objects=tuple((block, "block") for block in blocks),
        init=frozenset(facts),
        # A goal without a tower would be empty; then the first block goes onto the last.
        goal=tuple(wanted) or (("on", blocks[0], blocks[-1]),),
    )


def _towers(rng: random.Random, blocks: Sequence[str]) -> list[list[str]]:
    """The blocks in towers, each from the bottom up."""
    towers: list[list[str]] = []
    for block in rng.sample(blocks, len(blocks)):
        # A block starts a new tower less often the more towers there are.
        if rng.random() < 1 / (1 + len(towers)):
            towers.append([block])
        else:
            rng.choice(towers).append(block)
    return towers


def _stacked(tower: Sequence[str]) -> Iterator[Fact]:
    return (("on", upper, lower) for lower, upper in pairwise(tower))


BLOCKWORLD = PlanningDomain(
    name="blockworld",
    pddl=PDDL,
    about=(
        "You move blocks with one arm, which holds one block at a time. A block can be taken only "
        "if nothing is on it, and put only onto the table or onto a block that is clear."
    ),
    facts={
        "on": "{0} is on {1}",
        "on-table": "{0} is on the table",
        "clear": "{0} is clear",
        "holding": "you hold {0}",
        "arm-empty": "your arm is empty",
    },
    actions={
        "pickup": "pick up {0} from the table",
        "putdown": "put down {0} on the table",
        "stack": "stack {0} on {1}",
        "unstack": "unstack {0} from {1}",
    },
    says_changes=False,
    generate=generate,
)
