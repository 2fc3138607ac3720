"""A planner: puzzle + state -> actions that reach the goal.

Best-first search with the heuristic of FF (Hoffmann and Nebel 2001): the length of a plan that
ignores what actions remove. Where it finds no plan in time, the facts of the goal are reached one
after the other, each without losing the earlier ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import islice, permutations

from atlas.environments.planning.grounding import GroundAction, Puzzle, ones

# States that one search may visit before the goal is divided, and then for each part.
MAX_STATES = 300
MAX_PART_STATES = 1_000
MAX_ORDERS = 24
# Longer plans are searched for a second time.
LONG = 20
# How much more the heuristic counts than the steps made so far. A part of the goal is searched with
# more patience: with 5, 2 of the 20 barman problems of AgentBoard were not solved.
WEIGHT = 5
PART_WEIGHT = 2


class Planner:
    """Plans for one puzzle, from any of its states."""

    def __init__(self, puzzle: Puzzle) -> None:
        self._puzzle = puzzle
        self._needed = [tuple(ones(action.needs)) for action in puzzle.actions]
        self._added = [tuple(ones(action.adds)) for action in puzzle.actions]
        # For each fact, the actions that need it.
        self._users: list[list[int]] = [[] for _ in puzzle.facts]
        for index, needed in enumerate(self._needed):
            for fact in needed:
                self._users[fact].append(index)

    def plan(self, state: int) -> list[GroundAction] | None:
        """Actions that lead from `state` to the goal; None if none were found."""
        goal = self._puzzle.goal
        plan = self._search(state, goal, MAX_STATES, WEIGHT)
        if plan is None:
            plan = self._plan_in_parts(state)
        elif len(plan) > LONG:
            # A more patient search, or a divided one, often finds a shorter plan.
            patient = self._search(state, goal, MAX_STATES, PART_WEIGHT)
            divided = self._plan_in_parts(state)
            plan = min(plan, patient or plan, divided or plan, key=len)
        return None if plan is None else self._without_detours(state, plan)

    def _plan_in_parts(self, state: int) -> list[GroundAction] | None:
        goals = sorted(self._puzzle.goals, key=lambda goal: self._estimate(state, goal)[0] or 0)
        for order in islice(permutations(goals), MAX_ORDERS):
            plan: list[GroundAction] = []
            now, wanted = state, 0
            for goal in order:
                wanted |= goal
                part = self._search(now, wanted, MAX_PART_STATES, PART_WEIGHT)
                if part is None:
                    break
                plan += part
                now = after(now, part)
            else:
                return plan
        return None

    def _without_detours(self, state: int, plan: Sequence[GroundAction]) -> list[GroundAction]:
        """The plan without actions, and pairs of actions, that it also works without."""
        best = list(plan)
        index = 0
        while index < len(best):
            for other in (index, *range(index + 1, len(best))):
                shorter = [a for place, a in enumerate(best) if place not in (index, other)]
                if self._works(state, shorter):
                    best = shorter
                    break
            else:
                index += 1
        return best

    def _works(self, state: int, plan: Sequence[GroundAction]) -> bool:
        for action in plan:
            if not action.is_possible(state):
                return False
            state = action.apply(state)
        return self._puzzle.is_solved(state)

    def _search(
        self, start: int, goal: int, max_states: int, weight: int
    ) -> list[GroundAction] | None:
        estimate, helpful = self._estimate(start, goal)
        if estimate is None:
            return None
        # Each entry: the rank, a counter that keeps the order, the state, and the helpful actions.
        queue = [(weight * estimate, 0, start, helpful)]
        came_from: dict[int, tuple[int, GroundAction] | None] = {start: None}
        num_steps = {start: 0}
        count = 0
        for _ in range(max_states):
            if not queue:
                return None
            _, _, state, helpful = heapq.heappop(queue)
            if goal & ~state == 0:
                return list(_path(came_from, state))
            steps = num_steps[state] + 1
            for index, action in enumerate(self._puzzle.actions):
                if action.needs & ~state:
                    continue
                following = action.apply(state)
                if num_steps.get(following, steps + 1) <= steps:
                    continue
                estimate, helpful_next = self._estimate(following, goal)
                if estimate is None:
                    continue
                num_steps[following], came_from[following] = steps, (state, action)
                count += 1
                rank = steps + weight * estimate - (index in helpful)
                heapq.heappush(queue, (rank, count, following, helpful_next))
        return None

    def _estimate(self, state: int, goal: int) -> tuple[int | None, frozenset[int]]:
        """The length of a plan that ignores removals, and its actions that are possible now.

        The length is None if the goal cannot be reached.
        """
        chosen = self._reach(state, goal)
        if chosen is None:
            return None, frozenset()
        plan: set[int] = set()
        seen = state
        wanted = list(ones(goal & ~state))
        while wanted:
            fact = wanted.pop()
            if seen >> fact & 1:
                continue
            seen |= 1 << fact
            plan.add(chosen[fact])
            wanted += self._needed[chosen[fact]]
        actions = self._puzzle.actions
        return len(plan), frozenset(i for i in plan if not actions[i].needs & ~state)

    def _reach(self, state: int, goal: int) -> dict[int, int] | None:
        """For each fact the action that reaches it at the lowest price, removals ignored.

        None if the goal cannot be reached.
        """
        missing = goal & ~state
        chosen: dict[int, int] = {}
        cost = [-1] * len(self._users)
        open_needs = [len(needed) for needed in self._needed]
        costs_of_needs = [0] * len(open_needs)
        queue: list[tuple[int, int]] = []
        for fact in ones(state):
            cost[fact] = 0
            queue.append((0, fact))
        for index, needed in enumerate(self._needed):
            if not needed:
                self._offer(index, 1, cost, chosen, queue)
        done = 0
        while queue and missing & ~done:
            price, fact = heapq.heappop(queue)
            if done >> fact & 1:
                continue
            done |= 1 << fact
            for index in self._users[fact]:
                open_needs[index] -= 1
                costs_of_needs[index] += price
                if not open_needs[index]:
                    self._offer(index, costs_of_needs[index] + 1, cost, chosen, queue)
        return None if missing & ~done else chosen

    def _offer(
        self,
        index: int,
        price: int,
        cost: list[int],
        chosen: dict[int, int],
        queue: list[tuple[int, int]],
    ) -> None:
        """Note that an action reaches its facts at this price, where that is the lowest so far."""
        for fact in self._added[index]:
            if cost[fact] < 0 or price < cost[fact]:
                cost[fact] = price
                chosen[fact] = index
                heapq.heappush(queue, (price, fact))


def after(state: int, plan: Sequence[GroundAction]) -> int:
    """The state after a plan."""
    for action in plan:
        state = action.apply(state)
    return state


def _path(
    came_from: dict[int, tuple[int, GroundAction] | None], state: int
) -> Iterator[GroundAction]:
    actions = []
    while (step := came_from[state]) is not None:
        state, action = step
        actions.append(action)
    return reversed(actions)
