"""Actions as calls and as texts: what is the same, what is not, and what holds no action."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.records import Message, Outcome, Source, Step, Task, ToolCall, Trajectory
from atlas.selection.agreement.actions import action_form, read_action
from atlas.selection.agreement.base import AGREEMENT, Verdict
from tests.selection.configs import context_of, select_config


def said(text: str = "", *calls: tuple[str, str]) -> Message:
    made = tuple(ToolCall(id=str(i), name=n, arguments=a) for i, (n, a) in enumerate(calls))
    return Message(role="assistant", content=text, tool_calls=made)


def react(action: str, thought: str = "Hm.") -> Message:
    return said(f"Thought:\n{thought}\n\nAction:\n{action}")


def of(response: Message) -> Trajectory:
    return Trajectory(
        id="t",
        task=Task(id="t", environment="test"),
        steps=(Step(observation=(), response=response),),
        outcome=Outcome(status="success"),
        source=Source(name="test"),
    )


def compare(kind: str, expert: Message, responses: Sequence[Message]) -> list[Verdict]:
    config = select_config("pivot", model="m", agreement=kind)
    made: Any = AGREEMENT.make(config.selector.settings.agreement, context_of(config))
    found: list[Verdict] = made.compare(of(expert), 0, responses)
    return found


def agrees(kind: str, expert: Message, response: Message) -> bool | None:
    [verdict] = compare(kind, expert, [response])
    return verdict.agrees


SAME_CALLS = [
    (("get", '{"n": 2, "of": "log"}'), ("get", '{"of":"log","n":2.0}')),
    (("get", "{}"), ("get", "")),
    (("get", "null"), ("get", "{}")),
    (("get", '{"a": [1, {"b": null}]}'), ("get", '{ "a": [1.0, {"b": null}] }')),
    (("get", "not json"), ("get", "not json")),
    (("get", '{"a": "\\u00e9"}'), ("get", '{"a": "é"}')),
    (("get", '{"a": NaN}'), ("get", '{"a": NaN}')),
    (("get", '{"a": 1e400}'), ("get", '{"a": 1e999}')),
]
OTHER_CALLS = [
    (("get", '{"n": 1}'), ("get", '{"n": true}')),
    (("get", '{"n": 1}'), ("get", '{"n": "1"}')),
    (("get", '{"n": 1}'), ("put", '{"n": 1}')),
    (("get", '{"n": 1}'), ("get", '{"n": 1, "m": null}')),
    (("get", '{"code": "if a:\\n  b"}'), ("get", '{"code": "if a:\\n b"}')),
    (("get", '"log"'), ("get", "log")),
    (("get", '{"a": [1, 2]}'), ("get", '{"a": [2, 1]}')),
    (("get", "{}"), ("get", '{"a": ' + "[" * 100_000)),
    (("get", '{"n": 1}'), ("get", '{"n": ' + "1" * 5_000 + "}")),
]


@pytest.mark.parametrize(("expert", "sample"), SAME_CALLS)
def test_calls_with_equal_names_and_values_are_the_same(expert: Any, sample: Any) -> None:
    assert agrees("call", said("", expert), said("Let me see.", sample))


@pytest.mark.parametrize(("expert", "sample"), OTHER_CALLS)
def test_calls_with_another_name_or_value_are_not(expert: Any, sample: Any) -> None:
    assert agrees("call", said("", expert), said("", sample)) is False


def test_several_calls_agree_in_any_order_but_not_in_part_or_twice() -> None:
    a, b = ("get", '{"n": 1}'), ("put", '{"n": 2}')
    expert = said("", a, b)
    samples = [said("", b, a), said("", a), said("", a, b, b), said("", a, a)]
    assert [one.agrees for one in compare("call", expert, samples)] == [True, False, False, False]
    assert agrees("exact", expert, said("", b, a)) is False
    assert agrees("call", said("", a), said("", a, b)) is False


def test_a_call_that_was_written_as_text_is_a_call() -> None:
    text = '<tool_call>\n{"name": "get", "arguments": {"n": 1}}\n</tool_call>'
    assert agrees("call", said("", ("get", '{"n": 1}')), said(text))
    assert agrees("call", said(text), said("", ("get", '{"n": 1.0}')))
    broken = text.replace("}}", "}")
    [verdict] = compare("call", said("", ("get", '{"n": 1}')), [said(broken)])
    assert (verdict.agrees, verdict.reason) == (False, "it holds no action")


SAME_TEXTS = [
    ("go to red ball 1", "Go  to red ball 1."),
    ("click[Buy Now]", "Click[ 'buy now' ]"),
    ("open('door 1')", 'open( "door 1" )'),
    ('{"action": "go", "n": 1}', '{"n": 1.0, "action": "go"}'),
    ("go forward", "go forward\nObservation: you see a wall"),
    ("```\nls -l\n```", "```\nls -l\n``` done"),
]
OTHER_TEXTS = [
    ("go to red ball 1", "go to red ball 2"),
    ("go to red ball 1", "go to red ball 1 and stop"),
    ("click[a]", "click[a b]"),
    ("```\nls -l\n```", "```\nls -a\n```"),
    ("```python\nif a:\n  b\n```", "```python\nif a:\n  c\n```"),
]


@pytest.mark.parametrize(("expert", "sample"), SAME_TEXTS)
def test_texts_without_capitals_and_white_space_are_the_same(expert: str, sample: str) -> None:
    assert agrees("call", react(expert), react(sample, "Another thought."))


@pytest.mark.parametrize(("expert", "sample"), OTHER_TEXTS)
def test_other_texts_are_not(expert: str, sample: str) -> None:
    assert agrees("call", react(expert), react(sample)) is False
    assert agrees("exact", react(expert), react(sample)) is False


def test_exact_forgives_white_space_only() -> None:
    assert agrees("exact", react("go to  ball"), react("go to ball ", "Other."))
    assert agrees("exact", react("go to ball"), react("Go to ball")) is False
    assert agrees("exact", said("", ("a", "{ }")), said("Hm.", ("a", "{ }")))
    assert agrees("exact", said("", ("a", "{}")), said("", ("a", "{ }"))) is False


@pytest.mark.parametrize("kind", ["exact", "call"])
@pytest.mark.parametrize(
    ("expert", "sample"),
    [
        (react("go"), said("I would go.")),
        (react("go"), said("Thought: hm.\nAction:")),
        (react("go"), said("Action: …\n---")),
        (said("", ("get", "{}")), said("get {}")),
        (said("Hello."), said("", ("get", "{}"))),
        (said("Hello."), said("<think>Hello.</think>")),
        (react("go"), said("Action: go <think> no </think>")),
    ],
)
def test_a_response_without_an_action_does_not_agree(
    kind: str, expert: Message, sample: Message
) -> None:
    [verdict] = compare(kind, expert, [sample])
    assert (verdict.agrees, verdict.reason) == (False, "it holds no action")


@pytest.mark.parametrize("kind", ["exact", "call"])
def test_where_the_expert_does_nothing_nothing_is_said(kind: str) -> None:
    [verdict] = compare(kind, said(" "), [said("Hello.")])
    assert verdict.agrees is None
    assert "expert" in str(verdict.reason)


def test_words_of_an_expert_who_only_talks_are_compared_whole() -> None:
    assert agrees("call", said("Hello, Ann!"), said("hello, ann"))
    assert agrees("call", said("Hello, Ann!"), said("Hello, Bob!")) is False


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_calls_agree_if_and_only_if_their_values_are_equal(one: Any, other: Any) -> None:
    def call(value: Any, **form: Any) -> Message:
        return said("", ("f", json.dumps({"x": value}, **form)))

    assert agrees("call", call(one), call(one, indent=2, ensure_ascii=False))
    # In Python True equals 1, in JSON it does not.
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert agrees("call", call(one), call(other)) is is_same


@given(st.text(), st.text())
def test_any_text_is_read_and_agrees_with_itself(one: str, other: str) -> None:
    for response in (said(one), react(one)):
        found = read_action(response, action_form(response))
        for kind in ("exact", "call"):
            assert agrees(kind, response, response) is (None if found is None else True)
            agrees(kind, response, react(other))


def test_long_and_strange_texts_take_no_long() -> None:
    started = time.process_time()
    for text in ("Action:" * 20_000, "[" * 100_000, " =" * 50_000, "<tool_call>" * 10_000):
        agrees("call", react("go"), react(text))
        agrees("call", said(text), said(text))
    assert time.process_time() - started < 10


def test_thoughts_that_never_end_hold_no_action() -> None:
    expert = react("sing")
    assert agrees("call", expert, said("<think>\nHm.\nAction: sing")) is False
    assert agrees("call", expert, said("<think>Action: go</think>\nAction: sing")) is True
    assert agrees("exact", said("Hello."), said("<think>Hello.")) is False
