"""Whatever a file holds, import gives trajectories and problems, and keeps undamaged rows.

At least 60,000 inputs: damaged bytes, values and archives of every format's example, and values of
no format.
"""

from __future__ import annotations

import bz2
import copy
import gzip
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.records import Problem, Trajectory
from atlas.store.record_files import to_json
from atlas.trajectories.formats.base import FORMATS
from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories
from tests.conformance.test_formats import (
    EXAMPLES,
    FILES,
    GOOD,
    every_file_format,
    every_format,
    every_row_format,
)
from tests.source_files import detect_format, read_file

pytestmark = pytest.mark.slow

# For each format.
DAMAGED_LINES = 1500
DAMAGED_VALUES = 1300
DAMAGED_FILES = 500
HYPOTHESIS_EXAMPLES = 1500
MIN_INPUTS = 60_000
HOSTILE: list[Any] = [
    *(
        None,
        True,
        0,
        -1,
        10**400,
        2**64,
        1.5,
        float("nan"),
        float("inf"),
        "",
        " ",
        "text",
        "\ud800",
        "\x00",
        "[",
        '{"a": 1}',
        "[1]",
    ),
    *(
        [],
        {},
        [None],
        [[]],
        [{}],
        {"": None},
        {"role": "assistant"},
        [{"role": "assistant", "content": "x"}],
        {"type": "text"},
    ),
    json.loads("[" * 300 + "]" * 300),
]


def check(name: str, path: Path) -> list[Trajectory | Problem]:
    """Read the file in every way: only errors of atlas come out, and every item can be written."""
    items = read_file(name, path)
    for item in items:
        assert isinstance(item, Trajectory | Problem)
        assert b"\n" not in to_json(item)
    with suppress(AtlasError):
        assert detect_format(path) in FORMATS
    return items


def damage(data: bytes, rng: random.Random, keep_lines: bool) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        position = rng.randrange(len(damaged) + 1)
        end = position + rng.choice((0, 1, 1, 2, 8, 60))
        new = rng.choice(
            (
                rng.randbytes(rng.randint(0, 4)),
                rng.choice(
                    (
                        b'"',
                        b"{",
                        b"}",
                        b"[",
                        b"]",
                        b",",
                        b":",
                        b"\\",
                        b"\\u",
                        b"\\ud800",
                        b"NaN",
                        b"null",
                        b"\x00",
                        b"\xef\xbb\xbf",
                    )
                ),
                bytes(
                    damaged[(other := rng.randrange(len(damaged) + 1)) : other + rng.randint(0, 40)]
                ),
            )
        )
        damaged[position:end] = new.replace(b"\n", b"").replace(b"\r", b"") if keep_lines else new
    return bytes(damaged)


def damage_value(value: Any, rng: random.Random) -> Any:
    """A copy with one to three of its parts replaced, dropped or put in twice."""
    made = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(made))
        if not places:
            break
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.7:
            holder[key] = copy.deepcopy(rng.choice(HOSTILE))
        elif kind < 0.85:
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(holder)))
        else:
            holder[rng.choice(("id", "content", "loss", "weight", "tools", "messages", "name"))] = (
                copy.deepcopy(holder[key])
            )
    return made


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in (
        list(value)
        if isinstance(value, dict)
        else range(len(value))
        if isinstance(value, list)
        else ()
    ):
        yield value, key
        yield from _places(value[key])


def test_the_inputs_are_at_least_60_000_and_of_every_format() -> None:
    assert EXAMPLES.keys() | FILES.keys() == FORMATS.keys()
    by_row = len(EXAMPLES.keys() - FILES.keys()) * (DAMAGED_LINES + DAMAGED_VALUES)
    # As they are, and packed in two ways.
    by_file = len(FORMATS) * (DAMAGED_FILES + 2 * (DAMAGED_FILES // 2))
    by_session = len(FILES.keys() - {"inspect"}) * DAMAGED_VALUES
    assert by_row + by_file + by_session + HYPOTHESIS_EXAMPLES >= MIN_INPUTS


@every_row_format
def test_damaged_lines_never_cost_the_others(name: str, tmp_path: Path) -> None:
    rng = random.Random(f"lines {name}")
    lines = [json.dumps(EXAMPLES[name](GOOD, number)).encode() for number in range(3)]
    for number in range(DAMAGED_LINES):
        path = tmp_path / rng.choice(("x.jsonl", "x.json", "x"))
        position = rng.randrange(3) if path.suffix == ".jsonl" else rng.randrange(1, 3)
        given_lines = list(lines)
        given_lines[position] = damage(lines[position], rng, keep_lines=True)
        path.write_bytes(rng.choice((b"\n", b"\r\n", b"\n\n")).join(given_lines))
        kept = {item.id for item in check(name, path) if isinstance(item, Trajectory)}
        if number % 50 == 0:
            path.write_bytes(
                b"\n".join(line for index, line in enumerate(lines) if index != position)
            )
            expected = {item.id for item in read_file(name, path) if isinstance(item, Trajectory)}
            assert len(expected) == 2
            assert expected <= kept
        else:
            assert len(kept) >= 2, path.read_bytes()


@every_row_format
def test_damaged_values_are_trajectories_or_problems(name: str, tmp_path: Path) -> None:
    rng = random.Random(f"values {name}")
    for number in range(DAMAGED_VALUES):
        rows = [EXAMPLES[name](GOOD, index) for index in range(3)]
        rows[1] = damage_value(rows[1], rng)
        path = tmp_path / "x.json"
        path.write_text(json.dumps(rows, indent=rng.choice((None, 1))))
        kept = [item for item in check(name, path) if isinstance(item, Trajectory)]
        assert len(kept) >= 2, (number, rows[1])


@every_format
@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
def test_damaged_files_are_trajectories_or_problems(
    name: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rng = random.Random(f"files {name} {pack.__name__}")
    path = tmp_path / "x"
    if name in FILES:
        FILES[name](path, [GOOD, GOOD[:1]])
    else:
        path.write_text(json.dumps([EXAMPLES[name](GOOD, index) for index in range(3)], indent=1))
    whole = pack(path.read_bytes())
    for _ in range(DAMAGED_FILES // 2 if pack is not bytes else DAMAGED_FILES):
        data = (
            whole[: rng.randrange(len(whole) + 1)]
            if rng.random() < 0.2
            else damage(whole, rng, keep_lines=False)
        )
        path.write_bytes(data)
        check(name, path)


@every_file_format
def test_damaged_values_of_sessions_are_trajectories_or_problems(name: str, tmp_path: Path) -> None:
    if name == "inspect":
        pytest.skip("an archive; its bytes are damaged elsewhere")
    rng = random.Random(f"sessions {name}")
    path = tmp_path / "x"
    FILES[name](path, [GOOD, GOOD[:1]])
    values = [json.loads(line) for line in path.read_text().splitlines()]
    for _ in range(DAMAGED_VALUES):
        path.write_text(
            "\n".join(
                json.dumps(damage_value(value, rng) if rng.random() < 0.5 else value)
                for value in values
            )
        )
        check(name, path)


KEYS = st.sampled_from(
    ["messages", "role", "content", "steps", "id", "type", "source", "traj"]
) | st.text(max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)


@given(
    value=st.recursive(
        LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
    )
)
@settings(
    max_examples=HYPOTHESIS_EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_values_of_no_format_are_refused_in_words(value: Any, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text(json.dumps(value))
    for name in ("openai", "atif"):
        check(name, path)


def test_a_whole_import_of_damaged_files_ends_in_a_run_or_in_an_error_of_ours(
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    for number in range(300):
        name = rng.choice(sorted(EXAMPLES))
        rows = [EXAMPLES[name](GOOD, index) for index in range(3)]
        path = tmp_path / "x"
        path.write_bytes(
            damage(
                json.dumps(
                    [*rows, damage_value(rows[0], rng)], indent=rng.choice((None, 1))
                ).encode(),
                rng,
                keep_lines=False,
            )
        )
        out = tmp_path / f"out {number}"
        try:
            manifest = import_trajectories(ImportConfig(paths=(str(path),)), out)
        except AtlasError:
            assert not out.exists()
        else:
            assert manifest.summary["trajectories"] > 0
