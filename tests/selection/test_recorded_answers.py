"""Answers to the oracle's prompt that a model gave elsewhere are read, never asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.config import check_config
from atlas.errors import AtlasError, ConfigError, DataError
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.store.readers import read_selections
from atlas.store.run_folders import read_manifest
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories

STEP = {"index": 1, "kind": "critical_action", "reason": "it decides", "confidence": 0.5}


def answered(id_: str, *steps: dict[str, Any]) -> str:
    return json.dumps({"id": id_, "answer": {"plan": "a plan", "critical_steps": list(steps)}})


def config(answers: Path, **settings: Any) -> SelectConfig:
    oracle = {"name": "oracle", "model": "lab/reader", "answers": str(answers), **settings}
    return check_config(SelectConfig, {"selector": oracle}, "test")


def given(folder: Path, *lines: str) -> tuple[Path, Path]:
    """A run folder of two trajectories with four steps, and a file of answers."""
    run = write_trajectories(folder / "run", [make_trajectory(4, "a"), make_trajectory(4, "b")])
    file = folder / "answers.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return run, file


def test_the_recorded_answer_is_the_selection_with_its_kind_reason_and_confidence(
    tmp_path: Path,
) -> None:
    text = json.dumps({"id": "b", "answer": answered_text(STEP | {"index": 2})})
    run, file = given(tmp_path, answered("a", STEP), "", text)
    manifest = select_steps(config(file), run, tmp_path / "out")
    found = read_selections(tmp_path / "out", run)
    assert {id_: sorted(one.indices) for id_, one in found.items()} == {"a": [1], "b": [2]}
    [step] = found["a"].critical_steps
    assert (step.kinds, step.reason, step.score) == (("critical_action",), "it decides", 0.5)
    chosen = manifest.summary["chosen_by"]
    assert (chosen["model"], chosen["asks_a_model"]) == ("lab/reader", True)
    assert manifest.inputs["answers"].digest is not None


def answered_text(*steps: dict[str, Any]) -> str:
    """An answer as a model wrote it, with words around it."""
    return f"Here it is: {json.dumps({'plan': '', 'critical_steps': list(steps)})}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (answered("a", STEP | {"index": 9}), "line 1: index 9 is out of range"),
        (answered("a", STEP, STEP | {"index": 2}), "line 1: it names 2 steps, at most 1"),
        (answered("a", STEP | {"kind": "lucky"}), "line 1: the kind of step 1 is 'lucky'"),
        (answered("c", STEP), "no answer in answers.jsonl"),
    ],
)
def test_an_answer_that_breaks_a_rule_or_is_missing_is_a_problem_of_its_trajectory(
    tmp_path: Path, line: str, reason: str
) -> None:
    run, file = given(tmp_path, line, answered("b", STEP))
    select_steps(config(file), run, tmp_path / "out")
    found = read_selections(tmp_path / "out", run)
    assert reason in str(found["a"].problem)
    assert found["b"].indices == {1}
    problems = (tmp_path / "out" / "problems.jsonl").read_text()
    assert ("trajectory 'c' is not among those" in problems) == (line == answered("c", STEP))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], "has no answer"),
        (["{"], "line 1 is not JSON"),
        (["[" * 100_000], "line 1 is not JSON"),
        (['{"id": "a"}'], "line 1 has not both"),
        (['{"id": 1, "answer": {}}'], "line 1 has not both"),
        (["[]"], "line 1 has not both"),
        ([answered("a", STEP), answered("a")], "line 2 has another answer about 'a' than line 1"),
    ],
)
def test_a_file_that_holds_no_answers_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    run, file = given(tmp_path, *lines)
    with pytest.raises(DataError, match=message):
        select_steps(config(file), run, tmp_path / "out")


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    run, file = given(tmp_path, answered("a", STEP))
    with pytest.raises(ConfigError, match=r"nothing-here\.jsonl cannot be read"):
        select_steps(config(file.with_name("nothing-here.jsonl")), run, tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [{"small": {"model": "lab/small"}}, {"cache": True}, {"max_cost_usd": 1.0}, {"rubric": "r"}],
)
def test_what_belongs_to_questions_is_refused_beside_answers(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="none is asked"):
        config(Path("answers.jsonl"), **settings)


def test_who_answered_must_be_said() -> None:
    with pytest.raises(ConfigError, match="does not say who gave them"):
        check_config(
            SelectConfig, {"selector": {"name": "oracle", "answers": "answers.jsonl"}}, "test"
        )


def test_nothing_is_asked_and_other_answers_are_another_run(tmp_path: Path) -> None:
    run, file = given(tmp_path, answered("a", STEP), answered("b", STEP))
    assert estimate_cost(config(file), run, tmp_path / "out").usage.requests == 0
    select_steps(config(file), run, tmp_path / "out")
    before = read_manifest(tmp_path / "out").digest
    assert select_steps(config(file), run, tmp_path / "out").digest == before
    file.write_text(answered("a") + "\n" + answered("b", STEP) + "\n", encoding="utf-8")
    with pytest.raises(AtlasError, match="answers"):
        select_steps(config(file), run, tmp_path / "out")
