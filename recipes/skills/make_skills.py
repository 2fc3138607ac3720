"""Writes the items of the skills that come with atlas: `python recipes/skills/make_skills.py`.

Small multiple-choice questions that a base model should keep answering after it was tuned as an
agent: grammar, arithmetic, order, opposites. All items are made here, from word lists and a seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
NUM_ITEMS = 120
Item = dict[str, object]

NOUNS = ("key", "dog", "teacher", "garden", "letter", "farmer", "window", "doctor", "river", "cook")
VERBS = (("is", "are"), ("was", "were"), ("has", "have"))
ENDS = {
    "is": ("old", "near the door", "very quiet"),
    "was": ("old", "near the door", "very quiet"),
    "has": ("a new name", "been seen before", "changed a lot"),
}
PLACES = ("next to", "behind", "in front of", "far from")
OPPOSITES = (
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("light", "dark"), ("open", "closed"),
    ("early", "late"), ("full", "empty"), ("high", "low"), ("young", "old"), ("wet", "dry"),
    ("hard", "soft"), ("rich", "poor"), ("strong", "weak"), ("happy", "sad"), ("clean", "dirty"),
    ("first", "last"), ("inside", "outside"), ("up", "down"), ("left", "right"), ("loud", "quiet"),
)  # fmt: skip
SERIES = (
    ("day", ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]),
    (
        "month",
        ["January", "February", "March", "April", "May", "June", "July", "August", "September"],
    ),
    ("letter", list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")),
    ("number", ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]),
)


def grammar(rng: random.Random) -> Iterator[Item]:
    """Which of two sentences agrees in number, with another noun in between."""
    while True:
        subject, other = rng.sample(NOUNS, 2)
        singular, plural = rng.choice(VERBS)
        is_plural = rng.random() < 0.5
        start = f"The {subject}{'s' if is_plural else ''} {rng.choice(PLACES)} the {other}"
        start += "" if is_plural else "s"
        end = rng.choice(ENDS[singular])
        choices = [f"{start} {verb} {end}." for verb in (singular, plural)]
        yield {"question": "", "choices": choices, "answer": int(is_plural)}


def arithmetic(rng: random.Random) -> Iterator[Item]:
    """The sum or difference of two numbers below 50, among four."""
    while True:
        a, b = rng.randint(1, 49), rng.randint(1, 49)
        if rng.random() < 0.5:
            text, right = f"{a} plus {b}", a + b
        else:
            a, b = max(a, b), min(a, b)
            text, right = f"{a} minus {b}", a - b
        wrong = rng.sample([n for n in range(max(0, right - 12), right + 13) if n != right], 3)
        yield _shuffled(rng, f"Question: What is {text}?\nAnswer:", str(right), map(str, wrong))


def order(rng: random.Random) -> Iterator[Item]:
    """What comes before or after in a series, among four."""
    while True:
        kind, series = rng.choice(SERIES)
        place = rng.randrange(1, len(series) - 1)
        side, right = rng.choice((("after", series[place + 1]), ("before", series[place - 1])))
        wrong = rng.sample([one for one in series if one not in (right, series[place])], 3)
        question = f"The {kind} that comes right {side} {series[place]} is"
        yield _shuffled(rng, question, right, wrong)


def opposites(rng: random.Random) -> Iterator[Item]:
    """The opposite of a word, among four."""
    while True:
        pair = rng.choice(OPPOSITES)
        word, right = pair if rng.random() < 0.5 else pair[::-1]
        others = [one for other in OPPOSITES if other != pair for one in other]
        yield _shuffled(rng, f"The opposite of {word} is", right, rng.sample(others, 3))


def _shuffled(rng: random.Random, question: str, right: str, wrong: object) -> Item:
    choices = [right, *wrong]  # type: ignore[misc]
    rng.shuffle(choices)
    return {"question": question, "choices": choices, "answer": choices.index(right)}


SKILLS = {"grammar": grammar, "arithmetic": arithmetic, "order": order, "opposites": opposites}


def main() -> None:
    for name, make in SKILLS.items():
        items: dict[str, Item] = {}
        for item in make(random.Random(f"skills {name}")):
            question, choices = item["question"], item["choices"]
            # The same question with the same answers, in whatever order, is one item.
            items.setdefault(f"{question} {sorted(choices)}", item)  # type: ignore[call-overload]
            if len(items) == NUM_ITEMS:
                break
        lines = "".join(json.dumps(item) + "\n" for item in items.values())
        (FOLDER / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
