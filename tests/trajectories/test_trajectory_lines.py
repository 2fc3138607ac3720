from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.records import Message, Outcome, Step, ToolCall, Trajectory
from atlas.store.record_files import to_json
from atlas.trajectories.trajectory_lines import line_of
from tests.conftest import make_trajectory

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    text=TEXTS,
    number=st.floats(allow_nan=False, allow_infinity=False),
    fields=st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans()),
)
def test_a_line_is_what_the_store_would_write(
    text: str, number: float, fields: dict[str, Any]
) -> None:
    call = ToolCall(id=text, name=text, arguments=text)
    step = Step(
        observation=(Message(role="user", content=text),),
        response=Message(role="assistant", content=text, reasoning=text, tool_calls=(call,)),
        reward=number,
    )
    trajectory = make_trajectory(1)
    made = trajectory.model_copy(
        update={
            "steps": (step,),
            "tools": (fields,),
            "outcome": Outcome(status="failure", score=number),
            "source": trajectory.source.model_copy(
                update={"details": fields | {"inner": [fields, number]}}
            ),
        }
    )
    assert line_of(made).line == to_json(made)
    assert Trajectory.model_validate_json(line_of(made).line) == made


@pytest.mark.parametrize("value", [None, float("inf"), 2**70, "null"])
def test_a_line_with_what_json_has_no_word_for_is_written_all_the_same(value: Any) -> None:
    trajectory = make_trajectory(2)
    for update in (
        {"tools": ({"a": value},)},
        {"source": trajectory.source.model_copy(update={"details": {"a": value}})},
    ):
        made = trajectory.model_copy(update=update)
        assert line_of(made).line == to_json(made)
    infinite = trajectory.model_copy(
        update={"outcome": Outcome(status="failure", score=float("-inf"))}
    )
    assert line_of(infinite).line == to_json(infinite)


@given(before=TEXTS, after=TEXTS)
def test_another_id_changes_only_the_id(before: str, after: str) -> None:
    made = make_trajectory(2).model_copy(update={"id": before})
    assert line_of(made).with_id(after) == line_of(made.model_copy(update={"id": after}))
