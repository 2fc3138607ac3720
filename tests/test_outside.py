"""A user's own class that breaks is one sentence that names class, method and file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "recipes" / "demo" / "trajectories.jsonl"
HERE = "tests.outside_faults"
SELECT = "select --trajectories IN/t --selector {} --out OUT"
EVALUATE = "evaluate --env {world} --player {player} --model m --out OUT episodes=2"
COMMANDS = {
    "Selecting": SELECT,
    "SelectingLater": SELECT,
    "Scoring": SELECT,
    "World": EVALUATE,
    "Playing": EVALUATE,
    "Reading": f"import {SAMPLE} --format {{}} --out OUT",
    "Converting": "export --trajectories IN/t --selection IN/s --to {} --out OUT.jsonl",
}
METHODS = [
    *((name, "__init__") for name in COMMANDS),
    ("Selecting", "select"),
    ("SelectingLater", "select"),
    ("Scoring", "score"),
    ("Scoring", "sentence"),
    ("World", "tasks"),
    *(("Playing", name) for name in ("describe_model", "submit", "next_answers", "close", "end")),
    ("Reading", "read"),
    ("Converting", "rows"),
    ("Converting", "losses"),
]


def atlas(command: str, method: str, given: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = command.replace("IN", str(given)).replace("OUT", str(out)).split()
    path = f"{ROOT / 'src'}{os.pathsep}{ROOT}"
    return subprocess.run(
        [sys.executable, "-m", "atlas", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "BREAK_IN": method},
    )


def command_of(name: str) -> str:
    own = f"{HERE}:{name}"
    world = own if name == "World" else f"{HERE}:World"
    player = own if name == "Playing" else f"{HERE}:Playing"
    return COMMANDS[name].format(own, world=world, player=player)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outside")
    for command in (
        f"import {SAMPLE} --out IN/t",
        "select --trajectories IN/t --selector all --out IN/s",
    ):
        assert atlas(command, "", folder, folder).returncode == 0
    return folder


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_a_class_that_raises_is_named_with_its_method(
    name: str, method: str, given: Path, tmp_path: Path
) -> None:
    # Of two classes with such a method, only the one under test may break.
    if (name, method) in (("Playing", "__init__"), ("World", "__init__")):
        pytest.skip("both classes of the command would break")
    done = atlas(command_of(name), method, given, tmp_path / "o")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert f"{HERE}:{name}': {method} raised ZeroDivisionError: in {method}" in done.stderr
    assert "outside_faults.py line " in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("method", ["reset", "step"])
def test_a_world_that_breaks_in_every_episode_is_an_exit_status(
    method: str, given: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        done = atlas(command_of("World"), method, given, tmp_path / "o")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "error: none of the 2 episodes in " in done.stderr
        assert f"World': {method} raised ZeroDivisionError" in done.stderr
    assert (tmp_path / "o" / "problems.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("command", "lacks"),
    [
        (SELECT, "neither select"),
        (EVALUATE.replace("{player}", f"{HERE}:Playing").replace("{world}", "{}"), "tasks, reset"),
        (EVALUATE.replace("{world}", f"{HERE}:World").replace("{player}", "{}"), "describe_model"),
        (COMMANDS["Reading"], "lacks the method read"),
        (COMMANDS["Converting"], "lacks the method rows, read"),
    ],
)
def test_a_class_that_lacks_a_method_is_named_with_it(
    command: str, lacks: str, given: Path, tmp_path: Path
) -> None:
    done = atlas(command.format(f"{HERE}:LacksEverything"), "", given, tmp_path / "o")
    assert done.returncode == 2
    assert lacks in done.stderr
    assert "Traceback" not in done.stderr
