from __future__ import annotations

from typing import Any

import pytest

from atlas.records import Outcome, Selection, Trajectory
from atlas.selection.judging.rejection_prompt import REJECTION_PROMPT
from atlas.selection.selectors.rejection import merge_labels
from tests.conftest import make_trajectory
from tests.models.endpoints.chat_server import ChatServer, Reply, completion
from tests.selection.oracle_answers import Answer, ask_selector, labels_of, steps_shown
from tests.selection.test_oracle_windows import LONG

FAILED = make_trajectory(4).model_copy(update={"outcome": Outcome(status="failure", score=0.0)})


def select(
    answer: Answer, trajectory: Trajectory = FAILED, **settings: Any
) -> tuple[Selection, ChatServer]:
    return ask_selector("rejection", trajectory, 1, answer, max_retries=0, **settings)


def test_bad_steps_are_masked_and_the_good_ones_of_a_failed_trajectory_are_kept() -> None:
    labels = labels_of({0: "good", 1: "mistake", 2: "recover", 3: "unnecessary"})
    selection, server = select(lambda body, number: completion(labels))
    assert [(step.index, step.kinds, step.reason) for step in selection.critical_steps] == [
        (0, (), "good"),
        (2, ("self_correction",), "recover"),
    ]
    assert (selection.budget, selection.problem) == (2, None)
    assert selection.prompt_digest == REJECTION_PROMPT.digest
    assert server.requests[0]["response_format"]["json_schema"]["schema"]["required"] == ["labels"]


def test_a_trajectory_of_mistakes_alone_keeps_nothing_and_is_no_problem() -> None:
    selection, _ = select(
        lambda body, number: completion(labels_of(dict.fromkeys(range(4), "mistake")))
    )
    assert (selection.indices, selection.budget, selection.problem) == (frozenset(), 0, None)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ({0: "good", 1: "good", 2: "good"}, "it labels 3 of 4 steps; step 3 has no label"),
        ({0: "good", 1: "good", 2: "good", 3: "fine"}, "the label of step 3 is 'fine'"),
        ({0: "good", 1: "good", 2: "good", 4: "good"}, "index 4 is out of range"),
    ],
)
def test_every_step_needs_one_known_label(labels: dict[int, str], complaint: str) -> None:
    selection, server = select(lambda body, number: completion(labels_of(labels)))
    assert complaint in (selection.problem or "")
    assert len(server.requests) == 2


def test_a_step_named_twice_is_sent_back() -> None:
    twice = labels_of({0: "good", 1: "good", 2: "good", 3: "good"}).replace(
        '"index": 3', '"index": 2'
    )
    selection, _ = select(
        lambda body, number: completion(
            twice if number == 0 else labels_of(dict.fromkeys(range(4), "good"))
        )
    )
    assert selection.indices == {0, 1, 2, 3}


def test_long_trajectories_are_labeled_in_windows() -> None:
    def answer(body: dict[str, Any], number: int) -> Reply:
        return completion(
            labels_of({index: "mistake" if index == 7 else "good" for index in steps_shown(body)})
        )

    selection, server = select(answer, LONG, max_prompt_chars=12_000)
    assert selection.indices == set(range(60)) - {7}
    assert (
        len(server.requests) == len(REJECTION_PROMPT.questions(LONG, len(LONG.steps), 12_000)) > 1
    )


def test_where_windows_differ_either_may_call_a_step_bad() -> None:
    merged = merge_labels(
        {1: ("mistake", "x"), 2: ("good", None), 3: ("recover", None)},
        {1: ("good", None), 2: ("mistake", "y"), 3: ("good", None)},
    )
    assert {index: label for index, (label, _) in merged.items()} == {
        1: "mistake",
        2: "mistake",
        3: "good",
    }
