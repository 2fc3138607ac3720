"""Lessons of Wordle: any valid words as guesses, spelling, and what an answer says of letters."""

from __future__ import annotations

import random
from collections.abc import Iterator

from atlas.environments.paper.wordle.config import WordleConfig
from atlas.environments.paper.wordle.environment import FIRST as FIRST_TEXT
from atlas.environments.paper.wordle.environment import WordleEnvironment
from atlas.environments.paper.wordle.expert import FIRST, LAST, MISTAKES, SEVERAL
from atlas.environments.paper.wordle.game import mark
from atlas.environments.paper.wordle.words import WORDS
from worlds.common import Conversation, any_phrase, ask, play, request


def names() -> tuple[str, ...]:
    """The words that may be guessed."""
    return WORDS


def lessons(rng: random.Random) -> Iterator[Conversation]:
    """One game of any guesses, and questions about words and answers."""
    words = rng.sample(WORDS, rng.choice((10, 20, 40, 40)))
    secret = rng.choice(words)
    seen, steps = FIRST_TEXT.format(words=", ".join(words)), []
    guesses = rng.sample(words, min(len(words), 6))
    for index, word in enumerate(guesses[: rng.randint(2, 6)]):
        some = ", ".join(rng.sample(words, rng.randint(2, 4)))
        phrases = rng.choice((SEVERAL, MISTAKES, MISTAKES, LAST)) if index else FIRST
        thought = any_phrase(
            rng, phrases, word=word, some=some, count=str(rng.randint(2, len(words)))
        )
        steps.append((seen, thought, " ".join(word)))
        if word == secret:
            break
        seen = " ".join(mark(word, secret)) + "\n"
    yield play(WordleEnvironment(WordleConfig()).prompt, steps)
    for _ in range(3):
        yield ask(*_question(rng))
    word = rng.choice(words)
    text = f"Valid words: {', '.join(rng.sample(words, min(10, len(words))))}."
    yield request(rng, text, f"guess {word}", " ".join(word))


def _question(rng: random.Random) -> tuple[str, tuple[str, str]]:
    guess, secret = rng.choice(WORDS), rng.choice(WORDS)
    answer = mark(guess, secret)
    seen = f"{' '.join(guess)}\n{' '.join(answer)}"
    kind = rng.randrange(5)
    if kind == 0:
        return guess, ("Spell the word.", " ".join(guess))
    if kind == 1:
        letter = rng.choice(guess + secret)
        return guess, (f"Is there the letter {letter}?", "yes" if letter in guess else "no")
    if kind == 2:
        absent = [one for one, told in zip(guess, answer, strict=True) if told == "b"]
        return seen, ("Which letters are not in the word?", " ".join(absent) or "none")
    if kind == 3:
        right = [one for one, told in zip(guess, answer, strict=True) if told == "g"]
        return seen, ("Which letters are right?", " ".join(right) or "none")
    other = rng.choice(WORDS)
    fits = mark(guess, other) == answer
    if not fits and rng.random() < 0.4:
        other, fits = secret, True
    return f"{seen}\n{other}", ("Can it be this word?", "yes" if fits else "no")
