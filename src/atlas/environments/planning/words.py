"""A puzzle in words: facts as sentences, actions as short English, and the way back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from atlas.environments.planning.domain import PlanningDomain
from atlas.environments.planning.grounding import GroundAction, Puzzle
from atlas.environments.planning.pddl import Domain, Fact

CHECK_ACTIONS = "check valid actions"
LOOK_AROUND = "look around"
# The rules of a folder may have facts and actions that no phrase is known for.
_PLACEHOLDER = re.compile(r"\{(\d)\}")


class PuzzleWords:
    """The words of one puzzle."""

    def __init__(self, kind: PlanningDomain, rules: Domain, puzzle: Puzzle) -> None:
        self._kind = kind
        self._puzzle = puzzle
        self._rules = rules
        # Actions that differ only in what is left out of their text share a text.
        self._actions: dict[str, list[GroundAction]] = {}
        for action in puzzle.actions:
            for text in (self.action(action), " ".join((action.name, *action.objects))):
                known = self._actions.setdefault(plain_words(text), [])
                if action not in known:
                    known.append(action)

    def fact(self, fact: Fact) -> str:
        """A fact as a sentence without a full stop."""
        return say_fact(self._kind, fact)

    def action(self, action: GroundAction) -> str:
        """An action in words."""
        return _filled(self._kind.actions.get(action.name), action.name, action.objects)

    def facts(self, bits: int) -> str:
        """Facts in words, in the order of the sentences."""
        return "; ".join(sorted(map(self.fact, self._puzzle.facts_of(bits)))) or "nothing"

    def find(self, text: str, state: int) -> GroundAction | None:
        """The action that a text means: the one of these words that lacks the least."""
        known = self._actions.get(plain_words(text), [])
        return min(known, key=lambda action: (action.needs & ~state).bit_count(), default=None)

    def possible(self, state: int) -> list[str]:
        """The texts of all actions that can be carried out."""
        texts = (self.action(action) for action in self._puzzle.possible(state))
        return [*dict.fromkeys(texts), CHECK_ACTIONS, LOOK_AROUND]

    def rules(self) -> str:
        """What the world is, and the forms of its actions."""
        forms = dict.fromkeys(
            _filled(
                self._kind.actions.get(schema.name),
                schema.name,
                [f"<{_noun(name, kind)}>" for name, kind in schema.parameters],
            )
            for schema in self._rules.schemas
        )
        lines = [self._kind.about, "Actions:", *(f"- {form}" for form in forms)]
        return "\n".join([*lines, f"- {CHECK_ACTIONS}", f"- {LOOK_AROUND}"])


def say_fact(kind: PlanningDomain, fact: Fact) -> str:
    """A fact as a sentence without a full stop."""
    return _filled(kind.facts.get(fact[0]), fact[0], fact[1:])


def say_goal(kind: PlanningDomain, goal: Iterable[Fact]) -> str:
    """A goal in words."""
    return "; ".join(say_fact(kind, fact) for fact in goal)


def _noun(name: str, kind: str) -> str:
    return name.lstrip("?") if kind == "object" else kind


def _filled(phrase: str | None, name: str, objects: Sequence[str]) -> str:
    """A phrase with its objects; name and objects if no phrase takes so many objects."""
    needed = max((int(place) for place in _PLACEHOLDER.findall(phrase or "")), default=-1)
    if phrase is None or needed >= len(objects):
        return " ".join((name, *objects))
    return phrase.format(*objects)


def plain_words(text: str) -> str:
    """A text without "the", punctuation, capitals, and the mark of a list in front."""
    text = re.sub(r"^\s*(?:[-*]|\d+[.)])\s+", "", text.lower())
    words = re.sub(r"[^a-z0-9_ -]", " ", text).replace("pickup", "pick up").split()
    return " ".join(word for word in words if word != "the")
