"""A puzzle with all its possible actions: domain + problem -> `Puzzle`.

A state is an integer with one bit for each fact, so that actions are bit operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from atlas.environments.planning.pddl import ActionSchema, Domain, Fact, PuzzleProblem, Typed
from atlas.errors import DataError

MAX_ACTIONS = 100_000


@dataclass(frozen=True, slots=True)
class GroundAction:
    """An action on certain objects. `needs`, `adds` and `removes` are sets of facts as bits."""

    name: str
    objects: tuple[str, ...]
    needs: int
    adds: int
    removes: int

    def is_possible(self, state: int) -> bool:
        """Whether the action can be carried out."""
        return self.needs & ~state == 0

    def apply(self, state: int) -> int:
        """The next state."""
        return (state & ~self.removes) | self.adds


class Puzzle:
    """One problem, grounded. Bit `i` of a state stands for `facts[i]`."""

    def __init__(self, domain: Domain, problem: PuzzleProblem) -> None:
        self.facts: list[Fact] = []
        self._bit_of: dict[Fact, int] = {}
        self.init = self.bits(sorted(problem.init))
        self.goals = tuple(self.bits([fact]) for fact in problem.goal)
        self.goal = self.bits(problem.goal)
        self.actions = tuple(self._ground(domain, problem))

    def bits(self, facts: Iterable[Fact]) -> int:
        """A set of facts as an integer."""
        state = 0
        for fact in facts:
            if fact not in self._bit_of:
                self._bit_of[fact] = len(self.facts)
                self.facts.append(fact)
            state |= 1 << self._bit_of[fact]
        return state

    def facts_of(self, state: int) -> list[Fact]:
        """The facts that hold in a state, in the order of their bits."""
        return [self.facts[index] for index in ones(state)]

    def possible(self, state: int) -> list[GroundAction]:
        """The actions that can be carried out."""
        return [action for action in self.actions if action.needs & ~state == 0]

    def num_reached(self, state: int) -> int:
        """How many facts of the goal hold."""
        return (state & self.goal).bit_count()

    def is_solved(self, state: int) -> bool:
        """Whether the whole goal holds."""
        return self.goal & ~state == 0

    def _ground(self, domain: Domain, problem: PuzzleProblem) -> Iterator[GroundAction]:
        objects = dict((*domain.constants, *problem.objects))
        for fact in problem.goal:
            if unknown := [name for name in fact[1:] if name not in objects]:
                goal = f"the goal ({' '.join(fact)}) names '{unknown[0]}'"
                raise DataError(f"domain '{domain.name}': {goal}, which is not an object.")
        changing = {
            fact[0] for schema in domain.schemas for fact in (*schema.added, *schema.removed)
        }
        num_actions = 0
        for schema in domain.schemas:
            for binding in _bindings(domain, schema, tuple(objects.items()), problem, changing):
                action = self._bind(schema, binding)
                # Such as moving from a room to the same room.
                has_effect = action.adds & ~action.needs or action.removes & action.needs
                if has_effect:
                    num_actions += 1
                    yield action
                if num_actions > MAX_ACTIONS:
                    limit = f"more than {MAX_ACTIONS:,} possible actions"
                    raise DataError(f"domain '{domain.name}': the problem has {limit}.")

    def _bind(self, schema: ActionSchema, binding: dict[str, str]) -> GroundAction:
        def bits(facts: Iterable[Fact]) -> int:
            return self.bits(_filled(fact, binding) for fact in facts)

        adds = bits(schema.added)
        return GroundAction(
            name=schema.name,
            objects=tuple(binding[name] for name, _ in schema.parameters),
            needs=bits(schema.condition),
            adds=adds,
            removes=bits(schema.removed) & ~adds,
        )


def ones(bits: int) -> Iterator[int]:
    """The positions of the ones in an integer."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def _filled(fact: Fact, binding: dict[str, str]) -> Fact:
    return (fact[0], *(binding.get(part, part) for part in fact[1:]))


def _bindings(
    domain: Domain,
    schema: ActionSchema,
    objects: tuple[Typed, ...],
    problem: PuzzleProblem,
    changing: set[str],
) -> Iterator[dict[str, str]]:
    """All ways to fill the parameters of an action, as far as facts that never change allow."""
    fixed = [fact for fact in schema.condition if fact[0] not in changing]
    variables = [name for name, _ in schema.parameters]
    known: list[set[str]] = [set(variables[: end + 1]) for end in range(len(variables))]
    # What can be checked as soon as a variable has its object.
    checks = [
        [
            fact
            for fact in fixed
            if variables[end] in fact[1:]
            and all(part in known[end] for part in fact[1:] if part.startswith("?"))
        ]
        for end in range(len(variables))
    ]

    def extend(binding: dict[str, str], index: int) -> Iterator[dict[str, str]]:
        if index == len(variables):
            yield dict(binding)
            return
        variable, wanted = schema.parameters[index]
        for name, kind in objects:
            if domain.is_a(kind, wanted):
                binding[variable] = name
                if all(_filled(fact, binding) in problem.init for fact in checks[index]):
                    yield from extend(binding, index + 1)
        binding.pop(variable, None)

    return extend({}, 0)
