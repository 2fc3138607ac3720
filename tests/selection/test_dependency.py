"""The backward slice over values: what gives what, laws, and examples to judge by eye."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.records import Message, Problem, Selection, Step, ToolCall, Trajectory
from atlas.selection.dependencies.value_uses import ValueUse, find_uses
from atlas.selection.selectors.dependency import acting_steps, backward_slice
from tests.conftest import make_trajectory
from tests.selection.configs import new_selector, select_config

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "dependency.txt"
Turn = tuple[str, str]


def acting(*turns: Turn, task: str = "") -> Trajectory:
    """A ReAct trajectory; each turn is an observation and the action after it."""
    steps = tuple(
        Step(
            observation=(Message(role="user", content=seen),),
            response=Message(role="assistant", content=f"Action:\n{action}"),
            action=action,
        )
        for seen, action in turns
    )
    prompt = (Message(role="system", content=task),)
    return make_trajectory(0).model_copy(update={"steps": steps, "prompt": prompt})


def calling(question: str, *turns: tuple[dict[str, str], str | None, dict[str, Any]]) -> Trajectory:
    """Tool calls; each turn has results by call id, what is said, and arguments by call id."""
    steps = []
    for index, (results, said, calls) in enumerate(turns):
        seen = [
            Message(role="tool", content=text, tool_call_id=id_) for id_, text in results.items()
        ]
        if index == 0:
            seen = [Message(role="user", content=question)]
        made = tuple(
            ToolCall(id=id_, name=id_.rstrip(string.digits), arguments=json.dumps(arguments))
            for id_, arguments in calls.items()
        )
        response = Message(role="assistant", content=said or "", tool_calls=made)
        steps.append(Step(observation=tuple(seen), response=response))
    return make_trajectory(0).model_copy(update={"steps": tuple(steps)})


def select(trajectory: Trajectory, budget: int = 99) -> Selection:
    selection: Selection = new_selector(select_config("dependency")).select(trajectory, budget)
    return selection


def scores(trajectory: Trajectory) -> list[float | None]:
    result = new_selector(select_config("dependency")).score(trajectory)
    assert not isinstance(result, Problem), result
    return list(result)


def uses(trajectory: Trajectory, common: int = 5) -> set[tuple[int, int, str]]:
    return {(use.giver, use.user, use.value) for use in find_uses(trajectory, common)}


ROOMS = acting(
    ("Goal: fetch the lamp. You see a red door 1.", "go through red door 1"),
    ("A hall. You see a blue door 2 and a chair 1.", "sit on chair 1"),
    ("You sit.", "go through blue door 2"),
    ("A cellar. You see a brass lamp 4.", "take brass lamp 4"),
    ("You carry it.", "wait"),
)
BOOKING = calling(
    "Book the cheapest night at the lake for Ann Lee and mail her the code.",
    ({}, None, {"search1": {"place": "lake"}, "person2": {"name": "Ann Lee"}, "weather3": {}}),
    (
        {
            "search1": '[{"hotel": "Seeblick", "room_id": "rm_5512", "price": 80.50}]',
            "person2": '{"customer": "C-2041", "email": "ann.lee@example.org"}',
            "weather3": '{"sky": "clear", "degrees": 17}',
        },
        None,
        {"news4": {"topic": "lake"}},
    ),
    (
        {"news4": '{"headline": "Lake festival opens"}'},
        None,
        {"book5": {"room": "rm_5512", "customer": "C-2041", "price": 80.5}},
    ),
    (
        {"book5": '{"status": "ok", "code": "QX77-PL"}'},
        None,
        {"mail6": {"to": "ann.lee@example.org", "text": "Your code is QX77-PL."}},
    ),
    ({"mail6": '{"sent": true}'}, "Done: Seeblick for 80.50, code QX77-PL.", {}),
)
CODING = acting(
    ("Fix the crash in the report command.", "grep -rn render src"),
    ("src/report/table.py:88:def render_rows(rows):", "ls docs"),
    ("index.md usage.md", "open src/report/table.py 88"),
    (
        "88: def render_rows(rows):\n91:     return rows[0].width",
        "edit 91:91 return first_width(rows)",
    ),
    ("Text replaced.", "pytest tests"),
    ("2 passed", "submit"),
)
EXAMPLES = {"rooms": ROOMS, "booking (parallel calls)": BOOKING, "coding": CODING}


def test_the_slices_read_as_in_the_golden_file() -> None:
    """Each step with its score and what it gives. To regenerate, delete the file, then read it."""
    lines = []
    for name, trajectory in EXAMPLES.items():
        lines.append(f"{name}")
        given_by = {step.index: step for step in select(trajectory).critical_steps}
        for index, step in enumerate(trajectory.steps):
            calls = [f"{call.name} {call.arguments}" for call in step.response.tool_calls]
            does = step.action or "; ".join(calls) or step.response.content
            lines += [f"        sees  {message.content}" for message in step.observation]
            score, reason = "  -  ", "not on the slice"
            if index in given_by:
                score, reason = f"{given_by[index].score:.3f}", given_by[index].reason or ""
            lines += [f"{score}   {index} {does}", f"        {reason}"]
        lines.append("")
    text = "\n".join(lines)
    if not GOLDEN.exists():
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == text


def test_a_value_links_the_step_that_brought_it_into_view_to_the_step_that_uses_it() -> None:
    assert uses(ROOMS) == {(0, 1, "chair 1"), (0, 2, "blue door 2"), (2, 3, "brass lamp 4")}
    assert scores(ROOMS) == [0.9, None, 1.0, 0.0, None]
    assert select(ROOMS, 1).indices == {2}


def test_results_belong_to_the_call_with_their_id_also_when_they_come_late() -> None:
    late = calling(
        "Start both jobs.",
        ({}, None, {"run1": {"job": "first"}}),
        ({}, None, {"run2": {"job": "second"}}),
        ({"run2": "token BB-222"}, None, {"look3": {}}),
        (
            {"run1": "token AA-111", "look3": "nothing"},
            None,
            {"join4": {"tokens": "AA-111 BB-222"}},
        ),
    )
    assert uses(late) == {(0, 3, "aa 111"), (1, 3, "bb 222")}


def test_what_the_task_or_the_agent_itself_said_first_is_not_given() -> None:
    task = acting(
        ("Bring K-77 here.", "look"), ("You see K-77.", "take K-77"), task="The vault is V-9."
    )
    assert not uses(task)
    own = acting(("Begin.", "create notes.txt"), ("[notes.txt is new]", "rm notes.txt"))
    assert not uses(own)
    goal = task.model_copy(update={"task": task.task.model_copy(update={"goal": "find Q-5"})})
    steps = acting(("", "look"), ("You see Q-5.", "take Q-5")).steps
    assert not uses(goal.model_copy(update={"steps": steps}))


def test_a_value_that_was_everywhere_before_its_first_use_does_not_count() -> None:
    def seen(times: int) -> Trajectory:
        shown = [("Room with a banner X-1.", "wait")] * times
        return acting(("Begin.", "look"), *shown, ("Dark.", "take banner X-1"))

    assert uses(seen(5))
    assert not uses(seen(6))
    assert uses(seen(6), common=6)


def test_closed_class_words_and_single_digits_alone_are_no_values() -> None:
    assert not uses(acting(("Begin.", "look"), ("It is 5 of the in 3.", "in the 5 of 3")))


def test_in_prose_only_names_and_numbers_count() -> None:
    answer = calling(
        "What is it?",
        ({}, None, {"ask1": {}}),
        (
            {"ask1": "The tower is called Torre Vela and stands 212.50 m tall."},
            "It goes by Torre Vela and its height is some 212.5 m, as said.",
            {},
        ),
    )
    assert uses(answer) == {(0, 1, "torre vela"), (0, 1, "212.5 m")}


def test_case_separators_and_zeros_do_not_hide_a_value() -> None:
    found = uses(
        acting(
            ("Begin.", "look"),
            ('{"item": "minecraft:oak_planks", "total": "1,250.00", "day": "2031-04-09"}', "wait"),
            ("", "Oak planks"),
            ("", "pay 1250"),
            ("", "on 2031/04/09"),
        )
    )
    assert found == {(0, 2, "oak planks"), (0, 3, "1250"), (0, 4, "2031 04 09")}


def test_json_inside_json_is_read() -> None:
    inner = json.dumps({"note": "line\nfoo_77"})
    outer = json.dumps([{"type": "text", "text": inner}])
    assert uses(acting(("", "look"), (outer, "open foo_77"))) == {(0, 1, "foo 77")}


def test_the_last_action_and_the_last_answer_both_begin_the_slice() -> None:
    answer = calling(
        "Move my room.",
        ({}, None, {"find1": {}}),
        ({"find1": "room RR-10, guest Doe"}, None, {"rate2": {}}),
        ({"rate2": "rate TT-20"}, None, {"move3": {"room": "RR-10"}}),
        ({"move3": "moved"}, "It is done at rate TT-20.", {}),
    )
    assert scores(answer) == [0.5, 0.5, 0.0, 0.0]


def test_without_any_use_the_trajectory_is_a_problem_that_says_so() -> None:
    nothing = acting(("Begin.", "up"), ("Done.", "down"))
    assert "nothing to trace back" in str(select(nothing).problem)
    assert isinstance(new_selector(select_config("dependency")).score(nothing), Problem)
    for size in (0, 1):
        empty = make_trajectory(size)
        assert not select(empty).critical_steps
    assert select(make_trajectory(0)).problem is None


WORDS = st.text(string.ascii_lowercase, min_size=3, max_size=6)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Trajectory, list[str]]:
    """Trajectories over a few values, some of them in the task."""
    values = [
        f"{word}{number}"
        for number, word in enumerate(draw(st.lists(WORDS, min_size=3, max_size=7)), 10)
    ]
    some = st.lists(st.sampled_from(values), max_size=4).map(" and ".join)
    turns = draw(st.lists(st.tuples(some, some), min_size=2, max_size=8))
    return acting(*turns, task=draw(some)), values


def renamed(trajectory: Trajectory, change: Callable[[str], str]) -> Trajectory:
    turns = [
        (change(step.observation[0].content), change(step.action or ""))
        for step in trajectory.steps
    ]
    return acting(*turns, task=change(trajectory.prompt[0].content))


def standing(trajectory: Trajectory) -> list[float | None]:
    found: list[float | None] = [None] * len(trajectory.steps)
    for one in backward_slice(find_uses(trajectory, 5), acting_steps(trajectory)):
        found[one.step] = one.score
    return found


@given(stories(), st.permutations(range(7)))
def test_renaming_all_values_consistently_changes_nothing(
    story: tuple[Trajectory, list[str]], order: Sequence[int]
) -> None:
    trajectory, values = story
    new = {value: f"Fresh-{order[index]}{index}x" for index, value in enumerate(values)}

    def change(text: str) -> str:
        return " ".join(new.get(word, word) for word in text.split(" "))

    assert standing(renamed(trajectory, change)) == standing(trajectory)


@given(stories(), st.data())
def test_an_unrelated_step_changes_no_other_steps_standing(
    story: tuple[Trajectory, list[str]], data: st.DataObject
) -> None:
    trajectory, _ = story
    place = data.draw(st.integers(1, len(trajectory.steps)))
    turns = [(step.observation[0].content, step.action or "") for step in trajectory.steps]
    seen = turns[place][0] if place < len(turns) else "zzz 900"
    # What answered the step before still does; the new observation answers the new step.
    turns[place : place + 1] = (
        [(seen, "qqq 901"), ("zzz 900", turns[place][1])]
        if place < len(turns)
        else [(seen, "qqq 901")]
    )
    longer = standing(acting(*turns, task=trajectory.prompt[0].content))
    assert longer[place] is None
    assert [*longer[:place], *longer[place + 1 :]] == standing(trajectory)


@given(stories())
def test_each_step_of_the_slice_gives_to_a_later_one_of_it_or_ends_it(
    story: tuple[Trajectory, list[str]],
) -> None:
    trajectory, _ = story
    found = find_uses(trajectory, 5)
    assert all(use.giver < use.user for use in found)
    slice_ = {one.step: one.score for one in backward_slice(found, acting_steps(trajectory))}
    assert bool(slice_) == bool(found)
    for step, score in slice_.items():
        gives = any(use.giver == step and use.user in slice_ for use in found)
        assert gives or step == max(slice_)
        assert 0 <= score <= 1
        assert (score > 0) == gives


def test_a_chain_prefers_what_is_nearer_to_the_end_and_a_fork_shares() -> None:
    chain = [ValueUse(0, 1, "a"), ValueUse(1, 2, "b"), ValueUse(2, 3, "c")]
    assert [one.score for one in backward_slice(chain, frozenset({3}))] == [0.0, 1.0, 0.9, 0.81]
    fork = [ValueUse(0, 3, "a"), ValueUse(1, 3, "b"), ValueUse(1, 3, "c"), ValueUse(2, 3, "d")]
    assert {one.step: one.score for one in backward_slice(fork, frozenset({3}))} == {
        **{0: 0.25, 1: 0.5},
        **{2: 0.25, 3: 0.0},
    }


@pytest.mark.parametrize(
    "unit", ["word 12,34 ", "a", "1,", "red ball ", "_", "[", '{"a":', "\\", "'"]
)
def test_a_long_observation_takes_linear_time(unit: str) -> None:
    long = unit * (1_000_000 // len(unit)) + " key K-77"
    trajectory = acting(("Begin.", "look"), (long, f"{'red ball ' * 9}K-77"), ("", long))
    started = time.process_time()
    assert (0, 1, "k 77") in uses(trajectory) or unit in ("1,", "a")
    assert time.process_time() - started < 10


def test_deep_or_broken_json_is_read_as_text() -> None:
    for text in ("[" * 100_000 + " K-77", '{"a": "K-77"', '["K-77", ]'):
        assert uses(acting(("", "look"), (text, "take K-77"))) == {(0, 1, "k 77")}


@pytest.mark.parametrize(
    ("seen", "does"),
    [
        ("door 10", "open door 1"),
        ("order C-2041-B", "show C-2041"),
        ("order XC-2041", "show C-2041"),
        ("ticket C-2041", "show 2041"),
        ("on 2031-04-09", "see 2031-04"),
        ("on 2031-04-09", "see 04-09"),
        ("gift_card_12", "use gift_card_1"),
        ("1,2,3", "take 123"),
        ("12,34", "pay 1234"),
        ("2024,100", "pay 2024100"),
        ("1.250,00 EUR", "pay 1.25"),
        ("version 3.11.2", "use 3.11"),
    ],
)
def test_values_that_look_alike_are_different(seen: str, does: str) -> None:
    assert not uses(acting(("Begin.", "look"), (seen, does)))
    assert not uses(acting(("Begin.", "look"), (does.partition(" ")[2], seen)))


@pytest.mark.parametrize(
    ("seen", "does", "value"),
    [
        ("due: 1,250,000.50", "pay 1250000.5", "1250000.5"),
        ("due: 1250", "pay 1,250", "1250"),
        ("due: 1.250,00", "pay 1250", "1250"),
        ("due: １，２５０", "pay 1250", "1250"),
        ("Cafe\u0301 Sol", "book CAFÉ SOL", "café sol"),
        ("from 10:30-11:30", "book 11:30", "11 30"),
        ("pages 40-52", "read 52", "52"),
        ("test_77.py", "open test_77", "test 77"),
        ("订单号是A123，谢谢", "查询A123", "a123"),
        ("https://example.org/item?id=AB12&page=3", "get AB12", "ab12"),
        ('Result: {"note": "line\\nfoo_77"}', "open foo_77", "foo 77"),
        ("door 10 and a door", "open door 1", "door"),
    ],
)
def test_values_that_are_written_differently_are_the_same(seen: str, does: str, value: str) -> None:
    assert uses(acting(("Begin.", "look"), (seen, does))) == {(0, 1, value)}


@pytest.mark.parametrize(
    "answer",
    [
        "<think>K-77 or Q-88?</think>It is K-77.",
        "Q-88 or K-77?</think>It is K-77.",
        "<thinking>Q-88?</thinking> It is K-77. <think>Was it Q-88",
    ],
)
def test_thoughts_in_the_text_of_an_answer_are_no_answer(answer: str) -> None:
    trajectory = acting(("Begin.", "look"), ("You see K-77 and Q-88.", "wait"))
    said = Step(
        observation=(Message(role="user", content="Which one?"),),
        response=Message(role="assistant", content=answer),
    )
    longer = trajectory.model_copy(update={"steps": (*trajectory.steps, said)})
    assert uses(longer) == {(0, 2, "k 77")}


def test_a_long_chain_keeps_its_order_to_the_beginning() -> None:
    turns = [(f"token T{index}x", f"use T{index}x") for index in range(400)]
    found = scores(acting(("Begin.", "look"), *turns))[:-1]
    assert all(score is not None for score in found)
    assert found == sorted(set(found), key=lambda score: score or 0.0)


def test_a_long_identifier_takes_linear_time() -> None:
    for unit in ("a-", "x1-", "a."):
        long = acting(("Begin.", "look"), (unit * 200_000, unit * 2_000))
        started = time.process_time()
        uses(long)
        assert time.process_time() - started < 5
