"""The features of a step for the learned selector: words, and a few numbers.

The words come from the response and from the observations before and after it. Later observations
may be used, because the whole trajectory is known when steps are selected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from atlas.records import Message, Trajectory
from atlas.selection.error_turns import error_turns
from atlas.selection.text_features import feature_extraction, message_text

FEATURES_VERSION = 1
# Limits the cost of a huge observation.
MAX_WORDS_PER_MESSAGE = 2_000

_WORD = re.compile(r"[^\W\d_]+|\d+")


def word_vectorizer(**settings: Any) -> Any:
    """A TfidfVectorizer of what `step_words` returns."""
    return feature_extraction().text.TfidfVectorizer(analyzer=list, sublinear_tf=True, **settings)


def step_words(trajectory: Trajectory) -> Iterator[list[str]]:
    """Yield for each step the words of its response (`r:`), before it (`b:`) and after it (`a:`).

    Every number becomes the word `#`, because it usually names an object or a page of this
    trajectory only.
    """
    before = [_words(step.observation) for step in trajectory.steps]
    after = [*before[1:], _words(trajectory.final_observation)]
    for index, step in enumerate(trajectory.steps):
        words = {"r": _words((step.response,)), "b": before[index], "a": after[index]}
        yield [f"{place}:{word}" for place, found in words.items() for word in found]


def step_numbers(trajectory: Trajectory) -> list[dict[str, float]]:
    """Return the other features of each step by name, each roughly between 0 and 1."""
    errors = error_turns(trajectory)
    num_steps = len(trajectory.steps)
    earlier_words: set[str] = set()
    earlier_actions: set[str] = set()
    numbers = []
    for index, step in enumerate(trajectory.steps):
        words = set(_words(step.observation))
        response = message_text(step.response)
        action = step.action if step.action is not None else response
        observation_length = sum(len(message_text(message)) for message in step.observation)
        features = {
            "position": index / max(1, num_steps - 1),
            "first": float(index == 0),
            "second": float(index == 1),
            "last": float(index == num_steps - 1),
            "steps": math.log1p(num_steps) / 5,
            "response_length": math.log1p(len(response)) / 10,
            "observation_length": math.log1p(observation_length) / 10,
            "news": len(words - earlier_words) / len(words) if words and index else 0.0,
            "error_before": float(index > 0 and errors[index - 1] is not None),
            "error_after": float(errors[index] is not None),
            "repeated": float(action in earlier_actions),
            "reward": float((step.reward or 0) > 0),
        }
        numbers.append(features)
        earlier_words |= words
        earlier_actions.add(action)
    return numbers


def _words(messages: Sequence[Message]) -> list[str]:
    return [
        "#" if word.isdecimal() else word
        for message in messages
        for word in _WORD.findall(message_text(message).lower())[:MAX_WORDS_PER_MESSAGE]
    ]
