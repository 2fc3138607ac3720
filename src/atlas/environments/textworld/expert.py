"""The expert for TextWorld: follows the solution that TextWorld finds again after each step.

The solution is the package's gold path. Coin and treasure games tell all of it in their objective.
A cooking game does not: its expert reads the recipe where it finds it, but knows where things are
without having seen them.
"""

from __future__ import annotations

from typing import Any, Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.errors import EpisodeError
from atlas.records import CriticalKind, Task

WALKS = (
    "My way leads {where}.",
    "Next I have to go {where}.",
    "I go {where} as planned.",
    "The task takes me {where}.",
)
OPENS = ("{Thing} is in my way, so I {act}.", "I {act} to get on.", "First I {act}.")
TAKES = ("I need {thing}, so I {act}.", "{Thing} is what I need; I {act}.", "Now I {act}.")
ACTS = ("The next thing to do is to {act}.", "I {act} now.", "The task wants me to {act}.")
FINALS = ("Only one thing is left: {act}.", "This ends the task: I {act}.", "At last I can {act}.")
PLANS = ("My plan: {steps}.", "I will {steps}.", "The task takes these steps: {steps}.")
SEEN = ("I see {thing} here.", "There is {thing}, which I need.", "{Thing} is here.")
WANDERS = ("I have a look {where} first.", "There may be something {where}.")
LOOKS = ("I look around once more.", "Let me see what I carry.")
BLIND = ("I go {where}.", "The way should be {where}.")
CORRECTIONS = {
    "wander": ("That was a detour; I go back to my plan.", "I did not need to go there."),
    "look": ("That told me nothing new; I go on.", "Back to the task."),
    "blind": ("No way leads {where}; I was wrong.", "I cannot go {where} from here."),
}
DIRECTIONS = ("north", "east", "south", "west")
READ = "examine cookbook"
READS = ("The recipe is in the cookbook, so I read it.", "First I read the cookbook.")
DECISIVE = ("cook", "chop", "dice", "slice", "unlock")
DOORS = ("open", "unlock", "close")
FINAL_SCORE, CORRECTED_SCORE, TAKEN_SCORE, PLAN_SCORE, SEEN_SCORE = 1.0, 0.95, 0.85, 0.8, 0.7
# A detour costs a turn and the way back.
RESERVE_TURNS = 6
MAX_STEPS_SAID = 5


class PlayedGame(Protocol):
    """What the expert needs of the environment: the last state of the game and its text."""

    max_steps: int
    num_turns: int
    state: Any
    text: str


class TextWorldExpert:
    """Plays the episode that was just reset. The same seed gives the same thoughts and slips."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, game: PlayedGame, task: Task, seed: int) -> None:
        self._config = config
        self._game = game
        self._rng = stream("textworld expert", task.id, seed)
        self._slip: tuple[str, str] | None = None
        self._seen: set[str] = set()
        # Of a cooking game: without its recipe, the plan is not known.
        self._recipe = "unread" if "cookbook" in game.text.partition("\n")[0] else ""

    def respond(self) -> ExpertTurn:
        """The next thought and action, with the labels of the step."""
        policy = list(self._game.state.policy_commands or ())
        if not policy:
            raise EpisodeError("textworld: the game cannot be won any more")
        if self._recipe == "unread" and READ in (self._game.state.admissible_commands or ()):
            self._recipe = "read"
            return react_turn(say(self._rng, READS), READ)
        turns_left = self._game.max_steps - self._game.num_turns - len(policy)
        slip = self._draw_slip(policy[0]) if turns_left >= RESERVE_TURNS else None
        if slip is not None:
            self._slip = slip
            situation, action = slip
            phrases = {"wander": WANDERS, "look": LOOKS, "blind": BLIND}[situation]
            return react_turn(say(self._rng, phrases, where=action.removeprefix("go ")), action)
        return self._act(policy)

    def _act(self, policy: list[str]) -> ExpertTurn:
        action, is_last = policy[0], len(policy) == 1
        sentences: list[str] = []
        kinds: list[CriticalKind] = []
        scores = [0.0]
        if self._slip is not None:
            situation, slipped = self._slip
            where = slipped.removeprefix("go ")
            sentences.append(say(self._rng, CORRECTIONS[situation], where=where))
            kinds.append("self_correction")
            scores.append(CORRECTED_SCORE)
        if (self._game.num_turns == 0 and not self._recipe and len(policy) > 2) or (
            self._recipe == "read"
        ):
            self._recipe = "known" if self._recipe else ""
            steps = ", then ".join(policy[:MAX_STEPS_SAID])
            sentences.append(say(self._rng, PLANS, steps=steps))
            kinds.append("plan_creation")
            scores.append(PLAN_SCORE)
        verb, _, rest = action.partition(" ")
        thing = _thing(rest)
        if verb == "take" and self._is_news(thing):
            sentences.append(say(self._rng, SEEN, thing=f"the {thing}"))
            kinds.append("critical_observation")
            scores.append(SEEN_SCORE)
        if is_last or verb in DECISIVE:
            kinds.append("critical_action")
            scores.append(FINAL_SCORE if is_last else TAKEN_SCORE)
        self._slip = None
        walks = verb == "go"
        phrases = FINALS if is_last else WALKS if walks else OPENS if verb in DOORS else ACTS
        if verb == "take" and not is_last:
            phrases = TAKES
        sentences.append(say(self._rng, phrases, act=action, thing=f"the {thing}", where=rest))
        return react_turn(" ".join(sentences), action, kinds, max(scores))

    def _is_news(self, thing: str) -> bool:
        """Whether a needed thing is named by the game for the first time, after the start."""
        is_new = thing in self._game.text and thing not in self._seen and self._game.num_turns > 0
        self._seen.add(thing)
        return is_new

    def _draw_slip(self, planned: str) -> tuple[str, str] | None:
        """A detour or a mistake with the configured probabilities, while walking only."""
        detour, mistake = draw_slips(self._rng, self._config)
        if self._slip is not None or self._game.num_turns == 0 or not planned.startswith("go "):
            return None
        possible = set(self._game.state.admissible_commands or ())
        ways = [f"go {way}" for way in DIRECTIONS]
        if mistake and (closed := [way for way in ways if way not in possible]):
            return "blind", self._rng.choice(closed)
        if detour:
            others = [("wander", way) for way in ways if way in possible and way != planned]
            return self._rng.choice([*others, ("look", "look"), ("look", "inventory")])
        return None


def _thing(rest: str) -> str:
    """The thing that a command is about: `key from box` -> `key`."""
    for word in (" from ", " with ", " into ", " on "):
        rest = rest.partition(word)[0]
    return rest
