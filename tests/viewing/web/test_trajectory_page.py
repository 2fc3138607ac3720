"""The view of one trajectory: parts of responses, pairs of calls, columns, folds."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.records import (
    CRITICAL_KINDS,
    Annotation,
    CriticalStep,
    Message,
    Outcome,
    Selection,
    Source,
    Step,
    Task,
    ToolCall,
    Trajectory,
)
from atlas.viewing.web.labels.edits import Labeling, StepLabel
from atlas.viewing.web.markdown_copy import markdown_copy
from atlas.viewing.web.pages.labeling_view import describe_labeling
from atlas.viewing.web.pages.paired_calls import CallPlace, ResultPlace, pair_calls
from atlas.viewing.web.pages.pretty_json import (
    MAX_GROWTH,
    SHORT,
    indent_json,
    read_arguments,
)
from atlas.viewing.web.pages.response_parts import split_response
from atlas.viewing.web.pages.step_marks import find_disagreements, view_columns
from atlas.viewing.web.pages.text_view import view_text
from atlas.viewing.web.pages.trajectory_page import describe_trajectory
from atlas.viewing.web.pages.whole_texts import find_text
from atlas.viewing.web.rows import NamedSelection
from tests.viewing.web.hostile_texts import ATTACKS, hostile_selections, hostile_trajectory

WORDS = st.lists(
    st.sampled_from(
        ["Thought:", "Action:", "thought 2:", "<think>", "</think>", "```", "\n", " ", "go", "a b"]
    ),
    max_size=14,
).map("".join)


def said(text: str, **fields: object) -> Message:
    return Message(role="assistant", content=text, **fields)  # type: ignore[arg-type]


def trajectory(*steps: Step, **fields: object) -> Trajectory:
    return Trajectory(
        id="t",
        task=Task(id="task", environment="world"),
        steps=steps,
        outcome=Outcome(status="success", score=1.0),
        source=Source(name="test"),
        **fields,  # type: ignore[arg-type]
    )


def step(text: str, *observation: Message, **fields: object) -> Step:
    return Step(observation=observation, response=said(text), **fields)  # type: ignore[arg-type]


def selection(name: str, num_steps: int, **kinds: str) -> NamedSelection:
    """A selection: `s3="plan_creation"` chooses step 3."""
    steps = tuple(
        CriticalStep(index=int(key[1:]), kinds=tuple(filter(None, [kind])))  # type: ignore[arg-type]
        for key, kind in kinds.items()
    )
    chosen = Selection(
        trajectory_id="t",
        selector=name,
        num_steps=num_steps,
        budget=num_steps,
        critical_steps=steps,
    )
    return NamedSelection(name, name, chosen)


def test_react_text_is_told_apart_into_thought_and_action() -> None:
    parts = split_response("Thought: It is locked.\nAction: open door 1")
    assert (parts.thought, parts.action, parts.is_message) == (
        "It is locked.",
        "open door 1",
        False,
    )


def test_thinking_in_tags_and_a_fenced_action_are_found() -> None:
    parts = split_response("<think>\nHm.\n</think>\nList them.\n```\nls -F\n```", "ls -F\n")
    assert (parts.reasoning, parts.thought, parts.action) == ("Hm.", "List them.", "ls -F")


def test_a_text_without_marks_is_a_message_unless_it_calls_tools() -> None:
    assert split_response("Which user id?").is_message
    assert split_response("I look it up.", calls=True).thought == "I look it up."


@given(WORDS, st.booleans(), st.sampled_from([None, "go", "a b"]))
def test_no_word_of_a_response_is_lost(text: str, calls: bool, action: str | None) -> None:
    parts = split_response(text, action, calls)
    shown = " ".join((parts.reasoning, parts.thought, parts.action, parts.after))
    for word in ("go", "a b"):
        assert shown.count(word) == text.count(word)


@given(st.text(), st.integers(min_value=1, max_value=2000))
def test_a_view_of_a_text_says_how_much_it_leaves_out(text: str, limit: int) -> None:
    view = view_text(text, "prompt.0", limit)
    assert view.num_cut == max(0, len(text) - limit)
    assert view.head + view.rest == view.shown


def test_long_texts_are_folded_and_control_characters_are_visible() -> None:
    view = view_text("\n".join(f"line {number} \x1b[0m" for number in range(100)), "prompt.0")
    assert view.head.count("\n") == 9
    assert "\\x1b" in view.head
    assert view.folded == "90 more lines"


def test_arguments_keep_their_digits_and_repeated_keys_stay_as_they_are() -> None:
    assert read_arguments('{"a": 1.10, "b": "x\\ny", "c": NaN}') == [
        ("a", "1.10"),
        ("b", "x\ny"),
        ("c", "NaN"),
    ]
    assert read_arguments('{"a": 1, "a": 2}') is None
    assert read_arguments("[" * 100_000) is None


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_indented_json_is_the_same_json(value: object) -> None:
    text = json.dumps(value)
    assert json.loads(indent_json(text)) == value


@settings(max_examples=30)
@given(st.integers(1, 250), st.integers(1, 400), st.integers(1, 4))
def test_indented_json_is_at_most_some_times_as_long(depth: int, items: int, copies: int) -> None:
    nested = f"{'[' * depth}{', '.join(['0'] * items)}{']' * depth}"
    arguments = json.dumps({str(copy): json.loads(nested) for copy in range(copies)})
    shown = read_arguments(arguments) or ()
    assert len(indent_json(nested)) <= max(SHORT, MAX_GROWTH * len(nested))
    assert sum(len(value) for _, value in shown) <= max(SHORT, MAX_GROWTH * len(arguments))


def test_results_are_paired_by_id_then_by_name_then_by_order() -> None:
    calls = (
        ToolCall(id="one", name="look"),
        ToolCall(id="two", name="take"),
        ToolCall(name="drop"),
    )
    first = Step(observation=(), response=said("", tool_calls=calls))
    results = (
        Message(role="tool", content="2", tool_call_id="two"),
        Message(role="tool", content="3", name="drop"),
        Message(role="tool", content="1", tool_call_id="one"),
    )
    pairs = pair_calls(trajectory(first, step("done", *results)))
    assert pairs.calls == {
        ResultPlace(1, 0): CallPlace(0, 1),
        ResultPlace(1, 1): CallPlace(0, 2),
        ResultPlace(1, 2): CallPlace(0, 0),
    }


def test_an_id_that_comes_again_belongs_to_the_newest_call() -> None:
    call = ToolCall(id="same", name="look")
    result = Message(role="tool", content="seen", tool_call_id="same")
    one = Step(observation=(), response=said("", tool_calls=(call,)))
    two = Step(observation=(result,), response=said("", tool_calls=(call,)))
    pairs = pair_calls(trajectory(one, two, final_observation=(result,)))
    assert pairs.calls == {ResultPlace(1, 0): CallPlace(0, 0), ResultPlace(2, 0): CallPlace(1, 0)}


def test_a_result_links_to_its_call_and_a_call_without_one_says_so() -> None:
    calls = (ToolCall(id="a", name="look", arguments='{"at": "door"}'), ToolCall(id="b", name="go"))
    first = Step(observation=(), response=said("", tool_calls=calls))
    result = Message(role="tool", content='{"seen": [1, 2]}', tool_call_id="a")
    view = describe_trajectory(trajectory(first, step("done", result)))
    answered, waiting = view.steps[0].calls
    shown = view.steps[1].observation[0]
    assert answered.result == shown.anchor
    assert (shown.call, shown.name, shown.call_step) == (answered.anchor, "look", 0)
    assert waiting.has_no_result


def test_columns_disagree_about_steps_and_about_kinds() -> None:
    steps = [step("a"), step("b"), step("c"), step("d")]
    columns = view_columns(
        steps,
        [
            selection("one", 4, s0="plan_creation", s1="plan_creation", s2="critical_action"),
            selection("two", 4, s1="self_correction", s2="critical_action"),
        ],
        [],
    )
    found = find_disagreements(columns)
    assert [(each.index, each.is_about_kinds) for each in found] == [(0, False), (1, True)]


def test_steps_that_a_person_has_not_labeled_yet_are_no_disagreement() -> None:
    class Label:
        step, type, annotator, reason = 1, "critical_action", "ann", "the door"

    one = trajectory(step("a"), step("b"), step("c"))
    chosen = [selection("oracle", 3, s0="plan_creation", s1="critical_action")]
    unfinished = describe_trajectory(one, chosen, [Label()])  # type: ignore[list-item]
    finished = describe_trajectory(one, chosen, [Label()], finished=["ann"])  # type: ignore[list-item]
    assert [each.index for each in unfinished.disagreements] == []
    assert [each.index for each in finished.disagreements] == [0]
    assert finished.columns[1].marks[1].reason == "the door"


@pytest.mark.parametrize("labeled", [(), (1,), (0, 1, 2)])
def test_who_has_finished_says_that_steps_without_a_label_are_not_critical(
    labeled: tuple[int, ...],
) -> None:
    """Whatever steps have the label "none", finishing equals this label on every step."""
    one = trajectory(step("a"), step("b"), step("c"))
    labels = {
        index: StepLabel("ann", one.id, "", index, "none", None, None, None, "")
        for index in range(3)
    }
    given = {index: labels[index] for index in labeled}
    chosen = [selection("oracle", 3, s1="critical_action")]
    views = [
        describe_trajectory(one, chosen, said.values(), finished=["ann"])
        for said in (given, labels)
    ]
    assert views[0].columns == views[1].columns
    assert [column.name for column in views[0].columns] == ["oracle", "ann"]
    assert [each.index for each in views[0].disagreements] == [1]
    beside = describe_labeling(one, "run", "bob", [Labeling(one.id, "", "ann", given, True)])
    said = [(other.annotator, other.name) for each in beside.steps for other in each.others]
    assert said == [("ann", "not critical")] * 3


def test_marks_of_the_source_are_a_column_unless_the_page_is_blind() -> None:
    marked = step("a", annotation=Annotation(kinds=("plan_creation",), score=1.0))
    shown = describe_trajectory(trajectory(marked, step("b")))
    assert [column.kind for column in shown.columns] == ["source"]
    assert shown.steps[0].is_critical
    hidden = describe_trajectory(trajectory(marked, step("b")), is_blind=True)
    assert not hidden.columns
    assert hidden.num_critical == 0


def test_the_strip_has_a_cell_for_each_step_with_its_kind_in_words() -> None:
    one = trajectory(*[step("go", is_invalid=index == 1) for index in range(3)])
    view = describe_trajectory(one, [selection("oracle", 3, s1="critical_observation")])
    assert [cell.is_critical for cell in view.strip] == [False, True, False]
    assert view.strip[1].title == "step 1: critical observation; not carried out"
    assert [(each.letter, each.num) for each in view.legend] == [("O", 1)]


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_text_of_a_view_is_visible(attack: str) -> None:
    view = describe_trajectory(hostile_trajectory(attack), hostile_selections(attack))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028\ud800-\udfff]", repr(view))
    text = markdown_copy(view)
    outside = re.sub(r"(?ms)^[ ]*(`{3,})\n.*?^[ ]*\1$", "", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\u2028]", text)
    assert "<" not in outside
    assert "\n# not a heading" not in outside


def test_markdown_marks_critical_steps_and_gives_reasons() -> None:
    chosen = CriticalStep(index=1, kinds=("plan_creation",), reason="It sets the goal", score=0.9)
    named = NamedSelection(
        "oracle",
        "oracle",
        Selection(trajectory_id="t", selector="o", num_steps=2, budget=1, critical_steps=(chosen,)),
    )
    one = trajectory(step("Thought: a\nAction: go"), step("Thought: b\nAction: ```up```"))
    text = markdown_copy(describe_trajectory(one, [named]))
    assert "## Step 0\n" in text
    assert "## ▶ Step 1\n\n- **plan creation** (oracle, score 0.9): It sets the goal\n" in text
    assert "````\n```up```\n````" in text


def test_five_megabytes_are_cut_with_a_note_and_can_be_read_in_full() -> None:
    text = "x" * 5_000_000
    one = trajectory(step("go", Message(role="user", content=text)))
    view = describe_trajectory(one).steps[0].observation[0].text
    assert len(view.shown) == 40_000
    assert view.num_cut == 4_960_000
    assert find_text(one, view.place) == text
    assert find_text(one, "step.7.observation.0") is None


def test_kinds_of_all_columns_are_those_of_the_step() -> None:
    one = trajectory(step("a"))
    chosen = [selection(kind, 1, s0=kind) for kind in reversed(CRITICAL_KINDS)]
    assert describe_trajectory(one, chosen).steps[0].kinds == CRITICAL_KINDS
