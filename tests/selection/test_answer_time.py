"""An answer is read in time linear in its length, and never at the cost of other answers."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.selection.judging.answer import LONGEST_ANSWER, AnswerError, read_answer
from atlas.selection.judging.rejection_prompt import read_labels
from atlas.selection.select_steps import select_steps
from tests.models.endpoints.chat_server import Reply, completion, serve
from tests.run_folders import selections_in
from tests.selection.configs import select_config
from tests.selection.oracle_answers import answer_of, good, number_in, write_numbered

# Each makes a text of about n characters that is hard to read.
HARD: dict[str, Callable[[int], str]] = {
    "braces": lambda n: "{" * n,
    "open names": lambda n: '{"' * (n // 2),
    "open objects": lambda n: '{"a":' * (n // 5),
    "nested objects": lambda n: '{"a":' * (n // 6) + "1" + "}" * (n // 6),
    "nested lists": lambda n: '{"critical_steps":' + "[" * n,
    "many nests": lambda n: ('{"a":' + "[" * 900) * (n // 905),
    "small objects": lambda n: '{"a":1}' * (n // 7),
    "different answers": lambda n: "".join(
        f'{{"critical_steps":[{one}]}}' for one in range(n // 24)
    ),
    "equal answers": lambda n: '{"critical_steps":[]}' * (n // 21),
    "objects in an open list": lambda n: '{"a":[' + "{}," * (n // 3),
    "lists in open lists": lambda n: ('{"a":[' + "[]," * (n // 60)) * 20,
    "open strings": lambda n: '{"a": "x' * (n // 8),
    "quotes in quotes": lambda n: '{"a": "' + '{"a": \\"' * (n // 8),
    "escapes": lambda n: '{"a": "' + '\\"' * (n // 2),
    "backslashes": lambda n: '{"a": "' + "\\" * n,
    "unicode escapes": lambda n: '{"a": "' + "\\u0041" * (n // 6),
    "digits": lambda n: '{"a": ' + "1" * n + "}",
    "long numbers": lambda n: ('{"a": ' + "1" * 5_000 + "}") * (n // 5_007),
    "constants": lambda n: '{"a": NaN}' * (n // 10),
    "fences": lambda n: '```json\n{"' * (n // 10),
    "thoughts": lambda n: '<think></think>{"' * (n // 17),
    "blanks": lambda n: "{   " * (n // 4),
    "lines before": lambda n: "\n" * (n // 2) + '{"' * (n // 4),
    "entries": lambda n: (
        '{"critical_steps": ['
        + ",".join(['{"index":0,"kind":"critical_action"}'] * (n // 37))
        + "]}"
    ),
    "names": lambda n: "{" + ",".join(f'"{one}":1' for one in range(n // 10)) + "}",
}

SIGNS = [
    *("{", "}", "[", "]", '"', "\\", ":", ",", '{"a":', '{"critical_steps":', "[]", "{}", "NaN"),
    *("1e999", "```", "\n", " ", "<think>", "</think>", "9" * 50, "\\u12", "[" * 99),
]


def seconds_to_read(text: str) -> float:
    # The objects of other tests would be looked through again and again.
    gc.collect()
    gc.freeze()
    started = time.process_time()
    for read in (lambda: read_answer(text, range(10), 3), lambda: read_labels(text, range(10))):
        complaint = ""
        try:
            read()
        except AnswerError as error:
            complaint = str(error)
        assert len(complaint) < 300
    return time.process_time() - started


@pytest.mark.parametrize("name", HARD)
def test_the_time_to_read_an_answer_is_linear_in_its_length(name: str) -> None:
    longest = HARD[name](LONGEST_ANSWER)[:LONGEST_ANSWER]
    # Both times are bounded by the same time for a character; a quadratic reader takes minutes.
    assert seconds_to_read(longest[: LONGEST_ANSWER // 8]) < 0.8
    assert seconds_to_read(longest) < 6


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(SIGNS),
        min_size=1,
        max_size=12,
    ),
    times=st.integers(1, 20_000),
)
def test_no_mixture_of_signs_takes_long_or_ends_in_another_error(
    parts: list[str], times: int
) -> None:
    text = ("".join(parts) * times)[:300_000]
    assert seconds_to_read(text) < 1.5


@settings(max_examples=100, deadline=None)
@given(
    before=st.text(alphabet='{}[]":,\\ \nab`', max_size=60),
    after=st.text(alphabet="]}:,\\ \nab`", max_size=60),
)
def test_an_answer_is_found_in_any_prose_that_opens_no_string(before: str, after: str) -> None:
    # A quotation mark could begin a string that holds the answer.
    text = before.replace('"', "'") + "\n" + answer_of([2, 5]) + "\n" + after
    assert [step.index for step in read_answer(text, range(10), 3)] == [2, 5]


def test_a_longer_answer_is_refused_by_its_length() -> None:
    with pytest.raises(AnswerError, match=r"500,001 characters, at most 500,000 are read"):
        read_answer(" " * (LONGEST_ANSWER + 1), range(3), 1)


@pytest.mark.parametrize("value", ['{"a": ' * 900 + "1" + "}" * 900, "[" * 900 + "]" * 900])
@pytest.mark.parametrize(
    "text",
    [
        '{"critical_steps": VALUE}',
        '{"critical_steps": [VALUE]}',
        '{"critical_steps": [{"index": VALUE}]}',
        '{"critical_steps": [{"index": 1, "kind": VALUE}]}',
        '{"critical_steps": [{"index": 1, "kind": "critical_action", "reason": VALUE}]}',
        '{"critical_steps": [{"index": 1, "kind": "critical_action", "confidence": VALUE}]}',
        '{"critical_steps": [VALUE]}{"critical_steps": [VALUE]}',
    ],
)
def test_a_deep_value_is_quoted_in_a_few_characters(text: str, value: str) -> None:
    with pytest.raises(AnswerError) as refused:
        read_answer(text.replace("VALUE", value), range(3), 3)
    assert len(str(refused.value)) < 200


HOSTILE = {
    "nested": '{"a":' * 400_000,
    "small objects": '{"a":1}' * 280_000,
    "lists in open lists": HARD["lists in open lists"](LONGEST_ANSWER),
    "larger than is read": "x" * 9_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_answer_costs_none_of_64_good_ones(name: str, tmp_path: Path) -> None:
    num_good = 64
    run, out = write_numbered(tmp_path / "run", num_good + 1), tmp_path / "out"
    is_hostile, timeout_seconds = False, 600.0

    def answer(body: dict[str, Any], number: int) -> Reply:
        if is_hostile and number_in(body) == 3:
            return completion(HOSTILE[name])
        return replace(good(body), delay=0.4)

    def select(url: str, out: Path) -> None:
        config = select_config(
            selector="oracle",
            model="judge",
            base_url=url,
            max_in_flight=num_good + 1,
            timeout_seconds=timeout_seconds,
            max_retries=0,
        )
        select_steps(config, run, out)

    # The server runs in this process, too: a busy machine makes it as slow as the client.
    with serve(answer) as server:
        started = time.monotonic()
        select(server.url, tmp_path / "usual")
        is_hostile, timeout_seconds = True, 2 + 3 * (time.monotonic() - started)
    with serve(answer) as server:
        select(server.url, out)
    asked = [number_in(body) for body in server.requests]
    assert sorted(one for one in asked if one != 3) == [n for n in range(num_good + 1) if n != 3]
    assert [one.trajectory_id for one in selections_in(out) if one.problem is not None] == ["t3"]


def test_the_reply_of_a_server_may_be_as_deep_as_the_answer_in_it(tmp_path: Path) -> None:
    run = write_numbered(tmp_path / "run", 2)

    def answer(body: dict[str, Any], number: int) -> Reply:
        if number_in(body) == 0 and len(server.requests) <= 2:
            reply = json.loads(good(body).body)
            text = json.dumps(reply)
            return Reply(text[:-1] + ', "more": ' + "[" * 100_000)
        return good(body)

    with serve(answer) as server:
        config = select_config("oracle", model="judge", base_url=server.url, max_retries=2)
        manifest = select_steps(config, run, tmp_path / "out")
    assert manifest.summary["problems"] == 0
