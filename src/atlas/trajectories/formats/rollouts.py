"""The model calls of a rollout -> its conversations, `(context, answer) pairs -> histories`.

Trainers log a rollout call by call, each with its whole context. A call whose context begins with
an earlier conversation continues it. Another context (after a compaction, or of a sub-agent) begins
a conversation of its own; answers of other conversations in it belong to its prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from pydantic import Field

from atlas.config import Config
from atlas.records import Outcome
from atlas.trajectories.formats.conventions import outcome_of_reward, read_reward
from atlas.trajectories.formats.conversations import num_leading_system
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.react_turns import Remark

CUT_BY_LENGTH = "answer cut by length"


class RewardConfig(Config):
    """How a reward becomes an outcome, where the source defines no success."""

    success_at: float | None = Field(
        default=None,
        description="reward from which a rollout is a success; without it a reward says nothing "
        "about success",
    )


Key = tuple[str, str, tuple[str, ...]]


@dataclass(slots=True)
class History:
    """A conversation; `is_made` says of each turn whether the model wrote it in this rollout.

    `calls` holds the number of the model call that each turn came with.
    """

    turns: list[Turn] = field(default_factory=list)
    is_made: list[bool] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def add(self, turns: Sequence[Turn], are_made: bool, call: int = 0) -> None:
        """Append turns; of those `are_made`, the assistant's were written by the model."""
        self.calls += [call] * len(turns)
        for turn in turns:
            self.turns.append(turn)
            self.is_made.append(are_made and turn.message.role == "assistant")
            self.keys.append(_key(turn))

    def continues(self, keys: Sequence[Key]) -> bool:
        """Whether a conversation with these keys begins with this one."""
        return self.keys == keys[: len(self.keys)]

    def parts(self) -> tuple[list[Turn], int]:
        """The turns, and how many of them are the prompt.

        The prompt ends with the last assistant turn before the model's first, such as an example.
        Later turns that the model did not write are marked as not trained.

        Raises:
            BadRowError: no turn was written by the model.
        """
        if True not in self.is_made:
            raise BadRowError("no answer of the model, so no step")
        first = self.is_made.index(True)
        given = [
            index + 1
            for index, turn in enumerate(self.turns[:first])
            if turn.message.role == "assistant"
        ]
        start = max(num_leading_system(self.turns), given[-1] if given else 0)
        is_foreign = [
            turn.message.role == "assistant" and not is_made
            for turn, is_made in zip(self.turns, self.is_made, strict=True)
        ]
        if not any(is_foreign[start:]):
            return self.turns, start
        marked = (
            turn._replace(is_trained=not foreign) if turn.message.role == "assistant" else turn
            for turn, foreign in zip(self.turns, is_foreign, strict=True)
        )
        return [*marked], start

    def calls_of_steps(self, start: int) -> list[int]:
        """The number of the model call of each step, after a prompt of `start` turns."""
        return [
            call
            for turn, call in zip(self.turns[start:], self.calls[start:], strict=True)
            if turn.message.role == "assistant"
        ]

    def remarks(self, start: int, cut: Collection[int]) -> list[Remark]:
        """Which steps were cut by length, given the numbers of such model calls."""
        steps = enumerate(self.calls_of_steps(start))
        return [(index, CUT_BY_LENGTH) for index, call in steps if call in cut]


def histories_of(calls: Iterable[tuple[Sequence[Turn], Sequence[Turn]]]) -> list[History]:
    """The conversations that model calls, each a context and an answer, make up in order."""
    histories: list[History] = []
    # By what they end with, so that a long rollout is not compared with itself again and again.
    by_end: dict[int, History] = {}
    for number, (context, answer) in enumerate(calls):
        ends = _ends(keys_of(context))
        found = next((by_end.pop(end) for end in reversed(ends) if end in by_end), None)
        if found is None:
            found = History()
            histories.append(found)
        found.add(context[len(found.turns) :], are_made=False, call=number)
        found.add(answer, are_made=True, call=number)
        by_end[_ends(found.keys)[-1] if found.keys else 0] = found
    return histories


def continued(histories: Sequence[History], keys: Sequence[Key]) -> History | None:
    """The longest history with which a conversation begins."""
    extended = [each for each in histories if each.continues(keys)]
    return max(extended, key=lambda each: len(each.turns), default=None)


def outcome_without_rule(
    reward: Any, config: RewardConfig, source: str, *, ending: str | None = None
) -> Outcome:
    """The outcome of a rollout with a reward whose meaning only the user knows.

    Args:
        ending: why the rollout was cut short, where it was.

    Raises:
        BadRowError: the reward is not a number.
    """
    score = read_reward(reward)
    is_cut = ending is not None
    if config.success_at is not None:
        return outcome_of_reward(score, config.success_at, is_truncated=is_cut, ending=ending)
    if is_cut:
        return Outcome(status="truncated", score=score, reason=f"cut short ({ending})")
    reason = f"{source} defines no success; give a reward as success_at"
    if score is None:
        reason = "no reward is recorded"
    return Outcome(status="unknown", score=score, reason=reason)


def _ends(keys: Sequence[Key]) -> list[int]:
    """A hash of each beginning of a conversation."""
    return [*accumulate(keys, lambda end, key: hash((end, key)), initial=0)][1:]


def keys_of(turns: Sequence[Turn]) -> list[Key]:
    """What later calls repeat of turns: not the thinking, which many templates strip."""
    return [*map(_key, turns)]


def _key(turn: Turn) -> Key:
    message = turn.message
    text = message.content
    if message.role == "assistant":
        text = text.rpartition("</think>")[2]
    return message.role, text.strip(), tuple(call.name for call in message.tool_calls)
