"""The expert of TextCraft: each turn it plans over the listed commands, from what it holds.

It knows the commands that are listed, what it holds, and which items belong to a kind such as
planks. A step is labeled where its plan or what it can do changed: a plan with several commands,
the first crafting of a thing that takes crafted parts, what a refusal told, the return from a slip,
and the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.paper.textcraft.planner import Act, RecipePlanner
from atlas.environments.paper.textcraft.recipes import name_of
from atlas.records import CriticalKind

PLANS = (
    "To craft {goal} I need {parts}. My plan: {acts}.",
    "{Goal} takes {parts}, so I will {acts}.",
    "I work back from {goal}: it needs {parts}. Steps: {acts}.",
)
GETS = (
    "I still need {item}, so I get it.",
    "No command makes {item}; I get {count}.",
    "Next I get {count} {item}.",
)
CRAFTS = (
    "I have all that {item} takes, so I craft it.",
    "Now the parts for {item} are complete.",
    "With these I can craft {item}.",
)
AGAIN = ("One more of the same: {item}.", "I need more {item}.", "That is not enough {item} yet.")
FINAL = (
    "Everything for {item} is here. Crafting it reaches the goal.",
    "This is the last step: {item}.",
    "All parts are in my inventory, so I craft the goal, {item}.",
)
LOOKS = ("I check what I have.", "Let me see my inventory first.")
USELESS = (
    "{Item} may be of use, I take some.",
    "One of the commands needs {item}, so I get it.",
)
TOO_EARLY = ("I try to craft {item} right away.", "Perhaps I can already craft {item}.")
NOT_FOUND = ("I try to find {item}.", "Perhaps {item} can be had without crafting.")
CORRECTIONS = {
    "useless": (
        "{Wrong} is not a part of {goal}; back to the plan.",
        "The commands for {goal} do not use {wrong}. That was a detour.",
    ),
    "early": (
        "I do not hold all parts of {wrong} yet; first the rest.",
        "That was too early, something for {wrong} is missing.",
    ),
    "missing": (
        "{Wrong} cannot be found, it has to be crafted.",
        "There is no {wrong} to get, so I make it by its command.",
    ),
}
MAX_ACTS = 4
# Turns that must be left beyond the plan for a slip.
RESERVE_TURNS = 2


class PlayedTextCraft(Protocol):
    """What the expert needs of the environment."""

    game: Any
    commands: str
    goal: str
    num_turns: int
    max_steps: int
    task_id: str


class TextCraftExpert:
    """Plays the episode that was just reset."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, environment: PlayedTextCraft, seed: int) -> None:
        self._config = config
        self._environment = environment
        self._rng = stream("expert", environment.task_id, seed)
        self._planner = RecipePlanner(environment.commands)
        self._crafted: set[str] = set()
        self._has_planned = False
        # The kind of the last slip, and the item that it was about.
        self._slip: tuple[str, str] | None = None

    def respond(self) -> ExpertTurn:
        """The next thought and action."""
        held = {name_of(item): count for item, count in self._environment.game.inventory.items()}
        plan = self._planner.plan(self._environment.goal, held)
        if self._slip is None and (slip := self._make_slip(plan, held)) is not None:
            return slip
        act, is_first = plan[0], not self._has_planned
        self._has_planned = True
        kinds: list[CriticalKind] = []
        sentences: list[str] = []
        score = 0.0
        if self._slip is not None:
            sentences, kinds = self._correct(act)
            score = 0.9 if kinds else 0.0
        if is_first:
            sentences.append(self._tell_plan(plan))
        if is_first and sum(bool(one.parts) for one in plan) > 1:
            kinds.append("plan_creation")
            score = max(score, 0.8)
        phrases, weight = self._judge(act, is_final=len(plan) == 1)
        if weight:
            kinds.append("critical_action")
            score = max(score, weight)
        if act.parts:
            self._crafted.add(act.item)
        thought = " ".join((*sentences, self._say(phrases, act)))
        return react_turn(thought, act.action, kinds, score)

    def _correct(self, act: Act) -> tuple[list[str], list[CriticalKind]]:
        """What is said and labeled after a slip; a look at the inventory needs no correction."""
        assert self._slip is not None
        (kind, wrong), self._slip = self._slip, None
        if kind not in CORRECTIONS:
            return [], []
        kinds: list[CriticalKind] = ["self_correction"]
        if kind == "missing":
            # Only here the answer of the world was news.
            kinds.append("critical_observation")
        return [self._say(CORRECTIONS[kind], act, wrong=wrong)], kinds

    def _judge(self, act: Act, *, is_final: bool) -> tuple[Sequence[str], float]:
        """The phrases for an act, and how decisive it is: 0 if it is not."""
        if is_final:
            return FINAL, 1.0
        if not act.parts:
            return GETS, 0.0
        if act.item in self._crafted:
            return AGAIN, 0.0
        takes_crafted = any(part in self._crafted for _, part in act.parts)
        return CRAFTS, 0.7 if takes_crafted else 0.0

    def _tell_plan(self, plan: Sequence[Act]) -> str:
        told = [act.action for act in plan[:MAX_ACTS]]
        acts = ", then ".join(told) + (" and so on" if len(plan) > MAX_ACTS else "")
        parts = " and ".join(f"{count} {item}" for count, item in plan[-1].parts)
        return self._say(PLANS, plan[0], acts=acts, parts=parts)

    def _make_slip(self, plan: Sequence[Act], held: dict[str, int]) -> ExpertTurn | None:
        detour, mistake = draw_slips(self._rng, self._config)
        left = self._environment.max_steps - self._environment.num_turns
        if left < len(plan) + RESERVE_TURNS or not (detour or mistake):
            return None
        options = self._mistakes(plan, held) if mistake else self._detours(plan)
        if not options:
            return None
        kind, item, phrases, action = self._rng.choice(options)
        self._slip = kind, item
        return react_turn(say(self._rng, phrases, item=item), action)

    def _mistakes(
        self, plan: Sequence[Act], held: dict[str, int]
    ) -> list[tuple[str, str, tuple[str, ...], str]]:
        """Crafting without the parts, and looking for what has to be crafted."""
        later = [act for act in plan[1:] if act.parts]
        early = [
            ("early", act.item, TOO_EARLY, act.action)
            for act in later
            if any(held.get(part, 0) < count for count, part in act.parts)
        ]
        crafted = {act.item for act in later if act.item not in held}
        missing = [("missing", item, NOT_FOUND, f"get 1 {item}") for item in sorted(crafted)]
        return [*early, *missing]

    def _detours(self, plan: Sequence[Act]) -> list[tuple[str, str, tuple[str, ...], str]]:
        """A look at the inventory, and a thing that only other commands use."""
        planned = {part for act in plan for _, part in act.parts}
        others = {
            part
            for command in self._planner.commands
            for _, part in command.parts
            if part not in planned and not self._planner.is_kind_or_crafted(part)
        }
        useless = [("useless", item, USELESS, f"get 1 {item}") for item in sorted(others)]
        return [("look", "", LOOKS, "inventory"), *useless]

    def _say(self, phrases: Sequence[str], act: Act, **words: str) -> str:
        known = {"item": act.item, "count": str(act.count), "goal": self._environment.goal}
        return say(self._rng, phrases, **(known | words))
