from __future__ import annotations

import json
import pickle
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from atlas.errors import ConfigError, DataError, DependencyError, ModelError
from atlas.models.local.embeddings import load_embedder
from atlas.records import CriticalStep, Message, Selection, Step, Trajectory
from atlas.selection.budget import best_indices
from atlas.selection.learned.fit_regression import (
    STRENGTHS,
    center_and_scale,
    fit_regression,
    split_folds,
)
from atlas.selection.learned.model import MODEL_FILE, StepScorer, read_model
from atlas.selection.learned.step_embeddings import step_embeddings
from atlas.selection.learned.step_features import step_numbers, step_words, word_vectorizer
from atlas.selection.learned.train_selector import SelectTrainConfig, train_selector
from atlas.selection.scores import StepScores
from atlas.selection.select_steps import select_steps
from atlas.store.record_files import read_records
from tests.conftest import make_trajectory
from tests.models.local.other_model import other_model
from tests.parse_counts import count_parses
from tests.run_folders import selections_in, write_selections, write_trajectories
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
    weights = model.regression.weights
    assert max(weights, key=lambda name: weights[name]) == "r:unlock"
    assert model.brier < 0.5 * model.base_brier
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
    selections = selections_in(tmp_path / "s")
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


def test_without_scikit_learn_the_selector_is_not_made(
    learned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(DependencyError, match=r"scikit-learn.*atlas-tuning\[select\]"):
        new_selector(select_config("learned", model=str(learned)))


def test_training_parses_each_trajectory_once(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = count_parses(monkeypatch)
    train_selector(
        SelectTrainConfig(), learned.parent / "t", learned.parent / "s", tmp_path / "again"
    )
    assert set(counts.values()) == {1}
    assert len(counts) == 80


def test_training_twice_writes_the_same_bytes(learned: Path, tmp_path: Path) -> None:
    again = train(tmp_path, [speaking(number) for number in range(80)])
    assert (again / MODEL_FILE).read_bytes() == (learned / MODEL_FILE).read_bytes()


def test_an_interrupted_training_goes_on_and_a_finished_one_is_kept(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pairs = [speaking(number) for number in range(80)]
    with monkeypatch.context() as patch:
        patch.setattr("atlas.selection.learned.train_selector.write_model", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, pairs)
    arguments = (SelectTrainConfig(), tmp_path / "t", tmp_path / "s", tmp_path / "m")
    train_selector(*arguments)
    made = (tmp_path / "m" / MODEL_FILE).stat()
    assert (tmp_path / "m" / MODEL_FILE).read_bytes() == (learned / MODEL_FILE).read_bytes()
    train_selector(*arguments)
    assert (tmp_path / "m" / MODEL_FILE).stat().st_mtime_ns == made.st_mtime_ns


def test_a_model_not_better_than_chance_is_refused_unless_allowed(tmp_path: Path) -> None:
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
    """Each of 12 tasks has five trajectories and a word that only its labels go by."""
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
    learned_words = {name for name in model.regression.weights if name.startswith("r:word")}
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
    with pytest.raises(DataError, match="cover 3 tasks"):
        train(tmp_path / "few", [speaking(number) for number in range(3)])
    run = write_trajectories(
        tmp_path / "t", [trajectory for trajectory, _ in map(speaking, range(20))]
    )
    select_steps(select_config(selector="all"), run, tmp_path / "all")
    with pytest.raises(DataError, match="choose every step"):
        train_selector(SelectTrainConfig(), run, tmp_path / "all", tmp_path / "m")


def test_labels_in_one_task_only_are_refused(tmp_path: Path) -> None:
    pairs = [speaking(number) for number in range(20)]
    run = write_trajectories(tmp_path / "t", [trajectory for trajectory, _ in pairs])
    labels = [label(trajectory, place) for trajectory, place in pairs]
    nothing = [one.model_copy(update={"critical_steps": ()}) for one in labels]
    selection = write_selections(tmp_path / "s", [*nothing[:-1], labels[-1]], run)
    with pytest.raises(DataError, match="choose no step of nearly all tasks"):
        train_selector(SelectTrainConfig(), run, selection, tmp_path / "m")


def test_a_model_that_is_not_a_run_of_select_train_is_explained(tmp_path: Path) -> None:
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


def test_a_model_file_runs_no_code(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (tmp_path / "attacked",)

    (tmp_path / MODEL_FILE).write_bytes(pickle.dumps(Attack()))
    with pytest.raises(DataError, match="Train it again"):
        read_model(tmp_path / MODEL_FILE)
    assert not (tmp_path / "attacked").exists()


def test_features_are_one_row_a_step_and_numbers_are_one_word() -> None:
    trajectory = make_trajectory(3)
    words = list(step_words(trajectory))
    assert len(words) == len(step_numbers(trajectory)) == 3
    assert "r:#" in words[1]
    assert not [word for word in words[1] if word[2:].isdigit()]
    assert [row["first"] for row in step_numbers(trajectory)] == [1.0, 0.0, 0.0]
    assert list(step_words(make_trajectory(0))) == step_numbers(make_trajectory(0)) == []


def test_of_equal_probabilities_the_earlier_step_is_taken(learned: Path) -> None:
    assert best_indices([0.5, 0.7, 0.5, 0.5], 2) == [1, 0]
    scorer = StepScorer(read_model(learned / MODEL_FILE).regression)
    assert all(0 <= probability <= 1 for probability in scorer.score(make_trajectory(5)))
    assert scorer.score(make_trajectory(0)) == []


def test_probabilities_are_those_of_the_calibrated_classifier_of_scikit_learn() -> None:
    from scipy.sparse import hstack
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression

    pairs = [speaking(number) for number in range(40)]
    trajectories = [trajectory for trajectory, _ in pairs]
    chosen = np.array(
        [index == place for one, place in pairs for index in range(len(one.steps))], dtype=np.bool_
    )
    tasks = [one.task.id for one in trajectories for _ in one.steps]
    folds = split_folds(tasks, chosen)
    regression = fit_regression(trajectories, chosen, folds, max_words=1_000)
    words = word_vectorizer(min_df=3).fit_transform(
        words for one in trajectories for words in step_words(one)
    )
    numbers = DictVectorizer().fit_transform(
        [numbers for one in trajectories for numbers in step_numbers(one)]
    )
    features = hstack([numbers, words], format="csr")
    expected = [
        CalibratedClassifierCV(
            LogisticRegression(C=strength, max_iter=2_000), cv=folds, ensemble=False
        )
        .fit(features, chosen)
        .predict_proba(features)[:, 1]
        for strength in STRENGTHS
    ]
    given = [value for one in trajectories for value in StepScorer(regression).score(one)]
    assert min(np.abs(np.array(given) - one).max() for one in expected) < 1e-5


def test_a_model_without_words_scores_by_the_numbers(tmp_path: Path) -> None:
    pairs = [speaking(number) for number in range(40)]
    model = read_model(train(tmp_path, pairs, SelectTrainConfig(max_words=0)) / MODEL_FILE)
    assert model.regression.inverse_frequency == {}
    assert {"position", "first", "reward"} < set(model.regression.weights)
    assert len(StepScorer(model.regression).score(pairs[0][0])) == len(pairs[0][0].steps)


def test_trajectories_without_a_word_are_scored_by_the_numbers(tmp_path: Path) -> None:
    silent = Step(observation=(), response=Message(role="assistant", content="…"))
    pairs = [
        (trajectory.model_copy(update={"steps": (silent,) * len(trajectory.steps)}), 1)
        for trajectory, _ in map(speaking, range(40))
    ]
    model = read_model(train(tmp_path, pairs) / MODEL_FILE)
    assert model.regression.inverse_frequency == {}
    assert model.agreement.precision.value == 1.0


def test_an_encoder_adds_embeddings_that_selecting_reads_from_the_same_model(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    encoder = other_model(tiny_model_folder, tmp_path / "encoder")
    pairs = [speaking(number) for number in range(40)]
    folder = train(tmp_path, pairs, SelectTrainConfig(encoder=str(encoder), max_words=0))
    model = read_model(folder / MODEL_FILE)
    weights = model.regression.embedding_weights
    assert (len(weights), any(weights)) == (3 * 32, True)
    assert model.encoder is not None
    assert model.encoder.digest
    recorded = json.loads((folder / "manifest.json").read_text())["inputs"]["encoder"]
    assert recorded == {"path": "../encoder", "digest": model.encoder.digest}

    config = select_config(selector="learned", model=str(folder), allow_chance=True)
    select_steps(config, tmp_path / "t", tmp_path / "selected")
    scores = [
        score.scores for score in read_records(tmp_path / "selected" / "scores.jsonl", StepScores)
    ]
    scorer, embedder = StepScorer(model.regression), load_embedder(str(encoder))
    assert [list(given) for given in scores] == [
        scorer.score(trajectory, embedder) for trajectory, _ in pairs
    ]
    without = model.regression.model_copy(update={"embedding_weights": ()})
    assert list(scores[0]) != StepScorer(without).score(pairs[0][0])

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


def test_equal_embeddings_are_not_scaled() -> None:
    assert center_and_scale(np.ones((3, 2)))[1] == 1.0
