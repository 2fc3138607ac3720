"""A rank that fails in any phase ends all ranks, with one message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import wait_for
from tests.training.launched_runs import NO_THREADS, make_inputs, start


@pytest.fixture(scope="module")
def inputs(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_inputs(tiny_model_folder, tmp_path_factory.mktemp("inputs"))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "fail",
    [
        pytest.param("check,1,error", marks=slow),
        pytest.param("load,0,bug", marks=slow),
        pytest.param("base,1,kill", marks=slow),
        pytest.param("trainer,1,error", marks=slow),
        pytest.param("trainer,01,error", marks=slow),
        "pass,1,error",
        pytest.param("pass,01,bug", marks=slow),
        pytest.param("held_out,1,error", marks=slow),
        pytest.param("state,0,kill", marks=slow),
        pytest.param("save,0,kill", marks=slow),
    ],
)
def test_a_rank_that_fails_ends_all_with_one_message(
    inputs: list[str], tmp_path: Path, fail: str
) -> None:
    process = start(
        inputs,
        tmp_path / "run",
        2,
        *("objective=clip", "held_out=0.3", "epochs=2"),
        module="tests.training.failing_ranks",
        environment={"FAIL": fail},
    )
    output, errors = wait_for(process)
    how = fail.rpartition(",")[2]
    said = {
        "error": "error: made to fail.",
        "bug": "ValueError: made to fail.",
        "kill": "error: another process of this training has ended in the middle of it.",
    }[how]
    assert process.returncode != 0
    assert output == ""
    assert errors.count(said) == 1
    assert errors.count("error: ") == (how != "bug")
    assert "Connection" not in errors
    assert how == "kill" or NO_THREADS in errors
