"""Lessons of the planning puzzles: possible actions in any order, what holds, single actions.

In most episodes the goal is something that the random actions happened to bring about.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from atlas.environments.planning.config import PlanningConfig
from atlas.environments.planning.environment import PlanningEnvironment
from atlas.environments.planning.expert import (
    ASKS,
    FINISHES,
    PLANS,
    REACHES,
    SERVES,
    SHORT_PLANS,
    TOO_EARLY,
    TRIES_EARLY,
    TRIES_OTHER,
)
from atlas.environments.planning.gripper import HANDS, ROOMS
from atlas.environments.planning.grounding import GroundAction, Puzzle
from atlas.environments.planning.pddl import Fact, read_domain
from atlas.environments.planning.tasks import DOMAINS
from atlas.environments.planning.words import CHECK_ACTIONS, PuzzleWords, say_goal
from worlds.common import Conversation, any_phrase, ask, play, request

TOLD_END = 0.7
# What the goals of these puzzles are about.
GOAL_FACTS = {
    "gripper": ("at",),
    "blockworld": ("on",),
    "tyreworld": ("on", "tight", "inflated", "in", "isopen", "closed", "have", "loose"),
    "barman": ("contains", "holding", "clean", "ontable", "shaked", "used"),
}
SHARES = {"gripper": 4, "blockworld": 4, "tyreworld": 1, "barman": 1}


def names() -> tuple[str, ...]:
    """Rooms and hands."""
    return (*ROOMS, *HANDS, "table")


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One puzzle with random actions, and questions and requests on its way."""
    name = rng.choices(list(SHARES), list(SHARES.values()))[0]
    kind = DOMAINS[name]
    rules, problem = read_domain(kind.pddl, name), kind.generate(rng, False)
    puzzle = Puzzle(rules, problem)
    words = PuzzleWords(kind, rules, puzzle)
    is_told = rng.random() < TOLD_END
    walk = _walk(rng, puzzle, rng.randint(1, 6) if is_told else rng.randint(4, 9))
    goal: tuple[Fact, ...] = tuple(problem.goal)
    if is_told and (reached := _reached(puzzle, walk, GOAL_FACTS[name])):
        goal = tuple(rng.sample(reached, min(len(reached), rng.randint(1, 2))))
    told = _mine(say_goal(kind, goal))
    state, steps, sayings = puzzle.init, [], _Sayings(rng, words, puzzle, goal)
    seen = f"{words.rules()}\nGoal: {say_goal(kind, goal)}.\nState: {words.facts(state)}."
    for index, action in enumerate(walk):
        now = f"State: {words.facts(state)}."
        if rng.random() < 0.5:
            yield ask(now, *(_question(rng, puzzle, words, state) for _ in range(2)))
        if rng.random() < 0.4:
            possible = rng.choice(puzzle.possible(state))
            yield request(rng, now, words.action(possible))
        if rng.random() < 0.05:
            steps.append((seen, any_phrase(rng, ASKS), CHECK_ACTIONS))
            seen = f"You can: {'; '.join(words.possible(state))}."
        elif (early := _impossible(rng, puzzle, state)) is not None:
            text = words.action(early)
            steps.append((seen, any_phrase(rng, TRIES_EARLY, action=text), text))
            missing = words.facts(early.needs & ~state)
            seen = f"That is not possible now. These do not hold: {missing}."
            sayings.correction = any_phrase(rng, TOO_EARLY, fact=_mine(missing.split("; ")[0]))
        later = walk[index + 1] if index + 1 < len(walk) else None
        thought = sayings.thought(state, action, later, told, len(walk) - index, not index)
        steps.append((seen, thought, words.action(action)))
        before, state = state, action.apply(state)
        if all(fact in puzzle.facts_of(state) for fact in goal):
            break
        seen = f"State: {words.facts(state)}."
        if kind.says_changes:
            seen = f"Now: {words.facts(state & ~before)}."
    yield play(PlanningEnvironment(PlanningConfig()).prompt, steps)


class _Sayings:
    """Thoughts of the explorer: the expert's phrases about whatever it does."""

    def __init__(
        self, rng: random.Random, words: PuzzleWords, puzzle: Puzzle, goal: tuple[Fact, ...]
    ) -> None:
        self._rng, self._words, self._puzzle, self._goal = rng, words, puzzle, goal
        self.correction = ""

    def thought(
        self,
        state: int,
        action: GroundAction,
        later: GroundAction | None,
        told: str,
        count: int,
        is_first: bool,
    ) -> str:
        rng, text = self._rng, self._words.action(action)
        new = self._puzzle.facts_of(action.adds & ~state)
        facts = {"fact": _mine(self._words.fact(new[0])) if new else "it holds", "action": text}
        kinds: list[tuple[str, ...]] = [TRIES_OTHER, REACHES]
        if later is not None:
            kinds += [SERVES, SERVES]
            facts["later"] = self._words.action(later)
        if new and set(new) & set(self._goal):
            kinds = [REACHES] if later is not None else [FINISHES]
        if is_first and rng.random() < 0.8:
            kinds = [PLANS] if count > 1 else [SHORT_PLANS]
            facts |= {"goals": told.replace("; ", ", then "), "count": str(count)}
        sentence = any_phrase(rng, rng.choice(kinds), **facts)
        before, self.correction = self.correction, ""
        return f"{before} {sentence}".strip()


def _walk(rng: random.Random, puzzle: Puzzle, length: int) -> list[GroundAction]:
    """Random possible actions that lead to states not seen before, where there are some."""
    state, walk = puzzle.init, list[GroundAction]()
    known = {state}
    while len(walk) < length and (possible := puzzle.possible(state)):
        new = [action for action in possible if action.apply(state) not in known]
        action = rng.choice(new or possible)
        state = action.apply(state)
        known.add(state)
        walk.append(action)
    return walk


def _reached(puzzle: Puzzle, walk: list[GroundAction], about: tuple[str, ...]) -> list[Fact]:
    state = puzzle.init
    for action in walk:
        state = action.apply(state)
    return [fact for fact in puzzle.facts_of(state & ~puzzle.init) if fact[0] in about]


def _impossible(rng: random.Random, puzzle: Puzzle, state: int) -> GroundAction | None:
    if rng.random() > 0.05:
        return None
    action = rng.choice(puzzle.actions)
    return None if action.is_possible(state) else action


def _question(
    rng: random.Random, puzzle: Puzzle, words: PuzzleWords, state: int
) -> tuple[str, str]:
    facts = puzzle.facts_of(state)
    fact = rng.choice([one for one in facts if len(one) > 1])
    thing = fact[1]
    about = "; ".join(words.fact(one) for one in facts if thing in one[1:])
    said = words.fact(fact)
    possible = rng.choice(puzzle.actions)
    return rng.choice(
        (
            (f"What do you know of {thing}?", about),
            (f"What do you know of {thing}?", about),
            (f"Is it so that {said}?", "yes"),
            (
                f"Can you {words.action(possible)}?",
                "yes"
                if possible.is_possible(state)
                else f"no, these do not hold: {words.facts(possible.needs & ~state)}",
            ),
        )
    )


def _mine(text: str) -> str:
    """A fact in the first person."""
    for told, own in (("your", "my"), ("you are", "I am"), ("you", "I")):
        text = " ".join(text.split()).replace(f"{told} ", f"{own} ")
    return text
