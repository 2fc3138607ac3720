"""import(export(x)) has everything of x that the dialect does not declare as lost."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import DataError
from atlas.exporting.dialects.base import DIALECT, DIALECTS, Dialect, DialectContext
from atlas.exporting.export_rows import rows_of
from atlas.exporting.write_rows import write_rows
from atlas.kinds import Choice
from atlas.records import (
    CRITICAL_KINDS,
    CriticalStep,
    Message,
    Problem,
    Selection,
    Step,
    ToolCall,
    Trajectory,
)
from tests.conftest import make_trajectory
from tests.exporting.round_trips import FORGET, exported_views, forget, imported_views
from tests.source_files import detect_format, read_file

pytest.importorskip("pyarrow", reason="the extra for parquet is not installed")
CHAT_DIALECTS = [name for name in DIALECTS if name != "trl"]
every_chat_dialect = pytest.mark.parametrize("name", CHAT_DIALECTS)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ODD = st.sampled_from(
    ["", "OK.", " \n", "<think>a</think>", '{"name": "x", "arguments": {}}', "[image]", "\u2028"]
)
TEXTS = WORDS | ODD
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(WORDS, VALUES, max_size=3).map(json.dumps) | st.sampled_from(
    ["{}", "", "[1, 2]", '"a"', "{not json", '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}']
)
SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """System messages, protocol turns, parallel calls, results, reasoning and empty turns."""
    has_ids, has_names = draw(st.booleans()), draw(st.booleans())
    is_plain = draw(st.booleans())
    prompt = [Message(role="system", content=draw(TEXTS)) for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        prompt.append(Message(role="user", content=draw(TEXTS)))
        if draw(st.booleans()):
            prompt.append(Message(role="assistant", content=draw(st.sampled_from(["OK.", "A."]))))
    steps: list[Step] = []
    calls: tuple[ToolCall, ...] = ()
    number = 0
    for index in range(draw(st.integers(1, 4))):
        seen = [
            Message(
                role="tool",
                content=draw(TEXTS),
                tool_call_id=call.id,
                name=call.name if has_names else None,
            )
            for call in calls
            if draw(st.integers(0, 9))
        ]
        if draw(st.integers(0, 9)) == 0 and (index or not prompt):
            # A turn right after a turn, or the first message.
            pass
        elif not seen or (not is_plain and draw(st.booleans())):
            role = draw(st.sampled_from(["user", "user", "user", "system"])) if index else "user"
            seen.append(Message(role=role, content=draw(TEXTS)))
            if draw(st.integers(0, 3)) == 0:
                seen.append(Message(role="user", content=draw(TEXTS)))
        calls = ()
        if not is_plain:
            calls = tuple(
                ToolCall(
                    id=f"call_{number + place}" if has_ids else None,
                    name=draw(st.sampled_from(["look", "go_to"])),
                    arguments=draw(ARGUMENTS),
                )
                for place in range(draw(st.integers(0, 2)))
            )
        number += len(calls)
        is_silent = bool(calls) and draw(st.booleans())
        response = Message(
            role="assistant",
            # A turn right after an equal one is a copy to some readers.
            content="" if is_silent else draw(TEXTS) if seen else f"Then {index}.",
            reasoning=draw(st.none() | TEXTS),
            tool_calls=calls,
        )
        steps.append(Step(observation=tuple(seen), response=response))
    final = [Message(role="user", content="Success")] if draw(st.booleans()) else []
    return make_trajectory(0).model_copy(
        update={
            "prompt": tuple(prompt),
            "steps": tuple(steps),
            "tools": (SCHEMA,) if draw(st.booleans()) else (),
            "final_observation": tuple(final),
        }
    )


@st.composite
def selections(draw: st.DrawFn, trajectory: Trajectory) -> Selection:
    num_steps = len(trajectory.steps)
    chosen = draw(st.sets(st.integers(0, num_steps - 1), min_size=1))
    steps = tuple(
        CriticalStep(
            index=index,
            kinds=tuple(draw(st.sets(st.sampled_from(CRITICAL_KINDS), max_size=2))),
            reason=draw(st.none() | WORDS),
            score=draw(st.none() | st.sampled_from([0.0, 0.25, 1.0])),
        )
        for index in sorted(chosen)
    )
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=num_steps,
        budget=num_steps,
        critical_steps=steps,
    )


def make(name: str) -> Dialect:
    made: Dialect = DIALECT.make(Choice(name), DialectContext())
    return made


@every_chat_dialect
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_no_dialect_declares_as_lost_comes_back(name: str, data: st.DataObject) -> None:
    trajectory = data.draw(trajectories())
    selection = data.draw(selections(trajectory))
    dialect = make(name)
    with tempfile.TemporaryDirectory() as folder:
        found = imported_views(dialect, trajectory, selection, Path(folder))
    if isinstance(found, Problem):
        assert "Use" in found.reason
        return
    lost = [change.name for change in dialect.losses(trajectory, selection)]
    expected = exported_views(dialect, trajectory, selection)
    assert [forget(view, lost) for view in found] == [forget(view, lost) for view in expected]


def test_every_declared_change_has_a_name_that_the_round_trip_knows() -> None:
    names = {change.name for dialect in CHAT_DIALECTS for change in DIALECT.find(dialect).changes}
    assert names == set(FORGET)


def samples() -> Iterator[Trajectory]:
    """Trajectories in which every change applies to a dialect that can hold them."""
    system, rules = (Message(role="system", content=text) for text in ("", "Rules."))
    user = Message(role="user", content="Go.", name="ann")
    ack, aloud = (Message(role="assistant", content=text) for text in ("OK.", "I see."))
    thought = aloud.model_copy(update={"reasoning": "Hm."})
    call = ToolCall(id="c1", name="look")
    calling = Message(role="assistant", content=" ", tool_calls=(call,))
    result = Message(role="tool", content="A door.", tool_call_id="c1", name="look")

    def made(prompt: list[Message], *turns: Message, tools: bool = False) -> Trajectory:
        steps, seen = [], []
        for message in turns:
            if message.role != "assistant":
                seen.append(message)
                continue
            steps.append(Step(observation=tuple(seen), response=message))
            seen = []
        return make_trajectory(0).model_copy(
            update={
                "prompt": tuple(prompt),
                "steps": tuple(steps),
                "tools": (SCHEMA,) if tools else (),
                "final_observation": (user,),
            }
        )

    yield made([system, rules, user, ack], user, calling, result, rules, thought, user, aloud)
    yield made([rules, user, ack], user, thought, rules, aloud, user, user, aloud)
    yield made([rules], user, thought, user, aloud, tools=True)
    yield made([rules], user, aloud, aloud)
    yield made([], user, calling, result, thought, user, aloud, tools=True)


@pytest.mark.parametrize("name", DIALECTS)
def test_every_declared_change_applies_to_something_that_is_exported(name: str) -> None:
    reached: set[str] = set()
    declared = DIALECT.find(name).changes
    for trajectory in samples():
        num = len(trajectory.steps)
        for chosen in ({0}, {num - 1}, set(range(num)), set(range(1, num)), {0, num - 1}):
            steps = tuple(CriticalStep(index=index, reason="r") for index in sorted(chosen))
            selection = Selection(
                trajectory_id="t", selector="s", num_steps=num, budget=num, critical_steps=steps
            )
            if name == "trl" or not isinstance(rows_of(make(name), trajectory, selection), Problem):
                reached |= {
                    change.text for change in declared if change.applies(trajectory, selection)
                }
    assert reached == {change.text for change in declared}


@pytest.mark.parametrize("name", ["last-turn", "llamafactory"])
def test_rows_of_one_trajectory_come_back_with_its_name_and_their_last_turn_marked(
    name: str, tmp_path: Path
) -> None:
    dialect, trajectory = make(name), make_trajectory(4, "walk")
    steps = tuple(CriticalStep(index=index) for index in (0, 2))
    selection = Selection(
        trajectory_id="walk", selector="test", num_steps=4, budget=4, critical_steps=steps
    )
    path = tmp_path / "rows.jsonl"
    write_rows(path, dialect.rows(trajectory, selection), dialect)
    found = read_file(detect_format(path), path)
    assert all(isinstance(one, Trajectory) for one in found)
    rows = [one for one in found if isinstance(one, Trajectory)]
    assert [one.task.id for one in rows] == ["walk", "walk"]
    assert [one.source.details["step"] for one in rows] == [0, 2]
    assert len({one.id for one in rows}) == 2
    assert [
        [step.annotation and step.annotation.is_marked for step in one.steps] for one in rows
    ] == [[True], [False, False, True]]


def test_rows_of_tokens_are_declared_as_not_readable(tmp_path: Path) -> None:
    from tests.conformance.test_dialects import rows

    trajectory = make_trajectory(2)
    path = tmp_path / "rows.jsonl"
    write_rows(path, rows("trl", trajectory, [1]), None)
    assert "only_tokens" in [change.name for change in DIALECT.find("trl").changes]
    with pytest.raises(DataError, match="--to parquet"):
        detect_format(path)
