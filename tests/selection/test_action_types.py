"""A selection that leaves an action type out says so, in every command that passes it on."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.presenting.action_types import (
    ACTION_TYPES,
    MOST_TYPES,
    NO_ACTION,
    ActionTypeCounter,
    types_note,
)
from atlas.records import (
    CriticalStep,
    Message,
    Selection,
    Step,
    ToolCall,
)
from atlas.selection.outlines import Outline
from atlas.selection.summary import summarize_selections
from tests.selection.configs import select_config
from tests.selection.notes_of_commands import run_the_three

TYPES = ("look", "take", "open", "answer")
ROWS = st.lists(
    st.lists(st.tuples(st.sampled_from(["", *TYPES]), st.booleans()), max_size=6), max_size=12
)


def step_of(action: str | None, *tools: str) -> Step:
    calls = tuple(
        ToolCall(id=f"c{number}", name=name, arguments="{}") for number, name in enumerate(tools)
    )
    response = Message(role="assistant", content="x", tool_calls=calls)
    return Step(observation=(), response=response, action=action)


@pytest.mark.parametrize(
    ("action", "tools", "types"),
    [
        ("go to desk 1", (), ("go",)),
        ("\n  search[red shoe]", (), ("search",)),
        ("click(3)", (), ("click",)),
        ("[stop]", (), ("[stop]",)),
        (None, (), ()),
        ("  \n", (), ()),
        ("look", ("read", "write", "read"), ("read", "write")),
        ("w" * 300, (), ("w" * 200,)),
        ("", ("n" * 300,), ("n" * 200,)),
        ("", ("",), ("(empty)",)),
    ],
)
def test_the_types_of_a_step(
    action: str | None, tools: tuple[str, ...], types: tuple[str, ...]
) -> None:
    assert step_of(action, *tools).action_types == types


def test_a_very_long_action_is_not_copied() -> None:
    step = step_of(" " + "a b" * 20_000_000)
    started = time.process_time()
    assert step.action_types == ("a",)
    assert time.process_time() - started < 0.1


@given(rows=ROWS)
def test_counts_add_up_to_all_steps(rows: list[list[tuple[str, bool]]]) -> None:
    counter = ActionTypeCounter()
    for row in rows:
        types = [(name,) if name else () for name, _ in row]
        counter.add(types, {index for index, (_, chosen) in enumerate(row) if chosen})
    steps = [(name or NO_ACTION, chosen) for row in rows for name, chosen in row]
    if all(name == NO_ACTION for name, _ in steps):
        assert counter.summary() == {}
        return
    found = counter.summary()[ACTION_TYPES]
    assert found["steps"] == len(steps)
    assert found["selected"] == sum(chosen for _, chosen in steps)
    for name, count in found["types"].items():
        assert count["steps"] == sum(one == name for one, _ in steps)
        assert count["selected"] == sum(chosen for one, chosen in steps if one == name)
    assert sum(count["steps"] for count in found["types"].values()) == len(steps)


@pytest.mark.parametrize("selected", ["calls", "words"])
def test_calls_and_answers_in_words_are_types_of_their_own(selected: str) -> None:
    counter = ActionTypeCounter()
    for _ in range(40):
        counter.add([("look_up",), ()], {0 if selected == "calls" else 1})
    note = types_note(counter.summary()[ACTION_TYPES])
    assert note is not None
    assert (f"'{NO_ACTION}' (0 of 40 steps)" in note) == (selected == "calls")
    assert ("'look_up' (0 of 40 steps)" in note) == (selected == "words")


def test_tools_with_a_long_common_start_are_different_types() -> None:
    tools = [f"mcp__plugin_playwright_playwright__browser_{name}" for name in ("click", "type")]
    counter = ActionTypeCounter()
    for _ in range(40):
        counter.add([step_of("", tool).action_types for tool in tools], {0})
    note = types_note(counter.summary()[ACTION_TYPES])
    assert note is not None
    assert tools[0] not in note
    assert tools[1] in note


def test_steps_of_trajectories_with_a_problem_count_as_not_selected() -> None:
    def selection(name: str, problem: str | None) -> Selection:
        steps = () if problem else (CriticalStep(index=0), CriticalStep(index=1))
        return Selection(
            trajectory_id=name,
            selector="test",
            num_steps=2,
            budget=2,
            critical_steps=steps,
            problem=problem,
        )

    found, outlines = [], {}
    for number in range(20):
        for name, problem, kind in (("a", None, "look"), ("b", "no answer", "close")):
            found.append(selection(f"{name}{number}", problem))
            outlines[f"{name}{number}"] = Outline("success", ((kind,),) * 2)
    summary = summarize_selections(found, select_config("random"), outlines, [], None)
    note = types_note(summary[ACTION_TYPES])
    assert note is not None
    assert "'close' (0 of 40 steps)" in note


def test_only_the_most_common_types_are_kept() -> None:
    counter = ActionTypeCounter()
    counter.add([(f"type{index % 90}",) for index in range(220)], ())
    types = counter.summary()[ACTION_TYPES]["types"]
    assert list(types) == sorted(types, key=lambda name: (-types[name]["steps"], name))
    assert len(types) == MOST_TYPES


def counted(rate_of_answers: float, seed: int) -> str | None:
    """The note on 100 trajectories of four types, a step in four selected."""
    lots = random.Random(seed)
    counter = ActionTypeCounter()
    for _ in range(100):
        rates = (*[0.25] * 3, rate_of_answers)
        chosen = {index for index, rate in enumerate(rates) if lots.random() < rate}
        counter.add([(name,) for name in TYPES], chosen)
    return types_note(counter.summary()[ACTION_TYPES])


def test_steps_drawn_at_random_leave_nothing_out_and_a_choice_that_does_is_found() -> None:
    assert [counted(0.25, seed) for seed in range(500)] == [None] * 500
    for seed in range(50):
        note = counted(0, seed)
        assert note is not None
        assert "'answer' (0 of 100 steps)" in note
        assert "look" not in note


def test_few_selected_steps_say_nothing() -> None:
    counter = ActionTypeCounter()
    for _ in range(9):
        counter.add([("look",), ("answer",)], {0})
    assert types_note(counter.summary()[ACTION_TYPES]) is None
    assert types_note({}) is None


def test_a_type_with_control_characters_is_escaped_in_the_note() -> None:
    counter = ActionTypeCounter()
    for _ in range(40):
        counter.add([("look",), ("\x1b[31m",)], {0})
    note = types_note(counter.summary()[ACTION_TYPES])
    assert note is not None
    assert "\x1b" not in note
    assert "\\x1b[31m" in note


@pytest.mark.parametrize(("places", "is_told"), [({0}, True), ({0, 3}, False)])
def test_select_train_and_export_say_which_types_are_left_out(
    places: set[int],
    is_told: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_model_folder: Path,
) -> None:
    told = run_the_three(tmp_path, tiny_model_folder, capsys, 48, places, TYPES)
    for text in told.texts:
        assert ("'answer' (0 of 48 steps)" in text) == is_told, text
        assert "'look'" not in text
    selected, trained, exported = (summary[ACTION_TYPES] for summary in told.summaries)
    assert selected["selected"] == 48 * len(places)
    assert selected == trained == exported
