"""Two episodes on one task -> rows of aligned steps, and where they part first."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from atlas.records import Step, Trajectory
from atlas.viewing.web.pages.align_steps import Pair, StepKey, align_steps
from atlas.viewing.web.pages.changed_spans import Spans, compare_words, plain_spans
from atlas.viewing.web.pages.step_parts import (
    ActionPart,
    action_parts,
    action_text,
    compare_actions,
    observation_text,
    thought_text,
)
from atlas.viewing.web.pages.text_view import limit_of_texts

Difference = Literal["same", "action", "observation", "both", "left", "right"]
DIFFERENCES: dict[Difference, str] = {
    "same": "the same observation and action",
    "action": "the same observation, another action",
    "observation": "the same action after another observation",
    "both": "another observation and another action",
    "left": "only on the left",
    "right": "only on the right",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One step of one of the two episodes.

    `num_cut` counts the characters of a long observation that the page leaves out.
    """

    index: int
    observation: Spans
    thought: str
    action: tuple[ActionPart, ...]
    num_cut: int = 0

    @property
    def length(self) -> int:
        """The characters of the observation that the page shows."""
        return sum(len(span.text) for span in self.observation)


@dataclass(frozen=True, slots=True)
class AlignedRow:
    """Two steps that stand beside each other, or one step without a partner."""

    number: int
    left: Side | None
    right: Side | None
    difference: Difference

    @property
    def is_same(self) -> bool:
        return self.difference == "same"

    @property
    def name(self) -> str:
        return DIFFERENCES[self.difference]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two episodes side by side.

    Attributes:
        parts_at: the number of the first row that is not the same; None: there is none.
        meets_again: the number of the first row after it that is the same.
        has_other_prompt: whether the prompts before the first step differ.
        is_whole: whether steps after the parting were realigned; false for very long episodes.
    """

    rows: tuple[AlignedRow, ...]
    parts_at: int | None
    meets_again: int | None
    has_other_prompt: bool = False
    is_whole: bool = True

    @property
    def counts(self) -> Counter[Difference]:
        """How many rows there are of each kind."""
        return Counter(row.difference for row in self.rows)

    @property
    def sentence(self) -> str:
        """Where the episodes part, and where they meet again."""
        if self.parts_at is None:
            return "Both episodes have the same observations and actions."
        row = self.rows[self.parts_at]
        if row.left is None or row.right is None:
            longer = "left" if row.right is None else "right"
            place = row.left or row.right
            assert place is not None
            said = f"From step {place.index} on, the {longer} episode has steps of which the other"
            return f"{said} has none." if self.meets_again is None else f"{said} has none at first."
        said = f"They part at step {row.left.index}: {row.name}."
        if self.meets_again is None:
            return f"{said} They do not meet again."
        again = self.rows[self.meets_again]
        assert again.left is not None
        assert again.right is not None
        if again.left.index == again.right.index:
            return f"{said} They meet again at step {again.left.index}."
        places = f"{again.left.index} on the left and {again.right.index} on the right"
        return f"{said} They meet again at step {places}."


def align_episodes(left: Trajectory, right: Trajectory) -> Alignment:
    """Align two episodes on one task step by step.

    Each step of both is in one row, in order. Steps are the same if they have the same observation
    and the same action; thoughts may differ.
    """
    keys = [[_key(step) for step in one.steps] for one in (left, right)]
    aligned = align_steps(*keys)
    rows = tuple(_row(number, pair, left, right, keys) for number, pair in enumerate(aligned.pairs))
    parts_at = next((row.number for row in rows if not row.is_same), None)
    after = rows[parts_at:] if parts_at is not None else ()
    return Alignment(
        rows,
        parts_at,
        next((row.number for row in after if row.is_same), None),
        observation_text(left.prompt) != observation_text(right.prompt),
        aligned.is_whole,
    )


def _key(step: Step) -> StepKey:
    return StepKey(observation_text(step.observation), action_text(step))


def _row(
    number: int, pair: Pair, left: Trajectory, right: Trajectory, keys: list[list[StepKey]]
) -> AlignedRow:
    place, other_place = pair
    limit = limit_of_texts(len(left.steps) + len(right.steps))
    if place is None or other_place is None:
        lone = [
            None if index is None else _lone_side(index, one.steps[index], limit)
            for index, one in ((place, left), (other_place, right))
        ]
        return AlignedRow(number, lone[0], lone[1], "left" if other_place is None else "right")
    one, other = left.steps[place], right.steps[other_place]
    key, other_key = keys[0][place], keys[1][other_place]
    seen = compare_words(key.observation[:limit], other_key.observation[:limit])
    done = compare_actions(one, other)
    return AlignedRow(
        number,
        _side(place, one, seen[0], done[0], key, limit),
        _side(other_place, other, seen[1], done[1], other_key, limit),
        _difference(key, other_key),
    )


def _lone_side(index: int, step: Step, limit: int) -> Side:
    key = _key(step)
    seen = plain_spans(key.observation[:limit])
    return _side(index, step, seen, action_parts(step), key, limit)


def _side(
    index: int, step: Step, seen: Spans, done: tuple[ActionPart, ...], key: StepKey, limit: int
) -> Side:
    num_cut = max(0, len(key.observation) - limit)
    return Side(index, seen, thought_text(step), done, num_cut)


def _difference(key: StepKey, other: StepKey) -> Difference:
    is_seen, is_done = key.observation == other.observation, key.action == other.action
    if is_seen:
        return "same" if is_done else "action"
    return "observation" if is_done else "both"
