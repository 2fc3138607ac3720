"""Thinking is cut from a response as trainers cut it, in linear time."""

from __future__ import annotations

import re
import time

from hypothesis import given
from hypothesis import strategies as st

from atlas.auditing.trainers.responses import cut_thinking

PARTS = st.sampled_from(["<think>", "</think>", "<think", "a", "\n", "</"])


@given(parts=st.lists(PARTS, max_size=12))
def test_it_cuts_what_the_regular_expression_of_trainers_cuts(parts: list[str]) -> None:
    text = "".join(parts)
    assert cut_thinking(text) == re.sub("<think>.*?</think>", "", text, flags=re.DOTALL).lstrip(
        "\n"
    )


def test_thinking_that_is_never_closed_takes_linear_time() -> None:
    started = time.process_time()
    assert len(cut_thinking("<think>." * 500_000)) == 4_000_000
    assert time.process_time() - started < 1
