from __future__ import annotations

from pathlib import Path

import pytest

from atlas.config import load_config
from atlas.errors import ConfigError
from atlas.models.local.embeddings import load_embedder
from atlas.records import Message, Selection, Step, Trajectory
from atlas.selection.config import SelectConfig
from atlas.selection.select_steps import select_steps
from tests.conftest import make_trajectory
from tests.run_folders import selections_in, write_trajectories
from tests.selection.configs import new_selector, select_config

pytest.importorskip("sklearn", reason="the select extra is not installed")


def saying(goal: str, *responses: str) -> Trajectory:
    steps = tuple(
        Step(observation=(), response=Message(role="assistant", content=text)) for text in responses
    )
    trajectory = make_trajectory(1)
    return trajectory.model_copy(
        update={"steps": steps, "task": trajectory.task.model_copy(update={"goal": goal})}
    )


def take(trajectory: Trajectory, budget: int, model: Path | None = None) -> Selection:
    config = select_config(selector="diversity", embedding_model=model and str(model))
    selection: Selection = new_selector(config).select(trajectory, budget)
    return selection


def test_the_first_step_taken_is_the_one_most_like_the_goal() -> None:
    trajectory = saying(
        "open the golden chest", "walk north", "look at the sky", "open golden chest", "wait"
    )
    assert take(trajectory, 1).indices == {2}


def test_a_step_that_says_the_same_again_is_passed_over_for_another() -> None:
    trajectory = saying(
        "open the golden chest with a key",
        "open golden chest",
        "open golden chest",
        "take the key",
        "wait",
    )
    assert take(trajectory, 2).indices == {0, 2}


def test_of_equal_steps_the_earlier_is_taken_and_the_budget_is_used_up() -> None:
    assert take(saying("sing", "wait", "wait", "wait"), 2).indices == {0, 1}


def test_texts_without_a_word_are_no_error() -> None:
    assert len(take(saying("…", "!", "?"), 1).indices) == 1


def test_the_task_seen_by_the_first_step_does_not_make_it_relevant() -> None:
    trajectory = make_trajectory(1)
    goal = Message(role="user", content="Your goal: fetch the silver lamp from the cellar")
    steps = (
        Step(observation=(goal,), response=Message(role="assistant", content="wait")),
        Step(observation=(), response=Message(role="assistant", content="fetch the silver lamp")),
    )
    trajectory = trajectory.model_copy(update={"prompt": (), "steps": steps})
    assert take(trajectory, 1).indices == {1}


def test_with_a_model_likeness_is_that_of_its_embeddings(tiny_model_folder: Path) -> None:
    goal, *texts = (
        "open the golden chest",
        "walk north",
        "look at the sky",
        "open the golden chest",
        "open the golden chest",
        "wait",
    )
    selection = take(saying(goal, *texts), 2, tiny_model_folder)
    vectors = load_embedder(str(tiny_model_folder)).embed([goal, *texts])
    marginal = 0.5 * vectors[1:] @ vectors[0] - 0.5 * vectors[1:] @ vectors[3]
    # The first like the goal is taken already, and what repeats it is worth nothing.
    marginal[[2, 3]] = -1
    assert selection.indices == {2, int(marginal.argmax())}
    assert (
        selection.critical_steps == take(saying(goal, *texts), 2, tiny_model_folder).critical_steps
    )


def test_the_embedding_model_is_an_input_of_the_run(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    run = write_trajectories(
        tmp_path / "t", [make_trajectory(4, "a"), make_trajectory(0, "b"), make_trajectory(9, "c")]
    )
    manifest = select_steps(
        select_config(selector="diversity", embedding_model=str(tiny_model_folder)),
        run,
        tmp_path / "s",
    )
    assert manifest.inputs["embedding_model"].digest
    assert [len(one.indices) for one in selections_in(tmp_path / "s")] == [1, 0, 2]
    with pytest.raises(ConfigError, match="a setting of selector 'diversity'; leave"):
        load_config(SelectConfig, None, ["selector=random", "embedding_model=m"])
