"""Barman: drinks are filled and cocktails are shaken with two hands."""

from __future__ import annotations

import random
from itertools import pairwise

from atlas.environments.planning.domain import PlanningDomain
from atlas.environments.planning.pddl import Fact, PuzzleProblem

PDDL = """
(define (domain barman)
  (:types hand level beverage dispenser container - object
    ingredient cocktail - beverage
    shot shaker - container)
  (:action grasp
    :parameters (?h - hand ?c - container)
    :precondition (and (handempty ?h) (ontable ?c))
    :effect (and (holding ?h ?c) (not (handempty ?h)) (not (ontable ?c))))
  (:action leave
    :parameters (?h - hand ?c - container)
    :precondition (holding ?h ?c)
    :effect (and (handempty ?h) (ontable ?c) (not (holding ?h ?c))))
  (:action fill-shot
    :parameters (?s - shot ?i - ingredient ?h ?other - hand ?d - dispenser)
    :precondition (and (dispenses ?d ?i) (holding ?h ?s) (handempty ?other) (empty ?s) (clean ?s))
    :effect (and (contains ?s ?i) (used ?s ?i) (not (empty ?s)) (not (clean ?s))))
  (:action refill-shot
    :parameters (?s - shot ?i - ingredient ?h ?other - hand ?d - dispenser)
    :precondition (and (dispenses ?d ?i) (holding ?h ?s) (handempty ?other) (empty ?s) (used ?s ?i))
    :effect (and (contains ?s ?i) (not (empty ?s))))
  (:action empty-shot
    :parameters (?h - hand ?s - shot ?b - beverage)
    :precondition (and (holding ?h ?s) (contains ?s ?b))
    :effect (and (empty ?s) (not (contains ?s ?b))))
  (:action clean-shot
    :parameters (?s - shot ?b - beverage ?h ?other - hand)
    :precondition (and (holding ?h ?s) (handempty ?other) (empty ?s) (used ?s ?b))
    :effect (and (clean ?s) (not (used ?s ?b))))
  (:action pour-shot-to-clean-shaker
    :parameters (?s - shot ?i - ingredient ?d - shaker ?h - hand ?l ?up - level)
    :precondition (and (next ?l ?up) (holding ?h ?s) (contains ?s ?i) (empty ?d) (clean ?d)
      (shaker-level ?d ?l))
    :effect (and (empty ?s) (contains ?d ?i) (unshaked ?d) (shaker-level ?d ?up)
      (not (contains ?s ?i)) (not (empty ?d)) (not (clean ?d)) (not (shaker-level ?d ?l))))
  (:action pour-shot-to-used-shaker
    :parameters (?s - shot ?i - ingredient ?d - shaker ?h - hand ?l ?up - level)
    :precondition (and (next ?l ?up) (holding ?h ?s) (contains ?s ?i) (unshaked ?d)
      (shaker-level ?d ?l))
    :effect (and (empty ?s) (contains ?d ?i) (shaker-level ?d ?up)
      (not (contains ?s ?i)) (not (shaker-level ?d ?l))))
  (:action empty-shaker
    :parameters (?h - hand ?d - shaker ?b - cocktail ?l ?zero - level)
    :precondition (and (shaker-empty-level ?d ?zero) (holding ?h ?d) (contains ?d ?b) (shaked ?d)
      (shaker-level ?d ?l))
    :effect (and (empty ?d) (shaker-level ?d ?zero)
      (not (shaked ?d)) (not (contains ?d ?b)) (not (shaker-level ?d ?l))))
  (:action clean-shaker
    :parameters (?h ?other - hand ?d - shaker)
    :precondition (and (holding ?h ?d) (handempty ?other) (empty ?d))
    :effect (clean ?d))
  (:action shake
    :parameters (?b - cocktail ?i1 ?i2 - ingredient ?d - shaker ?h ?other - hand)
    :precondition (and (cocktail-part1 ?b ?i1) (cocktail-part2 ?b ?i2) (holding ?h ?d)
      (handempty ?other) (contains ?d ?i1) (contains ?d ?i2) (unshaked ?d))
    :effect (and (shaked ?d) (contains ?d ?b)
      (not (unshaked ?d)) (not (contains ?d ?i1)) (not (contains ?d ?i2))))
  (:action pour-shaker-to-shot
    :parameters (?b - beverage ?s - shot ?h - hand ?d - shaker ?l ?down - level)
    :precondition (and (next ?down ?l) (holding ?h ?d) (shaked ?d) (contains ?d ?b) (empty ?s)
      (clean ?s) (shaker-level ?d ?l))
    :effect (and (contains ?s ?b) (shaker-level ?d ?down)
      (not (clean ?s)) (not (empty ?s)) (not (shaker-level ?d ?l)))))
"""
INGREDIENTS = ("rum", "gin", "lime", "mint", "cola", "tonic", "honey", "cream")
COCKTAILS = ("comet", "harbor", "ember", "meadow", "breeze", "velvet")
HANDS = ("left", "right")
LEVELS = ("l0", "l1", "l2")


def generate(rng: random.Random, is_large: bool) -> PuzzleProblem:
    """Glasses, ingredients and recipes; a large problem asks for two cocktails."""
    ingredients = sorted(rng.sample(INGREDIENTS, rng.randint(2, 3)))
    pairs = [(a, b) for a in ingredients for b in ingredients if a != b]
    num_cocktails = 2 if is_large else rng.randint(1, 2)
    cocktails = sorted(rng.sample(COCKTAILS, num_cocktails))
    recipes = dict(zip(cocktails, rng.sample(pairs, num_cocktails), strict=True))
    shots = [f"shot{number}" for number in range(1, rng.randint(3, 4) + 1)]
    facts = _start(rng, shots, ingredients, is_large)
    for cocktail, (first, second) in recipes.items():
        facts |= {("cocktail-part1", cocktail, first), ("cocktail-part2", cocktail, second)}
    drinks = [rng.choice(cocktails)] if rng.random() < 0.7 else []
    drinks += rng.sample(ingredients, 1 if drinks else 2)
    if is_large:
        drinks = cocktails
    served = rng.sample(shots, len(drinks))
    return PuzzleProblem(
        objects=(
            ("shaker1", "shaker"),
            *((hand, "hand") for hand in HANDS),
            *((level, "level") for level in LEVELS),
            *((shot, "shot") for shot in shots),
            *((one, "ingredient") for one in ingredients),
            *((one, "cocktail") for one in cocktails),
            *((f"{one}-dispenser", "dispenser") for one in ingredients),
        ),
        init=frozenset(facts),
        goal=tuple(
            ("contains", shot, drink) for shot, drink in sorted(zip(served, drinks, strict=True))
        ),
    )


def _start(
    rng: random.Random, shots: list[str], ingredients: list[str], is_large: bool
) -> set[Fact]:
    facts: set[Fact] = {("dispenses", f"{one}-dispenser", one) for one in ingredients}
    facts |= {("empty", "shaker1"), ("clean", "shaker1"), ("ontable", "shaker1")}
    facts |= {("shaker-empty-level", "shaker1", "l0"), ("shaker-level", "shaker1", "l0")}
    facts |= {("next", low, high) for low, high in pairwise(LEVELS)}
    held = None if is_large or rng.random() < 0.5 else rng.choice(shots)
    hand = rng.choice(HANDS)
    for shot in shots:
        state = "clean" if is_large else rng.choice(("clean", "clean", "used", "full"))
        drink = rng.choice(ingredients)
        facts.add(("clean", shot) if state == "clean" else ("used", shot, drink))
        facts.add(("contains", shot, drink) if state == "full" else ("empty", shot))
        facts.add(("holding", hand, shot) if shot == held else ("ontable", shot))
    return facts | {("handempty", one) for one in HANDS if held is None or one != hand}


BARMAN = PlanningDomain(
    name="barman",
    pddl=PDDL,
    about=(
        "You serve drinks with two hands. A shot glass is filled from a dispenser while the other "
        "hand is empty; it must be clean, or have held the same ingredient before. For a cocktail, "
        "pour its two ingredients into the shaker, shake it with the other hand empty, and pour it "
        "into a clean shot glass. Emptied glasses and shakers can be cleaned."
    ),
    facts={
        "ontable": "{0} is on the table",
        "holding": "your {0} hand holds {1}",
        "handempty": "your {0} hand is empty",
        "empty": "{0} is empty",
        "contains": "{0} contains {1}",
        "clean": "{0} is clean",
        "used": "{0} was used for {1}",
        "dispenses": "{0} dispenses {1}",
        "shaker-empty-level": "{0} is empty at level {1}",
        "shaker-level": "{0} is at level {1}",
        "next": "level {1} is above level {0}",
        "unshaked": "{0} is not shaken yet",
        "shaked": "{0} is shaken",
        "cocktail-part1": "the first part of {0} is {1}",
        "cocktail-part2": "the second part of {0} is {1}",
    },
    # What follows from the other words, such as the level of the shaker, is left out.
    actions={
        "grasp": "grasp {1} with {0}",
        "leave": "leave {1} with {0}",
        "fill-shot": "fill {0} with {1} from {4} using {2}",
        "refill-shot": "fill {0} with {1} from {4} using {2}",
        "empty-shot": "empty {1} using {0}",
        "clean-shot": "clean {0} using {2}",
        "pour-shot-to-clean-shaker": "pour {0} into {2} using {3}",
        "pour-shot-to-used-shaker": "pour {0} into {2} using {3}",
        "empty-shaker": "empty {1} using {0}",
        "clean-shaker": "clean {2} using {0}",
        "shake": "shake {0} in {3} using {4}",
        "pour-shaker-to-shot": "pour {3} into {1} using {2}",
    },
    says_changes=True,
    generate=generate,
)
