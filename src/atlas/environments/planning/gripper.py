"""Gripper: a robot with two grippers carries balls between rooms."""

from __future__ import annotations

import random

from atlas.environments.planning.domain import PlanningDomain
from atlas.environments.planning.pddl import Fact, PuzzleProblem

PDDL = """
(define (domain gripper)
  (:types room ball gripper)
  (:action move
    :parameters (?from ?to - room)
    :precondition (at-robby ?from)
    :effect (and (at-robby ?to) (not (at-robby ?from))))
  (:action pick
    :parameters (?ball - ball ?room - room ?hand - gripper)
    :precondition (and (at ?ball ?room) (at-robby ?room) (free ?hand))
    :effect (and (carry ?ball ?hand) (not (at ?ball ?room)) (not (free ?hand))))
  (:action drop
    :parameters (?ball - ball ?room - room ?hand - gripper)
    :precondition (and (carry ?ball ?hand) (at-robby ?room))
    :effect (and (at ?ball ?room) (free ?hand) (not (carry ?ball ?hand)))))
"""
ROOMS = ("hall", "kitchen", "attic", "cellar", "studio", "garage", "library", "porch")
HANDS = ("left", "right")


def generate(rng: random.Random, is_large: bool) -> PuzzleProblem:
    """Balls in rooms, and a room for each ball that has to move."""
    rooms = rng.sample(ROOMS, rng.randint(3, 4) if is_large else rng.randint(2, 3))
    numbers = rng.sample(range(1, 10), rng.randint(5, 6) if is_large else rng.randint(2, 4))
    balls = [f"ball{number}" for number in sorted(numbers)]
    places = {ball: rng.choice(rooms) for ball in balls}
    # Small problems may leave a ball where it is.
    moved = balls if is_large else sorted(rng.sample(balls, rng.randint(2, len(balls))))
    goal = tuple(
        ("at", ball, rng.choice([room for room in rooms if room != places[ball]])) for ball in moved
    )
    facts: set[Fact] = {("at-robby", rng.choice(rooms)), *(("free", hand) for hand in HANDS)}
    facts |= {("at", ball, room) for ball, room in places.items()}
    return PuzzleProblem(
        objects=(
            *((room, "room") for room in rooms),
            *((ball, "ball") for ball in balls),
            *((hand, "gripper") for hand in HANDS),
        ),
        init=frozenset(facts),
        goal=goal,
    )


GRIPPER = PlanningDomain(
    name="gripper",
    pddl=PDDL,
    about=(
        "You are a robot with two grippers. Each gripper carries one ball. You can pick up and "
        "drop balls only in the room where you are."
    ),
    facts={
        "at-robby": "you are in {0}",
        "at": "{0} is in {1}",
        "free": "gripper {0} is free",
        "carry": "gripper {1} holds {0}",
        "room": "{0} is a room",
        "ball": "{0} is a ball",
        "gripper": "{0} is a gripper",
    },
    actions={
        "move": "move from {0} to {1}",
        "pick": "pick up {0} in {1} with {2}",
        "drop": "drop {0} in {1} with {2}",
    },
    says_changes=False,
    generate=generate,
)
