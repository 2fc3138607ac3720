"""The expert of TextWorld-Express: a solver that searches, its plan in words, slips, labels.

A step is labeled by what changed in the knowledge of the expert: it made a plan, saw what it
needs, corrected a slip; or by an action that decides something.
"""

from __future__ import annotations

from typing import Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.textworld_express.game import GameState
from atlas.environments.textworld_express.knowledge import ExpressKnowledge
from atlas.environments.textworld_express.solvers.base import GameMove
from atlas.environments.textworld_express.solvers.solve import SOLVERS
from atlas.environments.textworld_express.thoughts import (
    ACTS,
    CORRECTIONS,
    OBSERVED,
    PLANS,
    SLIPS,
)
from atlas.records import CriticalKind

# With fewer turns left, the expert makes no slip (a deliberate detour or mistake).
RESERVE_TURNS = 15
SCORES: dict[str, float] = {"self_correction": 0.95, "plan": 0.8, "observe": 0.7, "search": 0.4}


class PlayedTextGame(Protocol):
    """What an expert reads of the environment: the task, and what was said so far.

    `history` begins with the first state, whose action is empty.
    """

    max_steps: int
    history: list[tuple[str, GameState]]

    @property
    def game_task(self) -> str: ...


class TextWorldExpressExpert:
    """Plays the episode that was just reset. The same seed gives the same thoughts and slips."""

    def __init__(
        self,
        config: ExpertConfig,
        environment: PlayedTextGame,
        game: str,
        names: tuple[str | int, ...],
    ) -> None:
        self._config = config
        self._environment = environment
        self._rng = stream("textworld-express expert", *names)
        self._known = ExpressKnowledge(environment.game_task)
        self._solver = SOLVERS[game](self._known, stream("textworld-express search", *names))
        self._num_read = 0
        self._slip: GameMove | None = None
        self._slips_made: set[str] = set()
        self._plan: tuple[object, ...] | None = None
        self._shown: set[str] = set()

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        is_first = self._num_read == 0
        self._read()
        move = self._solver.move()
        slip = self._make_slip(move)
        if slip is not None:
            self._slip = slip
            self._slips_made.add(slip.action)
            thought = say(self._rng, SLIPS[slip.situation], **slip.words)
            return react_turn(thought, slip.action)
        return self._act(move, is_first)

    def _read(self) -> None:
        """Take in what was said since the last turn."""
        for action, state in self._environment.history[self._num_read :]:
            self._known.see(action, state)
        self._num_read = len(self._environment.history)

    def _act(self, move: GameMove, is_first: bool) -> ExpertTurn:
        parts: list[str] = []
        kinds: list[CriticalKind] = []
        scores = [move.value]
        slip, self._slip = self._slip, None
        if slip is not None and slip.action != move.action:
            parts.append(say(self._rng, CORRECTIONS[slip.situation], **slip.words))
            kinds.append("self_correction")
            scores.append(SCORES["self_correction"])
        observed = self._new_wanted()
        if observed is not None and not is_first:
            parts.append(say(self._rng, OBSERVED, noun=f"the {observed}"))
            kinds.append("critical_observation")
            scores.append(SCORES["observe"])
        plan = self._solver.plan()
        if plan is not None and (plan[0], *sorted(plan[1].items())) != self._plan:
            row, words = plan
            self._plan = (row, *sorted(words.items()))
            parts.append(say(self._rng, PLANS[row], **words))
            kinds.append("plan_creation")
            scores.append(SCORES["search" if row.startswith("search") else "plan"])
        if move.value > 0:
            kinds.append("critical_action")
        parts.append(say(self._rng, ACTS[move.situation], **move.words))
        return react_turn(" ".join(parts), move.action, kinds, max(scores))

    def _new_wanted(self) -> str | None:
        """A wanted thing that is known since this turn."""
        wanted = self._solver.wanted()
        found = sorted(name for name in wanted & self._known.seen.keys() if name not in self._shown)
        self._shown |= self._known.seen.keys()
        return found[0] if found else None

    # ---- slips ----

    def _make_slip(self, move: GameMove) -> GameMove | None:
        """A detour or a mistake, with the configured probabilities, never twice in a row."""
        solver = self._solver
        detour, mistake = draw_slips(self._rng, self._config)
        detour, mistake = detour and solver.allows_detours, mistake and solver.allows_mistakes
        turns_left = self._environment.max_steps - (self._num_read - 1)
        if self._slip is not None or turns_left < RESERVE_TURNS or not (detour or mistake):
            return None
        options = [
            option
            for option in (self._mistakes() if mistake else self._detours())
            if option.action != move.action and option.action not in self._slips_made
        ]
        return self._rng.choice(options) if options else None

    def _detours(self) -> list[GameMove]:
        known = self._known
        fixed = (GameMove("look around", "look"), GameMove("inventory", "inventory"))
        looks = [action for action in known.actions if action.startswith("examine ")]
        visited = [
            (way, exit_.room)
            for way, exit_ in sorted(known.here.exits.items())
            if exit_.room in known.rooms and not exit_.is_closed
        ]
        return [
            *(move for move in fixed if known.can(move.action)),
            *(
                GameMove(action, "examine", {"label": f"the {action.removeprefix('examine ')}"})
                for action in looks[:3]
            ),
            *(
                GameMove(f"move {way}", "wander", {"way": way, "room": room or ""})
                for way, room in visited
            ),
        ]

    def _mistakes(self) -> list[GameMove]:
        closed = [way for way, exit_ in sorted(self._known.here.exits.items()) if exit_.is_closed]
        doors = [GameMove(f"move {way}", "closed_door", {"way": way}) for way in closed]
        return [*doors, *self._solver.mistakes()]
