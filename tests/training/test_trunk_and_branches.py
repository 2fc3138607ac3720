"""Templates that strip thinking: the history is run once, each step's thinking is a branch."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.models.local.load import load_renderer, locate_model
from atlas.records import CriticalStep, Message, Problem, Selection, Step, Trajectory
from atlas.rendering.renderer import Renderer
from atlas.store.record_files import read_records
from atlas.training.config import EngineConfig, TrainConfig
from atlas.training.costs import count_run_tokens
from atlas.training.engine.choose_parts import choose_parts
from atlas.training.engine.exact_engine import PARTS
from atlas.training.engine.micro_batches import cut_into_micro_batches
from atlas.training.engine.packed_rows import (
    common_beginnings,
    count_row_tokens,
    lexicographic_order,
)
from atlas.training.examples import ExampleSet, TrainingExample, build_examples
from atlas.training.schedule import schedule_examples
from atlas.training.train_agent import train_agent
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.template_families import FAMILIES, family_renderer, with_thinking
from tests.templates import THINKING
from tests.training.engine.test_engine import EXACT, backward
from tests.training.tiny_families import FAMILIES as MODELS
from tests.training.tiny_families import assert_same, gradients, reference_loss

STRIPPING = [name for name, family in FAMILIES.items() if family.thinks]


def select(trajectory: Trajectory, steps: Sequence[int]) -> Selection:
    chosen = tuple(CriticalStep(index=step) for step in steps)
    return Selection(
        trajectory_id=trajectory.id,
        selector="t",
        num_steps=len(trajectory.steps),
        budget=len(trajectory.steps),
        critical_steps=chosen,
    )


def built(
    renderer: Renderer, trajectories: Sequence[Trajectory], steps: Sequence[int], **options: Any
) -> ExampleSet:
    selected = [
        (one, select(one, [step for step in steps if step < len(one.steps)]))
        for one in trajectories
    ]
    return build_examples(selected, renderer, TrainConfig(model="m", max_tokens=10_000, **options))


def thinking_trajectory(num_steps: int, name: str = "t", thought: str = "Hm") -> Trajectory:
    """One whose first prompt is long enough to be shared."""
    prompt = (Message(role="system", content="You are in a room with a red ball and a door. " * 3),)
    return with_thinking(make_trajectory(num_steps, name), thought).model_copy(
        update={"prompt": prompt}
    )


def start_of(example: TrainingExample) -> int:
    """Where its supervised tokens begin, and with them all that no other example has."""
    return int(np.flatnonzero(example.labels != -100)[0])


@pytest.mark.parametrize("name", STRIPPING)
@pytest.mark.parametrize("steps", [range(6), [1, 4], [5]])
def test_the_tokens_run_are_the_stripped_history_and_the_branches(
    name: str, steps: Sequence[int]
) -> None:
    renderer = family_renderer(name)
    examples = built(renderer, [thinking_trajectory(6)], steps).examples
    opener = len(renderer.encode(FAMILIES[name].opener))  # the prompt of a step opens its branch
    trunk = start_of(examples[-1]) - opener
    branches = sum(len(one.input_ids) - start_of(one) + opener for one in examples)
    assert len(examples) == len(steps)
    assert (
        count_row_tokens([one.input_ids for one in examples], share_prompts=True)
        == trunk + branches
    )
    assert branches == sum(one.num_supervised_tokens + opener for one in examples)


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_loss_and_gradients_are_those_of_one_example_per_step(family: str) -> None:
    renderer = family_renderer("qwen3")
    examples = built(
        renderer,
        [with_thinking(make_trajectory(5, "a")), with_thinking(make_trajectory(3, "b"), "Well")],
        [0, 2, 3],
    ).examples
    config = MODELS[family]()
    config.vocab_size = len(renderer.tokenizer)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).double().train()
    expected = gradients(model, lambda: backward(reference_loss(model, examples)))
    engine = choose_parts(model, EngineConfig()).engine
    assert engine.parts == PARTS
    seen: list[int] = []
    model.get_input_embeddings().register_forward_hook(
        lambda _, __, output: seen.append(output.shape[1])
    )
    assert_same(gradients(model, lambda: backward(engine.loss(model, examples))), expected, EXACT)
    assert seen == [count_row_tokens([one.input_ids for one in examples], share_prompts=True)]
    assert seen[0] < 0.7 * sum(len(one.input_ids) for one in examples)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=9),
    batch=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_all_examples_of_a_trajectory_are_in_one_step_and_arms_get_the_same_trajectories(
    lengths: list[int], batch: int, seed: int
) -> None:
    """One arm selects all steps, the other one of each."""
    renderer = family_renderer("qwen3")
    trajectories = [
        with_thinking(make_trajectory(num, f"t{index}")) for index, num in enumerate(lengths)
    ]
    seen = []
    for steps in (range(6), [0]):
        groups = built(renderer, trajectories, steps).by_trajectory
        assert [len(group) for group in groups] == [
            len([step for step in steps if step < num]) for num in lengths
        ]
        made = schedule_examples(groups, 2.0, batch, seed).examples
        assert all(len({one.trajectory_id for one in step}) <= batch for step in made)
        assert sum(map(len, made)) == 2 * sum(map(len, groups))
        seen.append([sorted({one.trajectory_id for one in step}) for step in made])
    assert seen[0] == seen[1]


def test_a_forward_pass_holds_whole_trajectories_where_they_fit() -> None:
    renderer = family_renderer("deepseek-r1")
    trajectories = [thinking_trajectory(4, f"t{index}", f"Hm {index}") for index in range(4)]
    first = [
        trajectory.steps[0].observation[0].model_copy(update={"content": f"{index} is here."})
        for index, trajectory in enumerate(trajectories)
    ]
    trajectories = [
        trajectory.model_copy(
            update={
                "steps": (
                    trajectory.steps[0].model_copy(update={"observation": (seen,)}),
                    *trajectory.steps[1:],
                )
            }
        )
        for trajectory, seen in zip(trajectories, first, strict=True)
    ]
    examples = built(renderer, trajectories, range(4)).examples
    tokens = [one.input_ids for one in examples]
    one_trajectory = max(
        count_row_tokens(tokens[start : start + 4], True) for start in range(0, 16, 4)
    )
    batches = cut_into_micro_batches(tokens, one_trajectory, share_prompts=True)
    assert sorted(
        sorted({examples[index].trajectory_id for index in batch}) for batch in batches
    ) == [[f"t{index}"] for index in range(4)]


shapes = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from([0, 33, 36, 50])), min_size=1, max_size=7
)


@settings(max_examples=40, deadline=None)
@given(shapes=shapes, max_tokens=st.integers(10, 160))
def test_no_other_cut_of_the_sorted_examples_runs_fewer_tokens(
    shapes: list[tuple[int, int]], max_tokens: int
) -> None:
    rng = np.random.default_rng(0)
    prompt = rng.integers(0, 50, 50)
    tokens = [
        np.concatenate([prompt[:shared], rng.integers(0, 50, length)]) for length, shared in shapes
    ]

    def cost(batches: Sequence[Sequence[int]]) -> int | None:
        counts = [count_row_tokens([tokens[index] for index in batch], True) for batch in batches]
        fits = all(
            count <= max_tokens or len(batch) == 1
            for count, batch in zip(counts, batches, strict=True)
        )
        return sum(counts) if fits else None

    order = lexicographic_order(tokens)
    common = common_beginnings([tokens[index] for index in order])
    assert count_row_tokens(tokens, True) == sum(map(len, tokens)) - sum(common)
    ways = [
        [order[start:end] for start, end in itertools.pairwise([0, *ends, len(order)])]
        for num in range(len(order))
        for ends in itertools.combinations(range(1, len(order)), num)
    ]
    found = cost(cut_into_micro_batches(tokens, max_tokens, share_prompts=True))
    assert found == min(total for total in map(cost, ways) if total is not None)


@pytest.fixture(scope="module")
def thinking_model(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thinking") / "model"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "chat_template.jinja").write_text(THINKING)
    return folder


def test_a_run_says_how_many_tokens_it_ran_and_has_the_losses_of_one_example_per_step(
    thinking_model: Path, tmp_path: Path
) -> None:
    trajectories = [thinking_trajectory(4 + index % 2, f"t{index}") for index in range(6)]
    runs = write_trajectories(tmp_path / "t", trajectories)
    selection = write_selections(
        tmp_path / "s", [select(trajectory, [1, 2, 3]) for trajectory in trajectories], runs
    )
    losses, summaries = [], []
    for name, engine in (
        ("trunk", {}),
        ("alone", {"micro_batch_tokens": 1}),
        ("plain", dict.fromkeys(PARTS, False)),
    ):
        config = TrainConfig.model_validate(
            {
                "model": str(thinking_model),
                "batch_size": 3,
                "precision": "fp32",
                "epochs": 2,
                "engine": engine,
            }
        )
        summaries.append(train_agent(config, runs, selection, tmp_path / name).summary)
        losses.append(
            [
                json.loads(line)["loss"]
                for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
            ]
        )
    trunk, alone, plain = summaries
    assert trunk["optimizer_steps"] == alone["optimizer_steps"] == 4
    assert trunk["num_examples"] == 18
    assert alone["num_run_tokens"] == 2 * alone["num_trained_tokens"]
    assert trunk["num_run_tokens"] < 0.7 * alone["num_run_tokens"]
    assert plain["num_run_tokens"] >= alone["num_run_tokens"]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0] == pytest.approx(losses[2], rel=1e-3)


def test_tokens_are_counted_without_padding_where_there_is_none() -> None:
    examples = [
        TrainingExample("a", np.arange(length, dtype=np.int32), np.arange(length, dtype=np.int64))
        for length in (5, 9)
    ]
    config = TrainConfig(model="none")
    assert count_run_tokens([examples], config, ()) == 18
    assert count_run_tokens([examples], config, ("packing",)) == 14


def test_cut_observations_and_unwritten_thinking_are_counted_and_shown(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    steps = tuple(
        Step(
            observation=(Message(role="user", content=f"You see a red ball {index}. " * 6),),
            response=Message(
                role="assistant", content=f"go to red ball {index}", reasoning="I look around."
            ),
        )
        for index in range(8)
    )
    trajectory = make_trajectory(0).model_copy(update={"steps": steps})
    runs = write_trajectories(tmp_path / "t", [trajectory])
    selection = write_selections(tmp_path / "s", [select(trajectory, [1, 6])], runs)
    (whole,) = built(
        load_renderer(locate_model(str(tiny_model_folder))), [trajectory], [6]
    ).examples
    given = {
        "model": str(tiny_model_folder),
        "batch_size": 1,
        "precision": "fp32",
        "max_tokens": len(whole.input_ids) - 60,
    }
    dropped = train_agent(
        TrainConfig.model_validate(given), runs, selection, tmp_path / "drop"
    ).summary
    cut = train_agent(
        TrainConfig.model_validate(given | {"truncation": "cut_observations"}),
        runs,
        selection,
        tmp_path / "cut",
    ).summary
    assert (
        dropped["num_dropped_steps"],
        dropped["num_cut_observations"],
        dropped["num_supervised_steps"],
    ) == (1, 0, 1)
    assert cut["num_dropped_steps"] == 0
    assert cut["num_cut_observations"] > 0
    assert cut["num_supervised_steps"] == 2
    reasons = [
        problem.reason for problem in read_records(tmp_path / "cut" / "problems.jsonl", Problem)
    ]
    assert any(
        reason.startswith(f"{cut['num_cut_observations']} observations are left out")
        for reason in reasons
    )
    assert any("does not write the thinking of 2 of 2" in reason for reason in reasons)
