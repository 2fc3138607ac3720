"""The rules of Wordle as in LMRL-Gym.

A guess is answered by one letter per place: g (right), y (elsewhere in the word), b (not in it). As
there, a letter that is guessed twice is y at each wrong place if the word has it once.

LMRL-Gym has no fixed secret: at each guess it draws a word from those that fit all earlier
answers. The games of the paper are played so; generated ones have a fixed secret.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

NUM_LETTERS, NUM_GUESSES = 5, 6
RIGHT = "g" * NUM_LETTERS


def mark(guess: str, word: str) -> str:
    """The answer to a guess: `mark("spoon", "onion")` is "bbygg"."""
    return "".join(
        "g" if letter == own else "y" if letter in word else "b"
        for letter, own in zip(guess, word, strict=True)
    )


class Wordle:
    """One game.

    Args:
        vocabulary: the valid words.
        secret: the word; None: it is drawn at each guess, with `seed`.
    """

    def __init__(self, vocabulary: Sequence[str], secret: str | None, seed: int | None) -> None:
        self.vocabulary = tuple(vocabulary)
        self.num_guesses = 0
        # Each valid guess with its answer.
        self.answers: list[tuple[str, str]] = []
        self._candidates = list(self.vocabulary)
        self._secret = secret
        self._rng = random.Random(seed)

    def guess(self, word: str) -> str | None:
        """The answer; None for what is not in the vocabulary. Both count as a guess."""
        self.num_guesses += 1
        if word not in self.vocabulary:
            return None
        secret = self._rng.choice(self._candidates) if self._secret is None else self._secret
        answer = mark(word, secret)
        self.answers.append((word, answer))
        self._candidates = [one for one in self._candidates if mark(word, one) == answer]
        return answer

    @property
    def is_won(self) -> bool:
        """Whether the last guess was the word."""
        return bool(self.answers) and self.answers[-1][1] == RIGHT

    @property
    def is_over(self) -> bool:
        """Whether the word was found, or all guesses are used."""
        return self.is_won or self.num_guesses >= NUM_GUESSES
