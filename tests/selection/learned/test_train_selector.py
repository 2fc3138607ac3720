from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.errors import ConfigError, DataError, ModelError
from atlas.models.local.embeddings import load_embedder
from atlas.records import CriticalStep, Message, Selection, Step, Trajectory
from atlas.selection.learned.model import (
    MODEL_FILE,
    LearnedModel,
    best_steps,
    read_model,
    step_probabilities,
)
from atlas.selection.learned.step_features import step_numbers, step_words
from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector
from atlas.selection.scores import StepScores
from atlas.selection.select_steps import select_steps
from atlas.selection.step_embeddings import center_and_scale, step_embeddings
from atlas.statistics.agreement import Agreement
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.local.other_model import other_model
from tests.run_folders import write_selections, write_trajectories
from tests.selection.configs import new_selector, select_config

pytest.importorskip("sklearn", reason="the select extra is not installed")

WORDS = ("walk", "look", "wait", "sing", "turn", "open", "climb")


def speaking(number: int, key: str = "unlock") -> tuple[Trajectory, int]:
    """A trajectory of odd words, one step of which says `key`; and which."""
    rng = random.Random(number)
    num_steps = rng.randint(4, 9)
    place = rng.randrange(num_steps)
    texts = [" ".join(rng.choices(WORDS, k=5)) for _ in range(num_steps)]
    texts[place] += f" {key}"
    steps = tuple(
        Step(observation=(), response=Message(role="assistant", content=text)) for text in texts
    )
    return make_trajectory(0, f"t{number}").model_copy(update={"steps": steps}), place


def label(trajectory: Trajectory, index: int, problem: str | None = None) -> Selection:
    steps = () if problem else (CriticalStep(index=index),)
    return Selection(
        trajectory_id=trajectory.id,
        selector="person",
        num_steps=len(trajectory.steps),
        budget=1,
        critical_steps=steps,
        problem=problem,
    )


def train(
    folder: Path, pairs: list[tuple[Trajectory, int]], config: SelectTrainConfig | None = None
) -> Path:
    run = write_trajectories(folder / "t", [trajectory for trajectory, _ in pairs])
    labels = write_selections(folder / "s", [label(*pair) for pair in pairs], run)
    train_selector(config or SelectTrainConfig(), run, labels, folder / "m")
    return folder / "m"


def at_random(number: int) -> tuple[Trajectory, int]:
    trajectory, _ = speaking(number)
    return trajectory, random.Random(f"label {number}").randrange(len(trajectory.steps))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("learned"), [speaking(number) for number in range(80)])


def test_a_word_that_the_labels_go_by_is_learned_and_shown_on_held_out_tasks(learned: Path) -> None:
    model = read_model(learned / MODEL_FILE)
    assert model.agreement.precision.value == 1.0
    assert model.agreement.num_units == 20
    assert model.agreement.is_better_than_chance
    assert max(model.weights, key=lambda name: model.weights[name]) == "r:unlock"
    assert model.brier.value is not None
    assert model.brier.value < 0.5 * model.base_brier
    manifest = json.loads((learned / "manifest.json").read_text())
    assert manifest["summary"]["better_than_chance"] == "yes"
    assert set(manifest["inputs"]) == {"trajectories", "selection"}


def test_new_trajectories_are_selected_from_with_the_digest_of_the_model_as_an_input(
    learned: Path, tmp_path: Path
) -> None:
    pairs = [speaking(number) for number in range(200, 220)]
    run = write_trajectories(tmp_path / "t", [trajectory for trajectory, _ in pairs])
    manifest = select_steps(
        select_config(selector="learned", model=str(learned), ratio=0.2), run, tmp_path / "s"
    )
    selections = list(read_records(tmp_path / "s" / "selections.jsonl", Selection))
    assert [selection.indices for selection in selections] == [
        frozenset({place}) for _, place in pairs
    ]
    assert manifest.inputs["learned_selector"].digest
    whole = select_steps(
        select_config(selector="learned", model=str(learned), ratio=0.15, scope="dataset"),
        run,
        tmp_path / "d",
    )
    assert whole.summary["selected_steps"] == int(0.15 * whole.summary["steps"])


def test_training_twice_writes_the_same_bytes(learned: Path, tmp_path: Path) -> None:
    again = train(tmp_path, [speaking(number) for number in range(80)])
    assert (again / MODEL_FILE).read_bytes() == (learned / MODEL_FILE).read_bytes()


def test_a_model_no_better_than_chance_is_refused_unless_allowed(tmp_path: Path) -> None:
    model = train(tmp_path, [at_random(number) for number in range(40)])
    assert not read_model(model / MODEL_FILE).agreement.is_better_than_chance
    config = select_config(selector="learned", model=str(model))
    with pytest.raises(ModelError, match="not better than chance: on 10 held-out trajectories"):
        select_steps(config, tmp_path / "t", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    allowed = select_config(selector="learned", model=str(model), allow_chance=True)
    manifest = select_steps(allowed, tmp_path / "t", tmp_path / "out")
    assert manifest.summary["selected_steps"]


def test_no_trajectory_of_a_held_out_task_is_trained_on(tmp_path: Path) -> None:
    """The same 12 tasks, five trajectories each, labelled by a word of their own: knowing the word takes having seen the task."""
    pairs = []
    for number in range(60):
        trajectory, place = speaking(number, key=f"word{chr(97 + number % 12)}")
        pairs.append(
            (
                trajectory.model_copy(
                    update={"task": trajectory.task.model_copy(update={"id": f"task{number % 12}"})}
                ),
                place,
            )
        )
    model = read_model(train(tmp_path, pairs) / MODEL_FILE)
    assert (
        model.agreement.num_units,
        model.agreement.num_trajectories,
        model.num_trained_trajectories,
    ) == (3, 15, 45)
    learned_words = {name for name in model.weights if name.startswith("r:word")}
    assert len(learned_words) == 9


def test_trajectories_without_labels_are_left_out_and_said(tmp_path: Path) -> None:
    pairs = [speaking(number) for number in range(30)]
    run = write_trajectories(tmp_path / "t", [trajectory for trajectory, _ in pairs])
    selections = [
        label(*pair, problem="refused" if number < 4 else None) for number, pair in enumerate(pairs)
    ]
    labels = write_selections(tmp_path / "s", selections, run)
    manifest = train_selector(SelectTrainConfig(), run, labels, tmp_path / "m")
    assert (
        manifest.summary["trained_trajectories"] + manifest.summary["held_out_trajectories"] == 26
    )
    assert (tmp_path / "m" / "problems.jsonl").read_text().count("no labels: refused") == 4


def test_labels_that_teach_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of 3 tasks"):
        train(tmp_path / "few", [speaking(number) for number in range(3)])
    run = write_trajectories(
        tmp_path / "t", [trajectory for trajectory, _ in map(speaking, range(20))]
    )
    select_steps(select_config(selector="all"), run, tmp_path / "all")
    with pytest.raises(DataError, match="choose every step"):
        train_selector(SelectTrainConfig(), run, tmp_path / "all", tmp_path / "m")


def test_a_model_that_is_no_run_of_select_train_is_explained(tmp_path: Path) -> None:
    run = write_trajectories(tmp_path / "t", [make_trajectory(3)])
    with pytest.raises(ConfigError, match="Give model=RUN"):
        select_steps(select_config(selector="learned", model="nowhere"), run, tmp_path / "s")


def test_a_damaged_or_older_model_is_refused(learned: Path, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_text("{}")
    with pytest.raises(DataError, match="Train it again"):
        read_model(tmp_path / MODEL_FILE)
    older = read_model(learned / MODEL_FILE).model_copy(update={"features_version": 0})
    (tmp_path / MODEL_FILE).write_text(older.model_dump_json())
    with pytest.raises(ModelError, match="features of version 0"):
        read_model(tmp_path / MODEL_FILE)


def test_features_are_one_row_a_step_and_numbers_are_one_word() -> None:
    trajectory = make_trajectory(3)
    assert len(step_words(trajectory)) == len(step_numbers(trajectory)) == 3
    assert step_words(trajectory)[1]["r:#"] > 1
    assert not [word for word in step_words(trajectory)[1] if word[2:].isdigit()]
    assert [row["first"] for row in step_numbers(trajectory)] == [1.0, 0.0, 0.0]
    assert step_words(make_trajectory(0)) == step_numbers(make_trajectory(0)) == []


def test_of_equal_probabilities_the_earlier_step_is_taken(learned: Path) -> None:
    assert best_steps([0.5, 0.7, 0.5, 0.5], 2) == {0, 1}
    model: LearnedModel = read_model(learned / MODEL_FILE)
    assert all(
        0 <= probability <= 1 for probability in step_probabilities(model, make_trajectory(5))
    )
    assert isinstance(model.agreement, Agreement)


def test_an_encoder_adds_embeddings_that_selecting_reads_from_the_same_model(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    encoder = other_model(tiny_model_folder, tmp_path / "encoder")
    pairs = [speaking(number) for number in range(40)]
    folder = train(tmp_path, pairs, SelectTrainConfig(encoder=str(encoder), max_words=0))
    model = read_model(folder / MODEL_FILE)
    assert model.encoder is not None
    assert (model.encoder.name, len(model.encoder.weights), any(model.encoder.weights)) == (
        "../encoder",
        3 * 32,
        True,
    )
    told = json.loads((folder / "manifest.json").read_text())["inputs"]["encoder"]
    assert told == {"path": "../encoder", "digest": model.encoder.digest}

    config = select_config(selector="learned", model=str(folder), allow_chance=True)
    select_steps(config, tmp_path / "t", tmp_path / "selected")
    scores = [
        score.scores for score in read_records(tmp_path / "selected" / "scores.jsonl", StepScores)
    ]
    embedder = load_embedder(str(encoder))
    assert [list(given) for given in scores] == [
        step_probabilities(model, trajectory, embedder) for trajectory, _ in pairs
    ]
    without = model.model_copy(update={"encoder": None})
    assert list(scores[0]) != step_probabilities(without, pairs[0][0])

    other_model(tiny_model_folder, tmp_path / "encoder", seed=2)
    with pytest.raises(ModelError, match=r"is not the one that .* was trained with"):
        new_selector(config)
    shutil.rmtree(tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"is not at .* any more"):
        new_selector(config)


def test_embeddings_of_a_step_are_of_its_response_and_what_was_seen_before_and_after() -> None:
    class Lengths:
        def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
            return np.array([[float(len(text))] for text in texts])

    seen = [Message(role="user", content="x" * count) for count in (1, 2, 3)]
    steps = tuple(
        Step(observation=(one,), response=Message(role="assistant", content="y" * 10 * count))
        for count, one in enumerate(seen)
    )
    trajectory = make_trajectory(0).model_copy(
        update={"steps": steps, "final_observation": (Message(role="user", content="x" * 4),)}
    )
    assert step_embeddings(trajectory, Lengths()).tolist() == [[0, 1, 2], [10, 2, 3], [20, 3, 4]]
    assert center_and_scale(np.ones((3, 2)))[1] == 1.0
