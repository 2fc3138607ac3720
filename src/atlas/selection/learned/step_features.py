"""What the learned selector sees of a step: `trajectory -> sparse features of each step`, by name.

Words of the response, of what was seen before it and of what was seen after it (the whole trajectory is known when steps
are selected, as it is to an oracle), weighed by TF-IDF; and a few numbers: position, lengths, errors, news, rewards.
Plain names and numbers, so that a trained selector is a readable file.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from atlas.records import Message, Trajectory
from atlas.selection.error_turns import error_turns

FEATURES_VERSION = 1
WORDS_PER_TEXT = 2_000  # a huge observation must not cost more than it tells

_WORD = re.compile(r"[^\W\d_]+|\d+")
Words = dict[str, float]


def step_words(trajectory: Trajectory) -> list[Words]:
    """For each step, how often each word stands in its response (`r:`), before it (`b:`) and after it (`a:`), sublinear.

    A number is the word `#`: numbers name objects and pages, and say nothing about the next trajectory.
    """
    before = [_words(step.observation) for step in trajectory.steps]
    after = [*before[1:], _words(trajectory.final_observation)]
    responses = [_words((step.response,)) for step in trajectory.steps]
    return [
        {
            f"{place}:{word}": 1 + math.log(count)
            for place, words in (("r", responses[index]), ("b", before[index]), ("a", after[index]))
            for word, count in words.items()
        }
        for index in range(len(trajectory.steps))
    ]


def step_numbers(trajectory: Trajectory) -> list[dict[str, float]]:
    """For each step, what is no word, each roughly between 0 and 1."""
    errors = error_turns(trajectory)
    num_steps = len(trajectory.steps)
    seen: set[str] = set()
    done: set[str] = set()
    numbers = []
    for index, step in enumerate(trajectory.steps):
        words = set(_words(step.observation))
        act = step.action if step.action is not None else message_text(step.response)
        numbers.append(
            {
                "position": index / max(1, num_steps - 1),
                "first": float(index == 0),
                "second": float(index == 1),
                "last": float(index == num_steps - 1),
                "steps": math.log1p(num_steps) / 5,
                "response_length": math.log1p(len(message_text(step.response))) / 10,
                "observation_length": math.log1p(
                    sum(len(message_text(message)) for message in step.observation)
                )
                / 10,
                "news": len(words - seen) / len(words) if words and index else 0.0,
                "error_before": float(index > 0 and errors[index - 1] is not None),
                "error_after": float(errors[index] is not None),
                "repeated": float(act in done),
                "reward": float((step.reward or 0) > 0),
            }
        )
        seen |= words
        done.add(act)
    return numbers


def weigh(words: Words, inverse_frequency: Mapping[str, float]) -> Words:
    """The known words times their inverse document frequency, brought to length 1."""
    weighed = {
        word: count * inverse_frequency[word]
        for word, count in words.items()
        if word in inverse_frequency
    }
    length = math.sqrt(math.fsum(value * value for value in weighed.values()))
    return {word: value / length for word, value in weighed.items()} if length else {}


def inverse_frequencies(steps: Sequence[Words], max_words: int, min_steps: int = 3) -> Words:
    """Smoothed inverse document frequency of the `max_words` words that stand in the most steps, in at least `min_steps`."""
    frequency = Counter(word for words in steps for word in words)
    kept = sorted(
        (word for word, count in frequency.items() if count >= min_steps),
        key=lambda word: (-frequency[word], word),
    )
    return {
        word: math.log((1 + len(steps)) / (1 + frequency[word])) + 1
        for word in sorted(kept[:max_words])
    }


def _words(messages: Sequence[Message]) -> Counter[str]:
    found: Counter[str] = Counter()
    for message in messages:
        found.update(_first_words(message_text(message)))
    return found


def _first_words(text: str) -> Iterator[str]:
    for number, match in enumerate(_WORD.finditer(text)):
        if number == WORDS_PER_TEXT:
            return
        word = match.group()
        yield "#" if word[0].isdigit() else word.lower()


def message_text(message: Message) -> str:
    """All that a message says: thinking, content and calls."""
    calls = [f"{call.name} {call.arguments}" for call in message.tool_calls]
    return "\n".join(part for part in (message.reasoning, message.content, *calls) if part)
