"""A p-value is on the same side of a level when it is read as when it was computed."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from atlas.presenting.wording import LEVELS, p_text


@given(st.floats(0.0011, 1.0))
@example(0.0498)
@example(0.0502)
@example(0.0999)
@example(0.05)
def test_a_rounded_p_value_stays_on_its_side_of_a_level(p_value: float) -> None:
    for level in LEVELS:
        if abs(p_value - level) > 1e-6:
            assert (float(p_text(p_value)) < level) == (p_value < level)


def test_a_small_p_value_and_none() -> None:
    assert (p_text(0.0004), p_text(None), p_text(0.25)) == ("< 0.001", "–", "0.250")
