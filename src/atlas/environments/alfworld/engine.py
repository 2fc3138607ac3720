"""Plays one game of ALFWorld in textworld's PDDL engine, in the wording of AgentGym's server.

Importing this file imports textworld. The translator behind it swaps `sys.stdout` and `sys.argv`
and keeps options in global variables, so all engines of a process share one lock.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from typing import Any

import fast_downward
from alfworld.agents.utils.misc import Demangler
from textworld.envs.pddl import logic
from textworld.generator.game import EntityInfo

_LOCK = threading.RLock()
# Libraries of closed engines, for the next ones: the process crashes at its end if one is unloaded.
_FREE: list[Any] = []

# AgentGym serves games of the first release, which say "put X in/on Y", and leaves out where the
# agent arrives. alfworld 0.4 says "move X to Y".
WORDING = (
    ("move {o} to {r}", "put {o} in/on {r}"),
    ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
    ("You arrive at {lend.name}. ", ""),
    ("You arrive at {r.name}. ", ""),
)
# An action of alfworld 0.4 that AgentGym's games do not have.
NEW_ACTION = "help"


class HouseEngine:
    """One game at a time; `start` begins the next one."""

    def __init__(self) -> None:
        with _LOCK:
            self._library = _FREE.pop() if _FREE else fast_downward.load_lib()
        self._logic: Any = None
        self._state: Any = None
        self._infos: dict[str, Any] = {}
        self._operators: dict[str, Any] = {}
        self._texts: dict[tuple[str, ...], str] = {}

    def start(self, game: Mapping[str, Any]) -> str:
        """Begin a game (the content of a file `game.tw-pddl`), and return its first text."""
        grammar = str(game["grammar"])
        for theirs, ours in WORDING:
            grammar = grammar.replace(theirs, ours)
        arguments = sys.argv
        with _LOCK:
            try:
                self._logic = logic.GameLogic(domain=game["pddl_domain"], grammar=grammar)
                self._state = logic.PddlState(self._library, game["pddl_problem"], self._logic)
            finally:
                sys.argv = arguments
            self._texts = {}
            self._infos = _named(self._state)
            text = self._derive("#intro#", {})
            self._find_commands()
        # The greeting of the engine stands before the first blank line.
        return "\n".join(text.split("\n\n")[1:])

    @property
    def commands(self) -> list[str]:
        """The commands that are possible now, sorted."""
        return sorted(self._operators)

    @property
    def is_won(self) -> bool:
        """Whether the goal is reached."""
        with _LOCK:
            return bool(self._state.check_goal())

    def act(self, command: str) -> str | None:
        """Carry out a command and return what happened; None if it is not possible now."""
        with _LOCK:
            action = self._operators.get(command)
            if action is None:
                return None
            self._state.apply(action)
            text = self._derive(action.feedback_rule, action.mapping)
            self._find_commands()
        return text

    def close(self) -> None:
        """Free the engine."""
        with _LOCK:
            if self._library is not None:
                _FREE.append(self._library)
            self._library = self._state = None

    def _find_commands(self) -> None:
        found: dict[str, Any] = {}
        for action in self._state.all_applicable_actions():
            if action.name == NEW_ACTION:
                continue
            # Where the agent comes from does not change the text of "go to".
            named = [v.name for place, v in action.mapping.items() if place.name != "lstart"]
            key = (action.name, *named)
            if key not in self._texts:
                template = self._derive(action.command_template, action.mapping)
                action.command_template = template
                names = {name: info.name for name, info in self._infos.items()}
                self._texts[key] = action.format_command(names)
            found.setdefault(self._texts[key], action)
        self._operators = found

    def _derive(self, rule: str, mapping: Mapping[Any, Any]) -> str:
        context = {
            "state": self._state,
            "facts": list(self._state.facts),
            "variables": {place.name: self._infos[v.name] for place, v in mapping.items()},
            "mapping": dict(mapping),
            "entity_infos": self._infos,
        }
        return str(self._logic.grammar.derive(rule, context))


def _named(state: Any) -> dict[str, Any]:
    """The things of a game with the names that the texts use, such as `mug 2`."""
    infos = {v.name: EntityInfo(v.name, v.type) for fact in state.facts for v in fact.arguments}
    names = Demangler(game_infos=infos, shuffle=False)
    for info in infos.values():
        info.name = names.demangle_alfred_name(info.id)
        info.definite, info.indefinite = "the", "a"
    return infos
