"""Calibration: the draw, the blind questions, and when a selector counts as fit."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ConfigError, DataError
from atlas.records import CRITICAL_KINDS, CriticalStep, LabelType, Selection
from atlas.statistics.agreement import cohen_kappa
from atlas.viewing.web.calibrate import (
    FIT_KAPPA,
    Calibration,
    CalibrationResult,
    draw_steps,
    measure_calibration,
)
from atlas.viewing.web.labels.answers import Answer, AnswerStore, Place
from atlas.viewing.web.labels.database import LabelDatabase
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.viewing.web.view_server import Viewer, open_viewer

SECRET = "a reason of the selector"


def select(name: str, num_steps: int, *indices: int, problem: str | None = None) -> Selection:
    steps = tuple(
        CriticalStep(index=index, kinds=(CRITICAL_KINDS[index % 4],), reason=SECRET)
        for index in indices
    )
    return Selection(
        trajectory_id=name,
        selector="oracle",
        num_steps=num_steps,
        budget=num_steps,
        critical_steps=steps,
        problem=problem,
    )


MANY = (
    [select(f"t{number}", 6, number % 6, (number + 2) % 6) for number in range(40)]
    if 0
    else [select(f"t{number}", 6, *sorted({number % 6, (number + 2) % 6})) for number in range(40)]
)
TASKS = {one.trajectory_id: one.trajectory_id for one in MANY}


def answer_all(calibration: Calibration, num_wrong: int = 0) -> dict[Place, Answer]:
    """Answers as the selector's, but for some steps."""
    answers: dict[Place, Answer] = {}
    for number, step in enumerate(calibration.steps):
        says = step.is_selected != (number < num_wrong)
        kind: LabelType = step.kinds[0] if step.kinds else "critical"
        answers[step.place] = Answer(kind if says else "none")
    return answers


def measure(num_wrong: int) -> CalibrationResult:
    calibration = draw_steps(MANY)
    return measure_calibration(calibration, answer_all(calibration, num_wrong), TASKS, "ann")


def test_half_of_50_steps_are_selected_and_spread_over_the_trajectories() -> None:
    calibration = draw_steps(MANY)
    assert Counter(step.is_selected for step in calibration.steps) == {True: 25, False: 25}
    assert len({step.place for step in calibration.steps}) == 50
    # 40 trajectories: each has one or two of the 50 steps.
    assert set(Counter(step.trajectory_id for step in calibration.steps).values()) == {1, 2}
    by_id = {one.trajectory_id: one for one in MANY}
    for step in calibration.steps:
        assert step.is_selected == (step.step in by_id[step.trajectory_id].indices)


def test_the_order_of_the_questions_does_not_say_which_steps_are_selected() -> None:
    firsts = Counter(draw_steps(MANY, seed=seed).steps[0].is_selected for seed in range(60))
    assert 15 <= firsts[True] <= 45


@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_draw_depends_on_the_seed_and_not_on_the_order(
    shuffle: random.Random, seed: int
) -> None:
    selections = list(MANY)
    shuffle.shuffle(selections)
    assert draw_steps(selections, seed=seed) == draw_steps(MANY, seed=seed)
    assert draw_steps(MANY, seed=seed) != draw_steps(MANY, seed=seed + 1)


def test_a_selection_of_all_steps_is_refused_with_both_counts() -> None:
    with pytest.raises(DataError, match="12 steps are selected and 0 are not"):
        draw_steps([select("a", 12, *range(12))])


@given(
    st.lists(
        st.tuples(st.integers(0, 8), st.frozensets(st.integers(0, 7)), st.booleans()), max_size=30
    ),
    st.integers(0, 3),
)
def test_any_selections_give_as_many_selected_as_other_steps_or_an_error(
    given: list[tuple[int, frozenset[int], bool]], seed: int
) -> None:
    selections = [
        select(f"t{place}", size, problem="broken")
        if broken
        else select(f"t{place}", size, *sorted(step for step in steps if step < size))
        for place, (size, steps, broken) in enumerate(given)
    ]
    usable = {one.trajectory_id: one for one in selections if one.problem is None}
    num_selected = sum(len(one.indices) for one in usable.values())
    num_others = sum(one.num_steps - len(one.indices) for one in usable.values())
    half = min(25, num_selected, num_others)
    if half < 5:
        with pytest.raises(DataError, match="at least 5 of both"):
            draw_steps(selections, seed=seed)
        return
    drawn = draw_steps(selections, seed=seed).steps
    assert Counter(step.is_selected for step in drawn) == {True: half, False: half}
    assert len({step.place for step in drawn}) == 2 * half
    assert {step.trajectory_id for step in drawn} <= set(usable)


@pytest.mark.parametrize("num_wrong", [0, 3, 10, 20, 25, 40, 50])
def test_kappa_is_that_of_cohen(num_wrong: int) -> None:
    result = measure(num_wrong)
    calibration = draw_steps(MANY)
    answers = answer_all(calibration, num_wrong)
    said = [(step.is_selected, answers[step.place].is_critical) for step in calibration.steps]
    both, first, second = (
        sum(map(chosen, said)) for chosen in (all, lambda pair: pair[0], lambda pair: pair[1])
    )
    expected = float(cohen_kappa(np.array([both, first, second, 50.0])))
    assert result.kappa.value == pytest.approx(expected, abs=1e-6)
    assert result.num_same == 50 - num_wrong
    assert result.num_selected_only + result.num_person_only == num_wrong


@pytest.mark.parametrize(
    ("num_wrong", "is_fit", "words"),
    [
        (0, True, "is fit to be trusted here: ann agrees with it on 50 of 50 steps, kappa 1.00"),
        (5, True, "is fit to be trusted here"),
        (12, None, "do not decide whether the selector 'oracle' is fit to be trusted here"),
        (25, False, "is not fit to be trusted here: ann agrees with it on 25 of 50 steps"),
        (50, False, "is not fit to be trusted here"),
    ],
)
def test_the_whole_interval_of_kappa_decides(
    num_wrong: int, is_fit: bool | None, words: str
) -> None:
    result = measure(num_wrong)
    assert result.is_fit is is_fit
    assert words in result.sentence
    low, high = result.kappa.limits or (None, None)
    assert low is not None
    assert high is not None
    assert {True: low >= FIT_KAPPA, False: high < FIT_KAPPA, None: low < FIT_KAPPA <= high}[is_fit]


def test_steps_of_one_task_count_as_one_trial() -> None:
    calibration = draw_steps(MANY)
    answers = answer_all(calibration, 5)
    alike = measure_calibration(calibration, answers, dict.fromkeys(TASKS, "one"), "ann")
    apart = measure_calibration(calibration, answers, TASKS, "ann")
    assert alike.same.value == apart.same.value
    assert alike.is_fit is None
    assert apart.is_fit is True


def test_by_kind_counts_what_the_person_calls_critical_and_the_same() -> None:
    calibration = draw_steps(MANY)
    answers = answer_all(calibration)
    found = measure_calibration(calibration, answers, TASKS, "ann")
    assert sum(row.num_steps for row in found.by_kind) == 25
    assert all(row.num_same_kind == row.num_critical == row.num_steps for row in found.by_kind)
    other = {place: Answer("critical") for place in answers}
    found = measure_calibration(calibration, other, TASKS, "ann")
    assert all(row.num_same_kind == 0 < row.num_critical for row in found.by_kind)
    plain = tuple(replace(step, kinds=()) for step in calibration.steps)
    [row] = measure_calibration(replace(calibration, steps=plain), answers, TASKS, "ann").by_kind
    assert (row.kind, row.num_steps) == ("no_kind", 25)


def test_a_part_of_the_answers_gives_no_result() -> None:
    calibration = draw_steps(MANY)
    answers = answer_all(calibration)
    del answers[calibration.steps[7].place]
    with pytest.raises(DataError, match="1 of 50 steps have no answer"):
        measure_calibration(calibration, answers, TASKS, "ann")


def test_the_last_answer_counts_and_people_are_apart(tmp_path: Path) -> None:
    database = LabelDatabase(tmp_path / "labels.sqlite")
    store = AnswerStore(database)
    store.add("ann", "c", ("t", 1), "none")
    store.add("ann", "c", ("t", 1), "critical", " why ")
    store.add("bob", "c", ("t", 1), "none")
    store.add("ann", "other", ("t", 2), "none")
    assert store.answers("ann", "c") == {("t", 1): Answer("critical", "why")}
    assert store.annotators("c") == ("ann", "bob")
    with pytest.raises(ConfigError, match="Did you mean"):
        store.add("ann", "c", ("t", 1), "nonee")  # type: ignore[arg-type]
    database.close()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    trajectories = [make_trajectory(6, one.trajectory_id) for one in MANY[:8]]
    run = write_trajectories(tmp_path / "episodes", trajectories)
    write_selections(tmp_path / "oracle", MANY[:8], run)
    return tmp_path


@pytest.fixture
def viewer(runs: Path) -> Iterator[Viewer]:
    given = runs / "oracle", f"labels={runs / 'labels.sqlite'}", "annotator=ann"
    with open_viewer(*given, cache=runs) as opened:
        yield opened


def fields_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def test_questions_are_blind_resume_after_a_kill_and_end_in_one_sentence(
    runs: Path, viewer: Viewer
) -> None:
    asked: list[tuple[str, str]] = []
    num_steps = 32
    for number in range(num_steps):
        if number == 3:
            viewer.kill()
            break
        page = viewer.get("/calibrate").text
        assert SECRET not in page
        assert f"Question {number + 1} of {num_steps}" in page
        fields = fields_of(page)
        asked.append((fields["id"], fields["step"]))
        answer = viewer.post("/calibrate/answer", **fields, type="critical", reason="<i>r")
        assert answer.status == 303
    given = runs / "oracle", f"labels={runs / 'labels.sqlite'}", "annotator=ann"
    with open_viewer(*given, cache=runs) as again:
        page = again.get("/calibrate").text
        assert "3 answered" in page
        for _ in range(num_steps - 3):
            fields = fields_of(page)
            asked.append((fields["id"], fields["step"]))
            answer = again.post("/calibrate/answer", **fields, type="critical")
            location = answer.headers["location"]
            page = again.get("/calibrate", **dict(parse_qsl(urlsplit(location).query))).text
        assert len(set(asked)) == num_steps
        # Eight tasks are too few to decide.
        assert "These answers do not decide" in page
        assert "ann agrees with it on 16 of 32 steps, kappa 0.00" in page
        back = again.get("/calibrate", selection=fields["selection"], number=1).text
        assert "&lt;i&gt;r" in back
        assert SECRET not in back
        # Answers about single steps are not labels of trajectories.
        assert "Nobody has labeled a step yet" in again.get("/labels").text


def test_a_wrong_answer_is_refused(viewer: Viewer) -> None:
    right = fields_of(viewer.get("/calibrate").text) | {"type": "none"}
    for wrong, words in (
        ({"step": "99"}, "is not asked about"),
        ({"calibration": "0"}, "has changed"),
        ({"type": "yes"}, "is not known"),
        ({"selection": "episodes"}, "only a finished selection"),
        ({"seed": "-1"}, "whole number"),
    ):
        answer = viewer.post("/calibrate/answer", **(right | wrong))
        assert answer.status == 400, wrong
        assert words in answer.text, wrong
