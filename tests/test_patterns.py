"""No regular expression of the package takes quadratic time on hostile text, as it is used."""

from __future__ import annotations

import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import atlas

LENGTH = 10_000
# Most patterns take a few milliseconds. One that takes longer may take twice as long for a text of
# twice the length: the limit is between 2 (linear) and 4 (quadratic).
MAX_SECONDS = 0.02
MAX_GROWTH = 3.0
METHODS = ("search", "match", "fullmatch", "sub", "finditer", "findall", "split")
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(atlas.__file__).parent.rglob("*.py"))
)
# Tables whose patterns are used by other names: the methods, and the longest text they get.
TABLES = {
    "_COMPILED": (("match",), 8_001),
    # MAX_STATEMENT of the SQL world.
    "_QUOTED": (("sub",), 1_000),
}


def patterns() -> Iterator[tuple[str, re.Pattern[Any]]]:
    """The compiled patterns of all modules, also those in tables, by the name of their place."""
    for module in pkgutil.walk_packages(atlas.__path__, "atlas."):
        if module.name.endswith("__main__"):
            continue
        try:
            names = vars(importlib.import_module(module.name))
        except ImportError:
            # An extra is not installed.
            continue
        for name, value in names.items():
            for pattern in _patterns_in(value):
                yield name, pattern


def _patterns_in(value: Any, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif depth < 3 and isinstance(value, dict):
        for inner in value.values():
            yield from _patterns_in(inner, depth + 1)
    elif depth < 3 and isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _patterns_in(inner, depth + 1)


def _use_of(name: str, pattern: re.Pattern[Any]) -> tuple[tuple[str, ...], int]:
    """The methods that the package calls, and how long a text may be; all if none is found."""
    if name in TABLES:
        methods, length = TABLES[name]
        is_of_a_line = str(pattern.pattern).startswith("(?m)")
        return (("search",) if is_of_a_line else methods), length
    called = rf"\b{re.escape(name)}(?:\[\w+\])?\.({'|'.join(METHODS)})\b"
    return tuple(sorted(set(re.findall(called, SOURCE)))) or ("search",), LENGTH


def _hostile(pattern: str) -> Iterator[str]:
    """Long texts of the pattern's own characters and words, which almost match."""
    literal = re.sub(r"\\[a-zA-Z]|\(\?[a-zA-Z]*|[\[\]\\^$*+?{}|()]", " ", pattern)
    words = {
        *literal.split()[:12],
        *"\n\t \"'\\<[{(_-.,:a0é",
        "\\a",
        '\\"',
        "a ",
        " \n",
        "a_",
        "a.",
    }
    for word in sorted(words):
        yield (word * (LENGTH // len(word) + 1))[:LENGTH] + "\x00"
    first = (literal.split() or [""])[0]
    for filler in " \na0_.":
        yield first + filler * LENGTH + "\x00"


PATTERNS = {pattern: name for name, pattern in patterns()}


@pytest.mark.parametrize("pattern", PATTERNS, ids=PATTERNS.values())
def test_a_pattern_takes_linear_time(pattern: re.Pattern[Any]) -> None:
    is_text = isinstance(pattern.pattern, str)
    source = pattern.pattern if is_text else pattern.pattern.decode("latin-1")
    methods, length = _use_of(PATTERNS.get(pattern, ""), pattern)
    for text in _hostile(source):
        subject: Any = text[-length:] if is_text else text[-length:].encode("latin-1")
        for method in methods:
            # Other work may fall into one attempt.
            if any(_seconds(pattern, method, subject) < MAX_SECONDS for _ in range(3)):
                continue
            once, twice = (
                min(_seconds(pattern, method, part) for _ in range(3))
                for part in (subject, subject[:-1] + subject)
            )
            assert twice < MAX_GROWTH * once, (method, text[:40], once, twice)


@pytest.mark.parametrize("pattern", [r"<think>.*?</think>", r"a*b"])
def test_a_quadratic_pattern_is_seen(pattern: str) -> None:
    with pytest.raises(AssertionError):
        test_a_pattern_takes_linear_time(re.compile(pattern, re.DOTALL))


def _seconds(pattern: re.Pattern[Any], method: str, subject: Any) -> float:
    empty = subject[:0]
    arguments = (empty, subject) if method == "sub" else (subject,)
    started = time.process_time()
    found = getattr(pattern, method)(*arguments)
    if method == "finditer":
        list(found)
    return time.process_time() - started
