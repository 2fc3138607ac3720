"""The expert of Wordle: of the words that fit all answers, it guesses the one that tells most.

It knows what a player is shown: the valid words, its guesses and the answers. A step is labeled
where an answer changed what it knows: one word or a few are left, or nothing of the guess was in
the word, so that it starts over; and where it corrects a guess that contradicted the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from atlas.environments.base import ExpertTurn
from atlas.environments.experts import ExpertConfig, draw_slips, react_turn, say, stream
from atlas.environments.paper.wordle.game import NUM_GUESSES, Wordle, mark
from atlas.records import CriticalKind

FIRST = (
    "Nothing is known yet. I begin with {word}, whose letters are common in the list.",
    "I start with {word}, to learn about many letters at once.",
    "A first guess that splits the list well: {word}.",
)
SEVERAL = (
    "{count} words still fit: {some}. I try {word}.",
    "The answers leave {count} words, such as {some}. {Word} tells them apart best.",
    "What fits now: {some}. My next guess is {word}.",
)
LAST = (
    "Only {word} fits all answers, so it must be this one.",
    "All other words contradict an answer. It is {word}.",
    "The answers leave one word: {word}.",
)
NOTHING_RIGHT = (
    "No letter of {guess} is in the word. I need other letters: {word}.",
    "{Guess} has nothing in common with the word, so I change to {word}.",
)
MISTAKES = ("I guess {word}.", "{Word} might be it.", "Let me try {word}.")
CORRECTIONS = (
    "{Guess} could not be right: the answer to {earlier} had ruled it out. {Word} fits.",
    "I overlooked the answer to {earlier} when I guessed {guess}. Now {word}, which fits all.",
)
# Guesses that must be left for a deliberate mistake or detour.
RESERVE_GUESSES = 5
# More candidates are not compared with each other.
MAX_COMPARED = 100
MAX_NAMED = 4
# So few words are left only after an answer that told much.
FEW = 4


class PlayedWordle(Protocol):
    """What the expert needs of the environment."""

    task_id: str

    @property
    def game(self) -> Wordle: ...


class WordleExpert:
    """Plays the episode that was just reset."""

    Config = ExpertConfig

    def __init__(self, config: ExpertConfig, environment: PlayedWordle, seed: int) -> None:
        self._config = config
        self._game = environment.game
        self._rng = stream("expert", environment.task_id, seed)
        self._words = self._rng.sample(self._game.vocabulary, len(self._game.vocabulary))
        # A guess that contradicted an earlier answer, and the guess of that answer.
        self._mistake: tuple[str, str] | None = None

    def respond(self) -> ExpertTurn:
        """The next thought and guess."""
        answers = self._game.answers
        fitting = [word for word in self._words if fits(word, answers)]
        detour, mistake = draw_slips(self._rng, self._config)
        is_free = NUM_GUESSES - self._game.num_guesses >= RESERVE_GUESSES
        if mistake and is_free and answers and self._mistake is None and len(fitting) > 1:
            wrong = [word for word in self._words if not fits(word, answers)]
            unused = [word for word in wrong if all(word != guess for guess, _ in answers)]
            if unused:
                return self._err(self._rng.choice(unused), answers)
        word = fitting[0] if detour and is_free else best_guess(fitting)
        kinds: list[CriticalKind] = []
        phrases: Sequence[str] = SEVERAL
        score = 0.0
        if not answers:
            phrases = FIRST
        elif len(fitting) == 1:
            phrases, kinds, score = LAST, ["critical_observation", "critical_action"], 1.0
        elif set(answers[-1][1]) == {"b"}:
            phrases, kinds, score = NOTHING_RIGHT, ["plan_creation"], 0.7
        elif len(fitting) <= FEW:
            kinds, score = ["critical_observation"], 0.6
        guess, earlier = answers[-1][0] if answers else "", ""
        if self._mistake is not None:
            guess, earlier = self._mistake
            phrases, kinds, score = CORRECTIONS, ["self_correction", *kinds], max(score, 0.9)
            self._mistake = None
        thought = say(
            self._rng,
            phrases,
            word=word,
            guess=guess,
            earlier=earlier,
            count=str(len(fitting)),
            some=", ".join(fitting[:MAX_NAMED]),
        )
        return react_turn(thought, " ".join(word), kinds, score)

    def _err(self, word: str, answers: Sequence[tuple[str, str]]) -> ExpertTurn:
        earlier = next(guess for guess, answer in answers if mark(guess, word) != answer)
        self._mistake = word, earlier
        return react_turn(say(self._rng, MISTAKES, word=word), " ".join(word))


def fits(word: str, answers: Sequence[tuple[str, str]]) -> bool:
    """Whether a word agrees with all answers."""
    return all(mark(guess, word) == answer for guess, answer in answers)


def best_guess(words: Sequence[str]) -> str:
    """The word whose worst answer leaves the fewest of `words`."""
    compared = words[:MAX_COMPARED]

    def worst(guess: str) -> int:
        return max(Counter(mark(guess, word) for word in compared).values())

    return min(compared, key=worst)
