"""What sampling will cost, before it starts: `trajectories -> responses, tokens, seconds`."""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field

from atlas.models.players import NO_USAGE, Player
from atlas.records import Message, Trajectory, Usage
from atlas.selection.costs import CHARS_PER_TOKEN
from atlas.selection.sampling.profile_steps import histories
from atlas.selection.sampling.samples import sample_key
from atlas.selection.text_features import join_texts

# Tokens of an answer in the second of two trials; the first has one.
TRIAL_TOKENS = 17


@dataclass
class SamplePlan:
    """Sums over all samples that are still missing. Four characters count as one token.

    Attributes:
        asked: input tokens with the whole history for each sample, as an endpoint counts them;
            output tokens as if a sample were as long as the expert's response.
        read_once: tokens of histories of which each common start counts once.
        typical: the history and the number of its tokens at a step in the middle.
    """

    num_trajectories: int = 0
    num_steps: int = 0
    num_kept: int = 0
    asked: Usage = NO_USAGE
    read_once: int = 0
    typical: tuple[Message, ...] = ()
    _sizes: list[tuple[int, tuple[Message, ...]]] = field(default_factory=list)

    @property
    def num_samples(self) -> int:
        return self.asked.requests


def plan_samples(
    trajectories: Iterable[Trajectory],
    num_samples: int,
    max_tokens: int | None,
    kept: Container[str],
) -> SamplePlan:
    """Count what is to be sampled.

    Args:
        kept: keys of samples that exist already.
    """
    plan = SamplePlan()
    for trajectory in trajectories:
        # They are sent, or written by the chat template, with each history.
        tools = _tokens_of("".join(map(json.dumps, trajectory.tools)))
        plan.num_trajectories += 1
        plan.num_steps += len(trajectory.steps)
        longest = 0
        for step, history in enumerate(histories(trajectory)):
            keys = (sample_key(trajectory.id, step, number) for number in range(num_samples))
            missing = sum(key not in kept for key in keys)
            plan.num_kept += num_samples - missing
            if not missing:
                continue
            sent = tools + _num_tokens(history)
            longest = max(longest, sent)
            said = _num_tokens([trajectory.steps[step].response])
            received = said if max_tokens is None else min(said, max_tokens)
            plan.asked += Usage(
                requests=missing, input_tokens=missing * sent, output_tokens=missing * received
            )
            plan._sizes.append((sent, history))
        plan.read_once += longest
    if plan._sizes:
        ordered = sorted(plan._sizes, key=lambda size: size[0])
        plan.typical = ordered[len(ordered) // 2][1]
    return plan


def _num_tokens(messages: Sequence[Message]) -> int:
    return _tokens_of(join_texts(messages))


def _tokens_of(text: str) -> int:
    return -(-len(text) // CHARS_PER_TOKEN)


def time_trial(
    player: Player, history: Sequence[Message], num_conversations: int
) -> tuple[float, Usage]:
    """The seconds that a local model takes for answers to one history, and the tokens of one.

    The number of generated tokens is the sum over all conversations.
    """
    names = [f"trial {number}" for number in range(num_conversations)]
    started = time.perf_counter()
    for name in names:
        player.submit(name, history)
    left, received, sent = set(names), 0, 0
    while left:
        answers = player.next_answers()
        for name, answer in answers.items():
            received += answer.usage.output_tokens
            sent = answer.usage.input_tokens
            left.discard(name)
    seconds = time.perf_counter() - started
    for name in names:
        player.close(name)
    return seconds, Usage(input_tokens=sent, output_tokens=received)
