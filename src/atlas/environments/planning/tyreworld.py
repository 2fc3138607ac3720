"""Tyreworld: flat tires are replaced, with tools that lie in the boot of a car."""

from __future__ import annotations

import random

from atlas.environments.planning.domain import PlanningDomain
from atlas.environments.planning.pddl import Fact, PuzzleProblem, Typed

PDDL = """
(define (domain tyreworld)
  (:types thing container hub - object
    tool wheel nut - thing)
  (:constants wrench jack pump - tool)
  (:action open
    :parameters (?c - container)
    :precondition (and (closed ?c) (unlocked ?c))
    :effect (and (isopen ?c) (not (closed ?c))))
  (:action close
    :parameters (?c - container)
    :precondition (isopen ?c)
    :effect (and (closed ?c) (not (isopen ?c))))
  (:action fetch
    :parameters (?t - thing ?c - container)
    :precondition (and (isopen ?c) (in ?t ?c))
    :effect (and (have ?t) (not (in ?t ?c))))
  (:action put-away
    :parameters (?t - thing ?c - container)
    :precondition (and (isopen ?c) (have ?t))
    :effect (and (in ?t ?c) (not (have ?t))))
  (:action loosen
    :parameters (?n - nut ?h - hub)
    :precondition (and (have wrench) (on-ground ?h) (tight ?n ?h))
    :effect (and (loose ?n ?h) (not (tight ?n ?h))))
  (:action tighten
    :parameters (?n - nut ?h - hub)
    :precondition (and (have wrench) (on-ground ?h) (loose ?n ?h))
    :effect (and (tight ?n ?h) (not (loose ?n ?h))))
  (:action jack-up
    :parameters (?h - hub)
    :precondition (and (have jack) (on-ground ?h))
    :effect (and (not-on-ground ?h) (not (on-ground ?h)) (not (have jack))))
  (:action jack-down
    :parameters (?h - hub)
    :precondition (not-on-ground ?h)
    :effect (and (on-ground ?h) (have jack) (not (not-on-ground ?h))))
  (:action undo
    :parameters (?n - nut ?h - hub)
    :precondition (and (have wrench) (not-on-ground ?h) (fastened ?h) (loose ?n ?h))
    :effect (and (have ?n) (unfastened ?h) (not (fastened ?h)) (not (loose ?n ?h))))
  (:action do-up
    :parameters (?n - nut ?h - hub)
    :precondition (and (have wrench) (have ?n) (not-on-ground ?h) (unfastened ?h))
    :effect (and (fastened ?h) (loose ?n ?h) (not (unfastened ?h)) (not (have ?n))))
  (:action remove-wheel
    :parameters (?w - wheel ?h - hub)
    :precondition (and (not-on-ground ?h) (unfastened ?h) (on ?w ?h))
    :effect (and (have ?w) (free ?h) (not (on ?w ?h))))
  (:action put-on-wheel
    :parameters (?w - wheel ?h - hub)
    :precondition (and (have ?w) (not-on-ground ?h) (unfastened ?h) (free ?h))
    :effect (and (on ?w ?h) (not (free ?h)) (not (have ?w))))
  (:action inflate
    :parameters (?w - wheel)
    :precondition (and (have pump) (intact ?w) (not-inflated ?w))
    :effect (and (inflated ?w) (not (not-inflated ?w)))))
"""
TOOLS = ("wrench", "jack", "pump")
SIDES = ("front-left", "front-right", "rear-left", "rear-right")
# How far the change of a wheel has come at the start of a small problem.
STAGES = 5


def generate(rng: random.Random, is_large: bool) -> PuzzleProblem:
    """One flat tire in any stage of its replacement, or two of which nuts may be loose."""
    facts: set[Fact] = {("unlocked", "boot"), (rng.choice(("isopen", "closed")), "boot")}
    objects: list[Typed] = [("boot", "container")]
    wanted: list[Fact] = []
    is_jack_used = False
    for side in rng.sample(SIDES, 2 if is_large else 1):
        hub, nut, flat, spare = f"{side}-hub", f"{side}-nut", f"{side}-wheel", f"{side}-spare"
        objects += [(hub, "hub"), (nut, "nut"), (flat, "wheel"), (spare, "wheel")]
        stage = rng.randrange(2 if is_large else STAGES)
        is_jack_used = is_jack_used or stage >= 2
        facts |= _stage(stage, hub, nut, flat)
        facts |= {("intact", spare), (rng.choice(("inflated", "not-inflated")), spare)}
        facts.add(("in", spare, "boot") if rng.random() < 0.7 else ("have", spare))
        wanted += [("on", spare, hub), ("inflated", spare), ("tight", nut, hub)]
        if not is_large:
            wanted.append(("in", flat, "boot"))
    for tool in TOOLS:
        if tool != "jack" or not is_jack_used:
            facts.add(("in", tool, "boot") if rng.random() < 0.7 else ("have", tool))
    if not is_large:
        wanted += [("in", tool, "boot") for tool in TOOLS]
        open_goals = [fact for fact in wanted if fact not in facts]
        wanted = sorted(rng.sample(open_goals, rng.randint(2, min(4, len(open_goals)))))
    return PuzzleProblem(objects=tuple(objects), init=frozenset(facts), goal=tuple(wanted))


def _stage(stage: int, hub: str, nut: str, flat: str) -> set[Fact]:
    """The facts of a hub: untouched, loosened, jacked up, without its nut, without its wheel."""
    return {
        ("on-ground" if stage < 2 else "not-on-ground", hub),
        ("fastened" if stage < 3 else "unfastened", hub),
        ("tight", nut, hub) if stage == 0 else ("loose", nut, hub) if stage < 3 else ("have", nut),
        *([("on", flat, hub)] if stage < 4 else [("have", flat), ("free", hub)]),
    }


TYREWORLD = PlanningDomain(
    name="tyreworld",
    pddl=PDDL,
    about=(
        "You change wheels of a car. Things are fetched from an open boot. With the wrench, nuts "
        "are loosened and tightened on the ground, and undone and done up when the hub is jacked "
        "up. A wheel comes off a hub that is jacked up and unfastened. The pump inflates intact "
        "wheels."
    ),
    facts={
        "isopen": "{0} is open",
        "closed": "{0} is closed",
        "unlocked": "{0} is unlocked",
        "have": "you have {0}",
        "in": "{0} is in {1}",
        "loose": "{0} is loose on {1}",
        "tight": "{0} is tight on {1}",
        "on-ground": "{0} is on the ground",
        "not-on-ground": "{0} is jacked up",
        "inflated": "{0} is inflated",
        "not-inflated": "{0} is not inflated",
        "fastened": "{0} is fastened",
        "unfastened": "{0} is unfastened",
        "free": "{0} has no wheel",
        "on": "{0} is on {1}",
        "intact": "{0} is intact",
    },
    actions={
        "open": "open {0}",
        "close": "close {0}",
        "fetch": "fetch {0} from {1}",
        "put-away": "put {0} into {1}",
        "loosen": "loosen {0} on {1}",
        "tighten": "tighten {0} on {1}",
        "jack-up": "jack up {0}",
        "jack-down": "jack down {0}",
        "undo": "undo {0} on {1}",
        "do-up": "do up {0} on {1}",
        "remove-wheel": "remove {0} from {1}",
        "put-on-wheel": "put {0} on {1}",
        "inflate": "inflate {0}",
    },
    says_changes=True,
    generate=generate,
)
