from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.records import Message, Outcome, Source, Step, Task, ToolCall, Trajectory
from atlas.viewing.web.pages.align_steps import align_steps
from atlas.viewing.web.pages.changed_spans import Spans, compare_words
from atlas.viewing.web.pages.compare_page import AlignedRow, Side, align_episodes
from atlas.viewing.web.pages.step_parts import ActionPart, action_parts, thought_text

SWAPPED = {"left": "right", "right": "left"}


def text_step(seen: str, done: str, thought: str = "Hm.") -> Step:
    return Step(
        observation=(Message(role="user", content=seen),),
        response=Message(role="assistant", content=f"Thought:\n{thought}\n\nAction:\n{done}"),
        action=done,
    )


def call_step(seen: str, name: str, **arguments: object) -> Step:
    call = ToolCall(id="1", name=name, arguments=json.dumps(arguments))
    return Step(
        observation=(Message(role="tool", content=seen),),
        response=Message(role="assistant", tool_calls=(call,)),
    )


def episode(*steps: Step) -> Trajectory:
    return Trajectory(
        id="t",
        task=Task(id="task", environment="test"),
        steps=steps,
        outcome=Outcome(status="success"),
        source=Source(name="test"),
    )


WORDS = st.sampled_from(["go north", "go south", "take the red key", "open door 1", ""])
STEPS = st.one_of(
    st.builds(text_step, WORDS, WORDS, WORDS),
    st.builds(
        call_step,
        WORDS,
        st.sampled_from(["search", "buy"]),
        query=st.one_of(WORDS, st.integers(0, 2), st.booleans(), st.lists(WORDS, max_size=2)),
    ),
)
EPISODES = st.lists(STEPS, max_size=12).map(lambda steps: episode(*steps))


def swapped(row: AlignedRow) -> AlignedRow:
    difference = SWAPPED.get(row.difference, row.difference)
    return AlignedRow(row.number, row.right, row.left, difference)  # type: ignore[arg-type]


def text_of(spans: Spans) -> str:
    return "".join(span.text for span in spans)


def changes(parts: tuple[ActionPart, ...]) -> list[tuple[str, str]]:
    return [(part.name, span.text) for part in parts for span in part.spans if span.is_changed]


@given(EPISODES, EPISODES)
def test_every_step_of_both_is_in_one_row_in_order(left: Trajectory, right: Trajectory) -> None:
    rows = align_episodes(left, right).rows
    assert [row.left.index for row in rows if row.left] == list(range(len(left.steps)))
    assert [row.right.index for row in rows if row.right] == list(range(len(right.steps)))
    assert [row.number for row in rows] == list(range(len(rows)))
    assert all(row.left or row.right for row in rows)


@given(EPISODES)
def test_an_episode_beside_itself_has_no_difference(one: Trajectory) -> None:
    found = align_episodes(one, one)
    assert found.parts_at is None
    assert found.counts.keys() <= {"same"}
    sides = [side for row in found.rows for side in (row.left, row.right)]
    assert not any(changes(side.action) for side in sides if side)


@given(EPISODES, EPISODES)
def test_swapping_the_episodes_swaps_the_sides_and_nothing_else(
    left: Trajectory, right: Trajectory
) -> None:
    one, other = align_episodes(left, right), align_episodes(right, left)
    assert one.rows == tuple(map(swapped, other.rows))
    assert (one.parts_at, one.meets_again) == (other.parts_at, other.meets_again)


@given(EPISODES, EPISODES)
def test_they_part_at_the_first_step_that_differs(left: Trajectory, right: Trajectory) -> None:
    found = align_episodes(left, right)
    same = [row.is_same for row in found.rows]
    first = same.index(False) if False in same else None
    assert found.parts_at == first
    if first is not None and first < min(len(left.steps), len(right.steps)):
        sides = [row.left for row in found.rows[:first]]
        assert [side.index for side in sides if side] == list(range(first))


@given(EPISODES, EPISODES)
def test_a_different_action_has_a_mark_and_an_equal_one_has_none(
    left: Trajectory, right: Trajectory
) -> None:
    for row in align_episodes(left, right).rows:
        if row.left and row.right:
            marked = bool(changes(row.left.action) or changes(row.right.action))
            assert marked == (row.difference in ("action", "both"))


@given(st.text(max_size=40), st.text(max_size=40))
def test_spans_hold_the_whole_text_and_only_what_is_common_is_unmarked(one: str, two: str) -> None:
    spans, others = compare_words(one, two)
    assert (text_of(spans), text_of(others)) == (one, two)

    def kept(of: Spans) -> str:
        return "".join(span.text for span in of if not span.is_changed)

    assert kept(spans) == kept(others)


def test_later_steps_meet_again_after_a_detour() -> None:
    shared = [text_step(f"room {index}", f"go to room {index + 1}") for index in range(6)]
    detour = [text_step("a cellar", "look"), text_step("a wall", "go back")]
    found = align_episodes(episode(*shared), episode(*shared[:3], *detour, *shared[3:]))
    assert found.counts == {"same": 6, "right": 2}
    assert (found.parts_at, found.meets_again) == (3, 5)
    assert "They meet again" not in found.sentence
    assert "none at first" in found.sentence


def test_the_sentence_says_where_they_part_and_meet() -> None:
    shared = [text_step(f"room {index}", f"go to room {index + 1}") for index in range(6)]
    changed = [*shared[:2], text_step("room 2", "take the key"), *shared[3:]]
    found = align_episodes(episode(*shared), episode(*changed))
    assert found.sentence == (
        "They part at step 2: the same observation, another action. They meet again at step 3."
    )


def test_arguments_of_calls_are_compared_by_key_and_order_does_not_matter() -> None:
    left = call_step("ok", "search", query="red shoes", limit=5, page=1)
    right = call_step("ok", "search", page=1, query="blue shoes", sort="price")
    (row,) = align_episodes(episode(left), episode(right)).rows
    assert row.left
    assert row.right
    assert row.difference == "action"
    assert changes(row.left.action) == [("query", "red"), ("limit", "5")]
    assert changes(row.right.action) == [("query", "blue"), ("sort", "price")]
    reordered = call_step("ok", "search", page=1, limit=5, query="red shoes")
    assert align_episodes(episode(left), episode(reordered)).parts_at is None


def test_a_number_and_its_text_differ_visibly() -> None:
    left, right = call_step("ok", "go", to=1), call_step("ok", "go", to="1")
    (row,) = align_episodes(episode(left), episode(right)).rows
    assert row.left
    assert row.right
    assert row.difference == "action"
    assert changes(row.left.action) == [("to", "1")] == changes(row.right.action)


def test_broken_arguments_and_calls_without_partner_are_shown() -> None:
    broken = ToolCall(name="search", arguments='{"query": "red')
    response = Message(role="assistant", tool_calls=(broken, ToolCall(name="stop")))
    one = Step(observation=(), response=response)
    (row,) = align_episodes(episode(one), episode(call_step("", "search", query="red"))).rows
    assert isinstance(row.left, Side)
    assert ("", "stop") in changes(row.left.action)
    assert (action_parts(one)[1].name, text_of(action_parts(one)[1].spans)) == (
        "arguments",
        broken.arguments,
    )


@pytest.mark.parametrize(
    ("content", "action", "thought"),
    [
        ("Thought:\nHm.\n\nAction:\ngo north", "go north", "Hm."),
        ("go north", "go north", ""),
        ("I go north.", None, ""),
        ("I think of it. go north. Done.", "go north", "I think of it.\n\n. Done."),
    ],
)
def test_the_thought_is_what_is_said_beside_the_action(
    content: str, action: str | None, thought: str
) -> None:
    response = Message(role="assistant", content=content)
    assert thought_text(Step(observation=(), response=response, action=action)) == thought


def test_500_steps_are_aligned_in_bounded_time_and_more_are_paired_by_number() -> None:
    def long(number: int, by: int) -> Trajectory:
        return episode(
            *(text_step(f"room {index}", f"go {index * by % 97}") for index in range(number))
        )

    started = time.perf_counter()
    found = align_episodes(long(500, 7), long(500, 11))
    assert time.perf_counter() - started < 2
    assert found.is_whole
    assert len(found.rows) >= 500
    one, other = long(2_500, 7), long(2_400, 11)
    huge = align_episodes(one, other)
    assert not huge.is_whole
    assert [row.right.index for row in huge.rows if row.right] == list(range(2_400))


def test_no_steps_are_no_rows() -> None:
    assert align_steps([], []).pairs == ()
    assert align_episodes(episode(), episode()).rows == ()
