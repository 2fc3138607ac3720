"""Long trajectories: observations first, then windows, then a merge under the budget."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import DataError
from atlas.records import CriticalStep, Message, Selection, Step, Trajectory
from atlas.selection.judging.answer import merge_answers
from atlas.selection.judging.oracle_prompt import ORACLE_PROMPT, RUBRIC
from atlas.selection.judging.prompt import JudgeQuestion, share_of_budget
from atlas.selection.judging.transcript import END, transcribe
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import ChatServer, Reply, completion
from tests.selection.oracle_answers import answer_of, ask_selector, num_allowed, steps_shown


def sized(lengths: list[tuple[int, int]], end: str = "It is done.") -> Trajectory:
    """A trajectory whose observations and responses have these lengths."""
    steps = tuple(
        Step(
            observation=(Message(role="user", content="o" * observation),),
            response=Message(role="assistant", content=f"response {index}: " + "r" * response),
        )
        for index, (observation, response) in enumerate(lengths)
    )
    final = (Message(role="user", content=end),)
    return make_trajectory(1).model_copy(update={"steps": steps, "final_observation": final})


# About 42,000 characters; only the responses are 18,000.
LONG = sized([(400, 300)] * 60)


def questions(
    max_chars: int, budget: int = 18, trajectory: Trajectory = LONG
) -> list[JudgeQuestion]:
    return ORACLE_PROMPT.questions(trajectory, budget, max_chars)


def test_what_fits_is_asked_at_once_and_whole() -> None:
    [question] = questions(100_000)
    assert (question.steps, question.budget) == (range(60), 18)
    assert "left out" not in question.messages[1].content


def test_observations_are_shortened_before_anything_is_split() -> None:
    [question] = questions(40_000)
    assert question.steps == range(60)
    assert "characters left out" in question.messages[1].content
    assert all(
        f"response {index}: " + "r" * 300 in question.messages[1].content for index in range(60)
    )


def test_past_that_there_are_overlapping_windows_that_cover_every_step() -> None:
    windows = questions(12_000)
    assert len(windows) > 3
    assert {index for window in windows for index in window.steps} == set(range(60))
    for before, after in pairwise(windows):
        assert before.steps.start < after.steps.start < before.steps.stop < after.steps.stop


def test_a_window_shows_its_steps_the_instructions_and_says_where_it_is() -> None:
    windows = questions(12_000)
    for window in windows:
        text = window.messages[1].content
        assert window.messages[0].content == RUBRIC
        assert sum(len(message.content) for message in window.messages) <= 12_000
        assert f"its steps {window.steps[0]} to {window.steps[-1]}." in text
        assert f"Name at most {window.budget} of them" in text
        assert "| You are in a room." in text
        assert [index for index in range(60) if f"## step {index}, response" in text] == list(
            window.steps
        )
        assert text.endswith(END)
    assert ["## after the last step" in window.messages[1].content for window in windows] == [
        False
    ] * (len(windows) - 1) + [True]


def test_a_window_gets_its_share_of_the_budget() -> None:
    assert [window.budget for window in questions(12_000)] == [
        share_of_budget(18, window.steps, 60) for window in questions(12_000)
    ]
    assert share_of_budget(18, range(10), 60) == 3
    assert share_of_budget(1, range(50, 60), 60) == 1
    assert share_of_budget(60, range(10), 60) == 10


def test_a_response_that_fits_no_question_is_named() -> None:
    with pytest.raises(DataError, match=r"step 1 by itself needs .* Raise max_prompt_chars"):
        questions(12_000, 1, sized([(10, 10), (10, 20_000), (10, 10)]))


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 900)), min_size=1, max_size=40),
    st.integers(2_500, 20_000),
)
def test_parts_of_any_trajectory_fit_cover_it_and_move_on(
    lengths: list[tuple[int, int]], room: int
) -> None:
    parts = transcribe(sized(lengths), lambda steps: room)
    assert all(len(part.text) <= room for part in parts)
    assert {index for part in parts for index in part.steps} == set(range(len(lengths)))
    assert all(before.steps.start < after.steps.start for before, after in pairwise(parts))


@given(st.integers(2, 120), st.integers(0, 500), st.integers(0, 700), st.integers(5_000, 20_000))
def test_windows_without_anything_to_cut_fit_too(
    num_steps: int, observation: int, response: int, max_chars: int
) -> None:
    for question in questions(max_chars, num_steps, sized([(observation, response)] * num_steps)):
        assert sum(len(message.content) for message in question.messages) <= max_chars


def test_the_merge_takes_the_surest_the_earlier_of_equals_and_counts_a_step_once() -> None:
    def named(*given: tuple[int, float | None]) -> list[CriticalStep]:
        return [CriticalStep(index=index, score=score, reason=f"{score}") for index, score in given]

    merged = merge_answers(
        [named((0, 0.5), (3, 0.2), (4, None)), named((3, 0.9), (5, 0.5), (6, 0.5))], 3
    )
    assert [(step.index, step.reason) for step in merged] == [(0, "0.5"), (3, "0.9"), (5, "0.5")]
    assert [step.index for step in merge_answers([named((4, None), (2, 0.1))], 5)] == [2, 4]


def ask(answer: Any, budget: int = 18) -> tuple[Selection, ChatServer]:
    return ask_selector("oracle", LONG, budget, answer, max_retries=0, max_prompt_chars=12_000)


def test_windows_are_asked_one_by_one_and_merged_under_the_whole_budget() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion(
            answer_of(steps_shown(body)[: num_allowed(body)], confidence=0.1 * (number + 1))
        )

    selection, server = ask(answer)
    assert selection.problem is None
    assert len(server.requests) == selection.usage.requests == len(questions(12_000))
    assert len(selection.indices) == selection.budget == 18
    last = questions(12_000)[-1]
    assert set(last.steps[: last.budget]) <= selection.indices  # the last window was the surest


def test_a_step_of_another_window_is_refused_though_the_trajectory_has_it() -> None:
    selection, server = ask(
        lambda body, number: completion(answer_of([0] if number == 0 else [59]))
    )
    assert "index 59 is out of range" in (selection.problem or "")
    assert "between" in server.requests[2]["messages"][-1]["content"]


def test_a_problem_in_one_window_is_the_trajectorys() -> None:
    selection, server = ask(
        lambda body, number: (
            completion(answer_of([0])) if number == 0 else completion(None, refusal="no")
        )
    )
    assert (selection.problem, selection.indices, len(server.requests)) == (
        "refused: no",
        frozenset(),
        2,
    )
    assert selection.usage.requests == 2
