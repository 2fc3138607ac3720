"""docs/python.md runs, and every function of `import atlas` takes a path as text or as a path."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import atlas
from atlas.errors import DataError, RunError
from tests.conftest import make_trajectory

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
FUNCTIONS = [
    name
    for name in atlas.__all__
    if inspect.isfunction(getattr(atlas, name)) and not name.startswith("_")
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_path_of_a_function_may_be_a_text(name: str) -> None:
    for parameter, kind in typing.get_type_hints(getattr(atlas, name)).items():
        arms = typing.get_args(kind) or (kind,)
        if parameter != "return" and (Path in arms or os.PathLike[str] in arms):
            assert {str, os.PathLike[str]} <= set(arms), f"{name}: {parameter} takes only {kind}"
            assert Path not in arms


def test_the_page_names_every_function() -> None:
    for name in FUNCTIONS:
        assert f"{name}(" in PAGE or f"`{name}`" in PAGE, name


def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    pytest.importorskip("minigrid", reason="the babyai extra is not installed")
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 trajectories" in done.stdout
    assert "supervised tokens of" in done.stdout
    assert {run.name for run in (tmp_path / "runs").iterdir() if run.is_dir()} == {
        *("trajectories", "rules", "mine", "last", "random", "agreement", "tuned", "played"),
        *("worlds", "worlds-critical", "suite", "probe"),
    }


def test_trajectories_that_are_written_are_read_back(tmp_path: Path) -> None:
    given = [make_trajectory(2, "a"), make_trajectory(3, "b")]
    manifest = atlas.write_trajectories(iter(given), str(tmp_path / "t"))
    assert list(atlas.read_trajectories(str(tmp_path / "t"))) == given
    assert atlas.write_trajectories(given, tmp_path / "t") == manifest
    assert atlas.read_manifest(tmp_path / "t").summary["steps"] == 5
    with pytest.raises(RunError, match="other settings"):
        atlas.write_trajectories(given[:1], tmp_path / "t")
    with pytest.raises(DataError, match="two trajectories have the id 'a'"):
        atlas.write_trajectories([given[0], given[0]], tmp_path / "u")
    with pytest.raises(DataError, match="no trajectory was given"):
        atlas.write_trajectories([], tmp_path / "u")


def test_selections_that_are_written_fit_their_trajectories(tmp_path: Path) -> None:
    given = [make_trajectory(2, "a"), make_trajectory(3, "b")]
    run = atlas.write_trajectories(given, tmp_path / "t") and tmp_path / "t"
    chosen = [
        atlas.Selection(
            trajectory_id=one.id,
            selector="mine",
            num_steps=len(one.steps),
            budget=1,
            critical_steps=(atlas.CriticalStep(index=1),),
        )
        for one in given
    ]
    written = atlas.write_selections(reversed(chosen), run, tmp_path / "s", sentence="the second")
    assert written.summary["selected_steps"] == 2
    assert written.summary["chosen_by"]["sentence"] == "the second"
    assert list(atlas.read_selections(tmp_path / "s", run).values()) == chosen
    with pytest.raises(DataError, match=r"'b' of .*: expected a selection of 3 steps, given none"):
        atlas.write_selections(chosen[:1], run, tmp_path / "u", sentence="x")
    other = chosen[0].model_copy(update={"trajectory_id": "c"})
    with pytest.raises(DataError, match="of trajectory 'c', which is not in"):
        atlas.write_selections([*chosen, other], run, tmp_path / "u", sentence="x")
