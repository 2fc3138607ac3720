"""Formats numbers for people, the same in HTML, Markdown and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from atlas.records import CRITICAL_KINDS
from atlas.statistics.estimate import Estimate

MINUS = "−"
DASH = "–"
PERCENT = "\u202f%"
# A p-value is not rounded to one of these levels, and has at most so many digits.
LEVELS = (0.01, 0.05, 0.1)
MAX_P_DIGITS = 6
# Labels of arms, selections and so on are cut to this length.
MAX_LABEL = 80
# Paragraphs are cut to this length.
MAX_TEXT = 4000

KIND_LABELS = {kind: kind.replace("_", " ") for kind in CRITICAL_KINDS}


def signed(value: float, digits: int) -> str:
    """A number with its sign, except when it is rounded to 0."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def thousands(value: float) -> str:
    """A whole number, with thin spaces between the thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def percent(rate: Estimate, digits: int = 1) -> str:
    """`36.0 %`."""
    return DASH if rate.value is None else f"{100 * rate.value:.{digits}f}{PERCENT}"


def percent_interval(rate: Estimate, digits: int = 1) -> str:
    """`[29.7, 42.9]`, in percent; empty without an interval."""
    return _interval(*(f"{100 * limit:.{digits}f}" for limit in rate.limits or ()))


def points(difference: Estimate) -> str:
    """A difference of rates in percentage points, with its sign."""
    return DASH if difference.value is None else signed(100 * difference.value, 1)


def points_interval(difference: Estimate) -> str:
    """`[+2.1, +13.9]`, in percentage points; empty without an interval."""
    return _interval(*(signed(100 * limit, 1) for limit in difference.limits or ()))


def plain_points(number: Estimate) -> str:
    """A share in percentage points without a sign, such as a standard deviation."""
    return DASH if number.value is None else f"{100 * number.value:.1f}"


def decimal(number: Estimate, digits: int = 3, sign: bool = False) -> str:
    """`0.512`, or `+0.512` with `sign`."""
    return DASH if number.value is None else _decimal(number.value, digits, sign)


def decimal_interval(number: Estimate, digits: int = 3, sign: bool = False) -> str:
    """`[0.412, 0.612]`; empty without an interval."""
    return _interval(*(_decimal(limit, digits, sign) for limit in number.limits or ()))


def count(number: Estimate) -> str:
    """A whole number; a mean over runs is rounded."""
    return DASH if number.value is None else thousands(number.value)


def seconds(number: Estimate) -> str:
    """A duration in its largest two units."""
    if number.value is None:
        return DASH
    if number.value < 60:
        return f"{number.value:.1f} s"
    minutes, rest = divmod(round(number.value), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"


def share(part: float, whole: float) -> str:
    """A share in whole percent."""
    return f"{100 * part / whole:.0f}{PERCENT}" if whole else DASH


def p_text(p_value: float | None) -> str:
    """A p-value with three digits, or with as many as keep it on its side of a level."""
    if p_value is None:
        return DASH
    digits = 3
    while digits < MAX_P_DIGITS and round(p_value, digits) in LEVELS and p_value not in LEVELS:
        digits += 1
    return "< 0.001" if p_value < 0.001 else f"{p_value:.{digits}f}"


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _decimal(value: float, digits: int, sign: bool) -> str:
    return signed(value, digits) if sign else f"{value:.{digits}f}".replace("-", MINUS)


def _interval(*limits: str) -> str:
    return f"[{', '.join(limits)}]" if limits else ""
