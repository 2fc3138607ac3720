"""The expert for Jericho: follows a walkthrough, and says why as far as the text shows it.

A walkthrough is a gold path: it knows what the player has not seen. It is followed without slips,
because a turn more can change what happens.
"""

from __future__ import annotations

import re
from typing import Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import react_turn, say, stream
from atlas.errors import EpisodeError
from atlas.records import CriticalKind, Task

PLANS = (
    "I explore and do one thing at a time, starting with this: {act}.",
    "I have a walk ahead of me; I begin with: {act}.",
)
SEEN = ("I notice {thing} here.", "There is {thing}, which I can use.")
ACTS = ("Next: {act}.", "I {act} now.", "The thing to do is to {act}.", "So I {act}.")
FINALS = ("One thing is left: {act}.", "This should end it: {act}.")
# Too common to be worth noticing.
PLAIN = frozenset(
    ("north", "south", "east", "west", "down", "look", "with", "into", "from", "wait")
)
FINAL_SCORE, SEEN_SCORE, PLAN_SCORE = 1.0, 0.7, 0.6


class PlayedStory(Protocol):
    """What the expert needs of the environment."""

    num_turns: int
    text: str


class WalkthroughExpert:
    """Follows the walkthrough of a story; the same seed gives the same thoughts."""

    def __init__(self, story: PlayedStory, commands: list[str], task: Task, seed: int) -> None:
        self._story = story
        self._commands = commands
        self._rng = stream("jericho expert", task.id, seed)
        self._known: set[str] = set()

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        index = self._story.num_turns
        if index >= len(self._commands):
            raise EpisodeError("jericho: the walkthrough is over, and the story is not")
        command = self._commands[index]
        sentences: list[str] = []
        kinds: list[CriticalKind] = []
        scores = [0.0]
        if index == 0:
            sentences.append(say(self._rng, PLANS, act=command))
            kinds.append("plan_creation")
            scores.append(PLAN_SCORE)
        if (thing := self._noticed(command)) is not None:
            sentences.append(say(self._rng, SEEN, thing=f"the {thing}"))
            kinds.append("critical_observation")
            scores.append(SEEN_SCORE)
        is_last = index == len(self._commands) - 1
        if is_last:
            kinds.append("critical_action")
            scores.append(FINAL_SCORE)
        if index > 0 or is_last:
            sentences.append(say(self._rng, FINALS if is_last else ACTS, act=command))
        return react_turn(" ".join(sentences), command, kinds, max(scores))

    def _noticed(self, command: str) -> str | None:
        """A word of the command that the last text names, and no earlier command."""
        words = [word for word in re.findall(r"[a-z]{4,}", command.lower()) if word not in PLAIN]
        seen = set(re.findall(r"[a-z]{4,}", self._story.text.lower()))
        new = [word for word in words[1:] if word in seen and word not in self._known]
        self._known.update(words)
        return new[0] if new else None
