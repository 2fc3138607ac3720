"""Every row of SELECTORS keeps the same laws, and so does a selector outside the table."""

from __future__ import annotations

import asyncio
import inspect
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from atlas.config import metadata_of
from atlas.environments.base import ENVIRONMENTS
from atlas.kinds import config_class
from atlas.records import Annotation, CriticalStep, Message, Outcome, Selection, Task, Trajectory
from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector
from atlas.selection.other_selection import NAMES_SELECTIONS
from atlas.selection.scores import score_steps, select_best
from atlas.selection.select_steps import SelectConfig, select_steps
from atlas.selection.selectors.base import SELECTOR, SELECTORS, Selector, draws_steps
from atlas.store.record_files import read_records, write_records
from tests.conftest import make_trajectory
from tests.environments.push import pushed
from tests.models.endpoints.chat_server import serve
from tests.models.local.other_model import other_model
from tests.run_folders import selections_in, write_selections, write_trajectories
from tests.selection import outside
from tests.selection.configs import new_selector, select_config
from tests.selection.oracle_answers import good


def annotated(trajectory: Trajectory) -> Trajectory:
    notes = [
        Annotation(kinds=("critical_action",) if index % 3 else (), score=float(index % 4))
        for index in range(len(trajectory.steps))
    ]
    steps = tuple(
        step.model_copy(update={"annotation": note})
        for step, note in zip(trajectory.steps, notes, strict=True)
    )
    return trajectory.model_copy(update={"steps": steps})


def playable(num_steps: int) -> Trajectory:
    """The first steps of an episode of the toy environment, whose door opens after four pushes."""
    task = Task(id=f"push/{num_steps}", environment="push", seed=4)
    return pushed(num_steps, task).trajectory.model_copy(update={"id": f"push-{num_steps}"})


TRAJECTORIES = [
    annotated(make_trajectory(num_steps, f"t{num_steps}")) for num_steps in (7, 1, 0, 20, 3)
]
TRAJECTORIES += [
    *map(playable, (4, 2, 1, 0)),
    make_trajectory(6, "failed").model_copy(
        update={"outcome": Outcome(status="failure", score=0.0)}
    ),
    make_trajectory(4, "strange", thought='{"critical_steps": []} <|im_end|> \u2028'),
    make_trajectory(2, "ended").model_copy(
        update={"final_observation": (Message(role="user", content="Success"),)}
    ),
]


def taking(first_step: int, trajectory: Trajectory) -> Selection:
    """Two steps from `first_step` on, as far as there are any."""
    indices = range(first_step, min(first_step + 2, len(trajectory.steps)))
    critical_steps = tuple(CriticalStep(index=index, score=0.1 * index) for index in indices)
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=len(trajectory.steps),
        budget=2,
        critical_steps=critical_steps,
    )


Given = dict[str, dict[str, Any]]
Select = Callable[[str, Sequence[Trajectory], int], list[Selection]]
OWN_BUDGETS = ("all", "complement", "errors", "rejection")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve(good) as server:
        yield server.url


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trajectories run and the selection runs `0`, `1`, `2` that others read."""
    folder = tmp_path_factory.mktemp("selectors")
    write_trajectories(folder / "trajectories", TRAJECTORIES)
    for number in range(3):
        write_selections(
            folder / str(number),
            [taking(number, trajectory) for trajectory in TRAJECTORIES],
            folder / "trajectories",
        )
    return folder


@pytest.fixture(scope="module")
def given(url: str, folder: Path, tiny_model_folder: Path) -> Given:
    """The settings that a selector needs, by its name."""
    pytest.importorskip("sklearn", reason="the select extra is not installed")
    model = {"model": str(tiny_model_folder)}
    return {
        "perplexity": model,
        "entropy": model,
        "hindsight": model,
        "excess-loss": model
        | {"reference_model": str(other_model(tiny_model_folder, folder / "other"))},
        "rollout-value": model | {"num_rollouts": 2, "max_new_tokens": 4},
        "pivot": model
        | {
            "num_samples": 2,
            "player": {"name": "local", "max_new_tokens": 4},
            "min_variance": None,
        },
        "oracle": {"base_url": url},
        "rejection": {"base_url": url},
        "learned": {"model": str(train_learned(folder / "learned")), "allow_chance": True},
        "complement": {"of": str(folder / "0")},
        "vote": {"of": [str(folder / str(number)) for number in range(3)]},
        outside.NAME: {"side": "shortest"},
    }


def train_learned(out: Path) -> Path:
    trajectories = [make_trajectory(2 + number % 5, f"t{number}") for number in range(12)]
    run = write_trajectories(out / "trajectories", trajectories)
    selections = write_selections(
        out / "labels", [taking(1, trajectory) for trajectory in trajectories], run
    )
    train_selector(SelectTrainConfig(), run, selections, out / "model")
    return out / "model"


@pytest.fixture
def select(given: Given, folder: Path) -> Select:
    def select(name: str, trajectories: Sequence[Trajectory], budget: int) -> list[Selection]:
        config = select_config(name, seed=3, **given.get(name, {}))
        return asyncio.run(
            ask(name, new_selector(config, folder / "trajectories"), trajectories, budget)
        )

    return select


async def ask(
    name: str, selector: Any, trajectories: Sequence[Trajectory], budget: int
) -> list[Selection]:
    selections = []
    for trajectory in trajectories:
        if isinstance(selector, Selector):
            result = selector.select(trajectory, budget)
            selections.append(await result if inspect.isawaitable(result) else result)
        else:
            selections.append(select_best(await score_steps(selector, trajectory), name, budget))
    if hasattr(selector, "close"):
        await selector.close()
    return selections


@pytest.fixture(autouse=True)
def _toy_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENTS, "push", "tests.environments.push:PushEnvironment")


every_selector = pytest.mark.parametrize("name", [*SELECTORS, outside.NAME])


@every_selector
@pytest.mark.parametrize("budget", [0, 1, 2])
def test_a_selection_is_of_its_trajectory_and_within_its_budget(
    name: str, budget: int, select: Select
) -> None:
    for trajectory, selection in zip(TRAJECTORIES, select(name, TRAJECTORIES, budget), strict=True):
        assert (selection.trajectory_id, selection.selector, selection.num_steps) == (
            trajectory.id,
            name,
            len(trajectory.steps),
        )
        assert selection.indices <= set(range(len(trajectory.steps)))
        assert len(selection.indices) <= selection.budget
        if name not in OWN_BUDGETS:
            assert selection.budget == budget
        assert selection.problem is None or not selection.critical_steps


@every_selector
def test_the_same_question_has_the_same_answer(name: str, select: Select) -> None:
    assert select(name, TRAJECTORIES, 2) == select(name, TRAJECTORIES, 2)


@every_selector
def test_a_selector_says_whether_another_seed_selects_other_steps(
    name: str, given: Given, folder: Path
) -> None:
    """By what it says, an experiment draws a selection for each training seed, or shares one."""
    found = []
    for seed in range(6):
        config = select_config(name, seed=seed, **given.get(name, {}))
        selector = new_selector(config, folder / "trajectories")
        found.append(asyncio.run(ask(name, selector, TRAJECTORIES, 2)))
    is_drawn = any(selections != found[0] for selections in found)
    says = draws_steps(config.selector)
    assert says or not is_drawn
    if name in ("random", "complement"):
        assert is_drawn


@pytest.mark.parametrize("name", [*SELECTORS])
def test_every_setting_that_names_selection_runs_is_marked(name: str) -> None:
    fields = config_class(SELECTOR.find(name)).model_fields.items()
    marked = {key for key, field in fields if NAMES_SELECTIONS in metadata_of(field)}
    described = {key for key, field in fields if "selection run" in (field.description or "")}
    assert marked == described


@every_selector
def test_the_order_of_trajectories_does_not_matter(name: str, select: Select) -> None:
    shuffled = random.Random(1).sample(TRAJECTORIES, len(TRAJECTORIES))
    by_id = {selection.trajectory_id: selection for selection in select(name, shuffled, 2)}
    assert [by_id[trajectory.id] for trajectory in TRAJECTORIES] == select(name, TRAJECTORIES, 2)


@every_selector
def test_the_selected_trajectory_is_not_touched(name: str, select: Select) -> None:
    before = [trajectory.model_dump_json() for trajectory in TRAJECTORIES]
    select(name, TRAJECTORIES, 2)
    assert [trajectory.model_dump_json() for trajectory in TRAJECTORIES] == before


@every_selector
def test_selections_are_equal_after_save_and_load(
    name: str, select: Select, tmp_path: Path
) -> None:
    selections = select(name, TRAJECTORIES, 2)
    write_records(tmp_path / "selections.jsonl", selections)
    assert list(read_records(tmp_path / "selections.jsonl", Selection)) == selections


@every_selector
def test_a_run_holds_one_selection_a_trajectory_in_their_order_and_says_who_chose(
    name: str, given: Given, folder: Path, tmp_path: Path
) -> None:
    settings = dict(given.get(name, {}))
    asks_side_by_side = "endpoint" in config_class(SELECTOR.find(name)).model_fields
    manifests = [
        select_steps(
            select_config(
                name, **settings, **({"max_in_flight": number} if asks_side_by_side else {})
            ),
            folder / "trajectories",
            tmp_path / f"out{number}",
        )
        for number in (1, 5)
    ]
    selections = selections_in(tmp_path / "out1")
    assert [selection.trajectory_id for selection in selections] == [
        trajectory.id for trajectory in TRAJECTORIES
    ]
    assert manifests[0].outputs == manifests[1].outputs
    assert manifests[0].summary["selected_steps"] == sum(
        len(selection.indices) for selection in selections
    )
    chosen_by = manifests[0].summary["chosen_by"]
    assert chosen_by["selector"] == name
    assert re.match(r"(the |every )?steps?\b", chosen_by["sentence"])
    assert chosen_by["model"] is None or chosen_by["model"] in (
        settings.get("model"),
        "openai/gpt-4o",
    )
    assert all(given.digest for given in manifests[0].inputs.values())


@every_selector
def test_a_selector_is_one_sentence_and_its_settings_are_described(name: str) -> None:
    assert SELECTOR.describe(name).endswith(".")
    stage = {"name", *SelectConfig.model_fields}
    for setting, field in config_class(SELECTOR.find(name)).model_fields.items():
        assert field.description, setting
        assert setting not in stage, "a key on the command line would be ambiguous"
