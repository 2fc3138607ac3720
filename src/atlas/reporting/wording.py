"""Numbers and names as people read them: the same words in HTML, Markdown and on the terminal.

Names come from records and recipes, which anyone may have written: `clean` takes out what could break a line, a table or
the direction of a text. Escaping for HTML or Markdown is the writer's business.
"""

from __future__ import annotations

import unicodedata

from atlas.reporting.report import Comparison, Number

MINUS = "−"
DASH = "–"
THIN_SPACES = "\u00a0\u202f"  # they keep a number and its unit on one line
PERCENT = "\u202f%"
MAX_LABEL = 80

KIND_LABELS: dict[str, str] = {
    "plan_creation": "plan creation",
    "critical_observation": "critical observation",
    "critical_action": "critical action",
    "self_correction": "self correction",
}
VERDICTS: dict[str, str] = {
    "better": "better",
    "worse": "worse",
    "not_corrected": "not after correction",
    "none": "no difference shown",
    "untested": "no common valid task",
}


def clean(text: str, limit: int = MAX_LABEL) -> str:
    """One line of visible characters: line breaks become blanks, control and direction characters go, long text is cut."""
    spaced = "".join(
        " " if character.isspace() and character not in THIN_SPACES else character
        for character in text
    )
    visible = "".join(
        character
        for character in spaced
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )
    visible = " ".join(word for word in visible.split(" ") if word)
    return visible if len(visible) <= limit else visible[: limit - 1] + "…"


def split_label(split: str) -> str:
    """`held_in_test` -> `held-in test`."""
    return (
        clean(split).replace("held_in", "held-in").replace("held_out", "held-out").replace("_", " ")
    )


def signed(value: float, digits: int) -> str:
    """With its sign, unless it is 0 to that many digits."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def thousands(value: float) -> str:
    """A whole number, with thin blanks between the thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def percent(number: Number, digits: int = 1) -> str:
    return DASH if number.value is None else f"{100 * number.value:.{digits}f}{PERCENT}"


def percent_interval(number: Number, digits: int = 1) -> str:
    return (
        ""
        if number.low is None or number.high is None
        else f"[{100 * number.low:.{digits}f}, {100 * number.high:.{digits}f}]"
    )


def points(number: Number) -> str:
    """A difference of rates in percentage points, with its sign."""
    return DASH if number.value is None else signed(100 * number.value, 1)


def points_interval(number: Number) -> str:
    if number.low is None or number.high is None:
        return ""
    return f"[{signed(100 * number.low, 1)}, {signed(100 * number.high, 1)}]"


def decimal(number: Number, digits: int = 3, sign: bool = False) -> str:
    if number.value is None:
        return DASH
    return signed(number.value, digits) if sign else f"{number.value:.{digits}f}"


def decimal_interval(number: Number, digits: int = 3, sign: bool = False) -> str:
    if number.low is None or number.high is None:
        return ""
    low, high = (
        signed(limit, digits) if sign else f"{limit:.{digits}f}"
        for limit in (number.low, number.high)
    )
    return f"[{low}, {high}]"


def count(number: Number) -> str:
    """A whole number; a mean over runs is rounded."""
    return DASH if number.value is None else thousands(number.value)


def seconds(number: Number) -> str:
    """A duration in the largest two units that say something."""
    if number.value is None:
        return DASH
    if number.value < 60:
        return f"{number.value:.1f} s"
    minutes, rest = divmod(round(number.value), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def p_text(p_value: float | None) -> str:
    if p_value is None:
        return DASH
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def difference_text(comparison: Comparison) -> str:
    """`+8.0 points [+2.1, +13.9]`"""
    difference = comparison.success_difference
    return f"{points(difference)} points {points_interval(difference)}".strip()


def join_words(words: list[str]) -> str:
    return (
        words[0]
        if len(words) == 1
        else ", ".join(words[:-1]) + " and " + words[-1]
        if words
        else ""
    )
