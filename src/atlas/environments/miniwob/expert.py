"""The expert for MiniWoB++: a solver for each page, with thoughts, labels and slips.

A slip is made only where it can be undone: a wrong text, a wrong tick, a part that was seen before,
or typing before a field was clicked. A wrong click that would end the task is never made.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.miniwob.page import PageView
from atlas.environments.miniwob.solvers import SOLVERS, PageMove
from atlas.environments.miniwob.thoughts import (
    ACTS,
    CORRECTIONS,
    OBSERVED,
    PLANS,
    READ,
    SLIPS,
    SOLVED,
)
from atlas.errors import EpisodeError
from atlas.records import CriticalKind, Task

NEWS = {"observed": OBSERVED, "read": READ, "solved": SOLVED}
FINAL_SCORE, CORRECTED_SCORE, PLAN_SCORE, NEWS_SCORE = 1.0, 0.95, 0.8, 0.7
# With fewer turns left, the expert makes no slip.
RESERVE_TURNS = 8


class ShownPage(Protocol):
    """What the expert needs of the environment."""

    max_steps: int
    num_turns: int

    @property
    def view(self) -> PageView: ...


class MiniWobExpert:
    """Plays the episode that was just reset. The same seed gives the same thoughts and slips."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, shown: ShownPage, task: Task, seed: int) -> None:
        self._config = config
        self._shown = shown
        self._rng = stream("miniwob expert", task.id, seed)
        self._solver = SOLVERS[task.group](shown.view)
        self._move: PageMove | None = None
        self._slip: PageMove | None = None
        self._opened: list[str] = []
        self._id = task.id

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        if self._slip is not None and self._slip.situation == "wrong_tick":
            undone, self._slip = self._slip, None
            thought = say(self._rng, CORRECTIONS["wrong_tick"], what=undone.what)
            return react_turn(thought, undone.action, ("self_correction",), CORRECTED_SCORE)
        if self._move is None:
            try:
                self._move = self._next()
            except (StopIteration, LookupError, ValueError) as error:
                fault = f"{type(error).__name__}: {error}"
                raise EpisodeError(f"the expert cannot solve task '{self._id}' ({fault})") from None
        move = self._move
        slip = self._draw_slip(move) if self._slip is None else None
        if slip is not None:
            self._slip = slip
            return react_turn(
                say(self._rng, SLIPS[slip.situation], what=slip.what, text=slip.text), slip.action
            )
        self._move = None
        return self._act(move)

    def _next(self) -> PageMove:
        if self._shown.num_turns == 0:
            return next(self._solver)
        return self._solver.send(self._shown.view)

    def _act(self, move: PageMove) -> ExpertTurn:
        slip, self._slip = self._slip, None
        sentences: list[str] = []
        kinds: list[CriticalKind] = list(move.kinds)
        scores = [0.0]
        if slip is not None:
            words = {"what": slip.what, "wrong": slip.text, "text": move.text}
            sentences.append(say(self._rng, CORRECTIONS[slip.situation], **words))
            kinds.append("self_correction")
            scores.append(CORRECTED_SCORE)
        if move.plan:
            sentences.append(say(self._rng, PLANS, steps=move.plan))
            scores.append(PLAN_SCORE)
        if move.news is not None:
            situation, what, text = move.news
            sentences.append(say(self._rng, NEWS[situation], what=what, text=text))
            scores.append(NEWS_SCORE)
        if move.is_final:
            scores.append(FINAL_SCORE)
        if move.situation == "unfold":
            self._opened.append(move.what)
        sentences.append(say(self._rng, ACTS[move.situation], what=move.what, text=move.text))
        return react_turn(" ".join(sentences), move.action, kinds, max(scores))

    def _draw_slip(self, move: PageMove) -> PageMove | None:
        """A detour or a mistake with the configured probabilities."""
        detour, mistake = draw_slips(self._rng, self._config)
        turns_left = self._shown.max_steps - self._shown.num_turns
        if turns_left < RESERVE_TURNS or not (detour or mistake):
            return None
        if not mistake:
            return self._look_again(move)
        if move.situation == "type":
            wrong = self._misspelled(move.text)
            return PageMove(f"type {wrong}", "typo", text=wrong)
        if move.situation == "tick":
            return self._wrong_tick(move)
        if move.situation == "focus" and self._shown.num_turns == 0:
            return PageMove("type hello", "no_focus", text="hello")
        return None

    def _look_again(self, move: PageMove) -> PageMove | None:
        """Open a part that was seen before; only where the next part is opened afterwards."""
        titles = [one for one in self._shown.view.elements if one.text in self._opened[:-1]]
        if move.situation != "unfold" or not titles:
            return None
        title = self._rng.choice(titles)
        return PageMove(f"click {title.ref}", "again", what=title.text)

    def _wrong_tick(self, move: PageMove) -> PageMove | None:
        elements = self._shown.view.elements
        wanted = (
            self._shown.view.goal.removeprefix("Select ").partition(" and click")[0].split(", ")
        )
        others = [
            (box, after.text)
            for box, after in pairwise(elements)
            if box.kind == "checkbox" and after.text not in wanted
        ]
        if not others:
            return None
        box, text = self._rng.choice(others)
        return PageMove(f"click {box.ref}", "wrong_tick", what=text)

    def _misspelled(self, text: str) -> str:
        """The text with one letter doubled."""
        index = self._rng.randrange(len(text))
        return text[: index + 1] + text[index:]
