"""Every row of SELECTORS keeps the same laws."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas.records import Annotation, CriticalStep, Message, Outcome, Selection, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.select_steps import select_steps
from atlas.selection.selectors.base import SELECTORS, make_selector
from atlas.store import read_records, write_records
from tests.conftest import make_trajectory
from tests.models.chat_server import Reply, completion, serve
from tests.run_folders import write_selections, write_trajectories
from tests.selection.oracle_answers import answer_of, num_allowed


def annotated(trajectory: Trajectory) -> Trajectory:
    notes = [Annotation(kinds=("critical_action",) if index % 3 else (), score=float(index % 4)) for index in range(len(trajectory.steps))]
    steps = tuple(step.model_copy(update={"annotation": note}) for step, note in zip(trajectory.steps, notes, strict=True))
    return trajectory.model_copy(update={"steps": steps})


TRAJECTORIES = [annotated(make_trajectory(num_steps, f"t{num_steps}")) for num_steps in (7, 1, 0, 20, 3)]
TRAJECTORIES += [
    make_trajectory(6, "failed").model_copy(update={"outcome": Outcome(status="failure", score=0.0)}),
    make_trajectory(4, "strange", thought='{"critical_steps": []} <|im_end|> \u2028'),
    make_trajectory(2, "ended").model_copy(update={"final_observation": (Message(role="user", content="Success"),)}),
]
OTHER = {
    trajectory.id: Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=len(trajectory.steps),
        budget=2,
        critical_steps=tuple(CriticalStep(index=index) for index in range(min(2, len(trajectory.steps)))),
    )
    for trajectory in TRAJECTORIES
}


def answer(body: dict[str, Any], number: int) -> Reply:
    return completion(answer_of(range(num_allowed(body))))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(answer) as server:
        yield server.url


def select(name: str, url: str, trajectories: Sequence[Trajectory], budget: int) -> list[Selection]:
    of = "somewhere" if name == "complement" else None
    selector = make_selector(SelectConfig(selector=name, of=of, base_url=url, seed=3), OTHER)

    async def run() -> list[Selection]:
        selections = []
        for trajectory in trajectories:
            result = selector.select(trajectory, budget)
            selections.append(await result if inspect.isawaitable(result) else result)
        if hasattr(selector, "close"):
            await selector.close()
        return selections

    return asyncio.run(run())


every_selector = pytest.mark.parametrize("name", SELECTORS)


@every_selector
@pytest.mark.parametrize("budget", [0, 1, 2])
def test_a_selection_is_of_its_trajectory_and_within_its_budget(name: str, budget: int, url: str) -> None:
    for trajectory, selection in zip(TRAJECTORIES, select(name, url, TRAJECTORIES, budget), strict=True):
        assert (selection.trajectory_id, selection.selector, selection.num_steps) == (trajectory.id, name, len(trajectory.steps))
        assert selection.indices <= set(range(len(trajectory.steps)))
        assert len(selection.indices) <= selection.budget
        if name not in ("all", "complement"):
            assert selection.budget == budget
        assert selection.problem is None or not selection.critical_steps


@every_selector
def test_the_same_question_has_the_same_answer(name: str, url: str) -> None:
    assert select(name, url, TRAJECTORIES, 2) == select(name, url, TRAJECTORIES, 2)


@every_selector
def test_the_order_of_trajectories_does_not_matter(name: str, url: str) -> None:
    shuffled = random.Random(1).sample(TRAJECTORIES, len(TRAJECTORIES))
    by_id = {selection.trajectory_id: selection for selection in select(name, url, shuffled, 2)}
    assert [by_id[trajectory.id] for trajectory in TRAJECTORIES] == select(name, url, TRAJECTORIES, 2)


@every_selector
def test_the_selected_trajectory_is_not_touched(name: str, url: str) -> None:
    before = [trajectory.model_dump_json() for trajectory in TRAJECTORIES]
    select(name, url, TRAJECTORIES, 2)
    assert [trajectory.model_dump_json() for trajectory in TRAJECTORIES] == before


@every_selector
def test_selections_are_equal_after_save_and_load(name: str, url: str, tmp_path: Path) -> None:
    selections = select(name, url, TRAJECTORIES, 2)
    write_records(tmp_path / "selections.jsonl", selections)
    assert list(read_records(tmp_path / "selections.jsonl", Selection)) == selections


@every_selector
def test_a_run_holds_one_selection_a_trajectory_in_their_order(name: str, url: str, tmp_path: Path) -> None:
    trajectories = write_trajectories(tmp_path / "trajectories", TRAJECTORIES)
    of = str(write_selections(tmp_path / "other", OTHER.values(), trajectories)) if name == "complement" else None
    manifests = [
        select_steps(SelectConfig(selector=name, base_url=url, of=of, max_in_flight=in_flight), trajectories, tmp_path / f"out{in_flight}")
        for in_flight in (1, 5)
    ]
    selections = list(read_records(tmp_path / "out1" / "selections.jsonl", Selection))
    assert [selection.trajectory_id for selection in selections] == [trajectory.id for trajectory in TRAJECTORIES]
    assert manifests[0].outputs == manifests[1].outputs
    assert manifests[0].summary["selected_steps"] == sum(len(selection.indices) for selection in selections)
