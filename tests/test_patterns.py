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

LENGTH = 20_000
# Linear search takes a few milliseconds; quadratic search takes seconds.
MAX_SECONDS = 0.4
METHODS = ("search", "match", "fullmatch", "sub", "finditer", "findall", "split")
SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in sorted(Path(atlas.__file__).parent.rglob("*.py"))
)
# Tables whose patterns are used by other names: the methods, and the longest text they get.
TABLES = {"_COMPILED": (("match",), 8_001)}


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
    methods, length = _use_of(PATTERNS[pattern], pattern)
    for text in _hostile(source):
        subject: Any = text[-length:] if is_text else text[-length:].encode("latin-1")
        for method in methods:
            arguments = ("" if is_text else b"", subject) if method == "sub" else (subject,)
            # A collection of garbage may fall into one attempt.
            is_fast = any(_seconds(pattern, method, arguments) < MAX_SECONDS for _ in range(3))
            assert is_fast, (method, text[:40])


def _seconds(pattern: re.Pattern[Any], method: str, arguments: tuple[Any, ...]) -> float:
    started = time.process_time()
    found = getattr(pattern, method)(*arguments)
    if method == "finditer":
        list(found)
    return time.process_time() - started
