"""Normalizers and step weights: the token weights give the loss that defines each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.errors import DataError
from atlas.records import Annotation, CriticalStep, Selection, Trajectory
from atlas.rendering.renderer import Renderer
from atlas.training.config import LossNormalizer, TrainConfig
from atlas.training.examples import ExampleSet, TrainingExample, build_examples
from atlas.training.token_weights import weights_of_steps, weights_of_tokens
from tests.conftest import make_trajectory
from tests.templates import THINKING, tiny_tokenizer

NORMALIZERS: tuple[LossNormalizer, ...] = ("tokens", "steps", "trajectories")


def by_definition(
    normalizer: LossNormalizer,
    losses: Sequence[dict[int, list[float]]],
    weights: Sequence[dict[int, float]],
) -> float:
    """The loss of an optimizer step from each trajectory's token losses, written plainly."""
    if normalizer == "trajectories":
        means = []
        for trajectory, of_step in zip(losses, weights, strict=True):
            tokens = [
                (of_step[step], loss) for step, values in trajectory.items() for loss in values
            ]
            means.append(
                sum(weight * loss for weight, loss in tokens) / sum(weight for weight, _ in tokens)
            )
        return sum(means) / len(means)
    parts = []
    for trajectory, of_step in zip(losses, weights, strict=True):
        for step, values in trajectory.items():
            parts += (
                [(of_step[step], sum(values) / len(values))]
                if normalizer == "steps"
                else [(of_step[step], loss) for loss in values]
            )
    return sum(weight * loss for weight, loss in parts) / sum(weight for weight, _ in parts)


trajectories = st.lists(
    st.dictionaries(
        st.integers(0, 9),
        st.lists(st.floats(0, 20), min_size=1, max_size=6),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(
    losses=trajectories,
    normalizer=st.sampled_from(NORMALIZERS),
    weighted=st.booleans(),
    alone=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_weighted_mean_over_tokens_is_each_normalizer_as_it_is_defined(
    losses: list[dict[int, list[float]]],
    normalizer: LossNormalizer,
    weighted: bool,
    alone: bool,
    seed: int,
) -> None:
    """A trajectory is one example or, if the template rewrites history, one per step."""
    rng = np.random.default_rng(seed)
    weights = [
        {step: float(rng.uniform(0.1, 5)) if weighted else 1.0 for step in trajectory}
        for trajectory in losses
    ]
    weighted = total = 0.0
    for trajectory, of_step in zip(losses, weights, strict=True):
        owners = [
            np.full(len(values), step, dtype=np.int32)
            for step, values in sorted(trajectory.items())
        ]
        values = np.concatenate([np.array(values) for _, values in sorted(trajectory.items())])
        of_token = np.concatenate(
            weights_of_tokens(owners if alone else [np.concatenate(owners)], of_step, normalizer)
        )
        weighted, total = weighted + float((of_token * values).sum()), total + float(of_token.sum())
    assert weighted / total == pytest.approx(
        by_definition(normalizer, losses, weights), rel=1e-9, abs=1e-12
    )


def weighted_by(step_weights: str, **settings: Any) -> TrainConfig:
    given = {"model": "m", "step_weights": step_weights, **settings}
    return TrainConfig.model_validate(given)


by_none, by_score, by_annotation = map(weighted_by, ("none", "score", "annotation"))


def selection_of(trajectory: Trajectory, scores: dict[int, float | None]) -> Selection:
    steps = tuple(CriticalStep(index=index, score=score) for index, score in sorted(scores.items()))
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=len(trajectory.steps),
        budget=9,
        critical_steps=steps,
    )


def annotated(trajectory: Trajectory, scores: dict[int, float]) -> Trajectory:
    steps = [
        step.model_copy(
            update={"annotation": Annotation(score=scores[index]) if index in scores else None}
        )
        for index, step in enumerate(trajectory.steps)
    ]
    return trajectory.model_copy(update={"steps": tuple(steps)})


@pytest.mark.parametrize("bad", [None, 0.0, -0.5, math.nan, math.inf])
def test_a_score_that_is_no_weight_is_named_with_its_trajectory_and_step(bad: float | None) -> None:
    trajectory = make_trajectory(4, "t7")
    expected = f"trajectory t7, step 2 has {'no score' if bad is None else f'the score {bad}'}"
    with pytest.raises(DataError, match=expected) as error:
        weights_of_steps(trajectory, selection_of(trajectory, {1: 0.5, 2: bad}), by_score)
    assert "step_weights=none" in str(error.value)
    assert weights_of_steps(trajectory, selection_of(trajectory, {1: 0.5, 2: bad}), by_none) == {
        1: 1.0,
        2: 1.0,
    }


@pytest.mark.parametrize("bad", [-0.21, -1.5, math.nan, -math.inf, None])
def test_a_weight_below_the_lowest_that_is_allowed_is_named(bad: float | None) -> None:
    trajectory = make_trajectory(4, "t7")
    config = weighted_by("score", lowest_weight=-0.2)
    with pytest.raises(DataError, match=r"t7, step 2 has .* from lowest_weight=-0\.2"):
        weights_of_steps(trajectory, selection_of(trajectory, {1: 0.5, 2: bad}), config)
    given: dict[int, float | None] = {0: 0.0, 1: -0.2, 2: 3.0}
    assert weights_of_steps(trajectory, selection_of(trajectory, given), config) == given


def test_the_message_for_a_negative_weight_says_how_to_allow_it() -> None:
    trajectory = make_trajectory(4, "t7")
    with pytest.raises(DataError, match=r"set lowest_weight=-0\.3 to train away"):
        weights_of_steps(trajectory, selection_of(trajectory, {1: -0.3}), by_score)
    with pytest.raises(ValueError, match="needs step_weights=score or annotation"):
        weighted_by("none", lowest_weight=-0.3)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_negative_weights_are_divided_by_the_sum_of_their_absolute_values(
    tokenizer: Any, normalizer: LossNormalizer
) -> None:
    trajectory = make_trajectory(4, "t")
    built = build_examples(
        [(trajectory, selection_of(trajectory, {0: 0.5, 1: 0.0, 2: -0.25}))],
        Renderer(tokenizer),
        weighted_by("score", lowest_weight=-0.25, loss_normalizer=normalizer),
    )
    weights = supervised_weights(built.examples)
    signs = {float(sign) for sign in np.sign(weights)}
    assert signs == {-1.0, 0.0, 1.0}
    assert (built.num_supervised_steps, built.num_negative_steps) == (3, 1)
    share = -weights[weights < 0].sum() / np.abs(weights).sum()
    assert built.negative_share == pytest.approx(share)
    if normalizer == "trajectories":
        assert np.abs(weights).sum() == pytest.approx(1)
    if normalizer == "steps":
        assert share == pytest.approx(0.25 / 0.75)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_trajectory_whose_weights_are_all_0_is_left_out(
    tokenizer: Any, normalizer: LossNormalizer
) -> None:
    trajectory = make_trajectory(4, "t")
    built = build_examples(
        [(trajectory, selection_of(trajectory, {0: 0.0, 2: 0.0}))],
        Renderer(tokenizer),
        weighted_by("score", lowest_weight=-0.25, loss_normalizer=normalizer),
    )
    assert built.examples == ()
    assert "has the weight 0" in built.problems[0].reason


def test_a_held_out_loss_leaves_out_steps_with_a_negative_weight(tokenizer: Any) -> None:
    pairs = []
    for number, scores in enumerate(({0: 1.0, 2: -0.5}, {1: -0.5}, {0: 1.0}, {0: -0.5, 1: 0.5})):
        trajectory = make_trajectory(4, f"t{number}")
        pairs.append((trajectory, selection_of(trajectory, dict(scores))))
    config = weighted_by("score", lowest_weight=-0.5, held_out=0.7)
    built = build_examples(pairs, Renderer(tokenizer), config)
    held = {one.trajectory_id for one in built.held_out}
    assert built.num_held_out == 3
    assert held
    assert "t1" not in held
    assert all((one.target_weights >= 0).all() for one in built.held_out)
    assert all(one.target_weights.any() for one in built.held_out)


def test_weights_come_from_the_selection_or_from_the_source() -> None:
    trajectory = annotated(make_trajectory(4), {1: 3.0, 2: 0.0})
    assert weights_of_steps(trajectory, selection_of(trajectory, {0: 0.25, 1: 0.5}), by_score) == {
        0: 0.25,
        1: 0.5,
    }
    assert weights_of_steps(trajectory, selection_of(trajectory, {1: 0.5}), by_annotation) == {
        1: 3.0
    }
    for step, found in ((2, "the score 0.0"), (3, "no score")):
        with pytest.raises(
            DataError, match=f"step {step} has {found} in the annotation of its source"
        ):
            weights_of_steps(trajectory, selection_of(trajectory, {step: 0.5}), by_annotation)


def thinking_trajectory(name: str) -> Trajectory:
    """Each step has its own thinking, which the template THINKING strips from earlier ones."""
    trajectory = make_trajectory(4, name)
    steps = [
        step.model_copy(
            update={
                "response": step.response.model_copy(
                    update={"reasoning": f"I look around {'now ' * index}"}
                )
            }
        )
        for index, step in enumerate(trajectory.steps)
    ]
    return trajectory.model_copy(update={"steps": tuple(steps)})


def build(renderer: Renderer, trajectory: Trajectory, **options: Any) -> ExampleSet:
    selection = selection_of(trajectory, {0: 0.5, 2: 1.5})
    return build_examples([(trajectory, selection)], renderer, TrainConfig(model="m", **options))


def supervised_weights(examples: Sequence[TrainingExample]) -> np.ndarray:
    return np.concatenate([example.target_weights for example in examples])


@pytest.fixture(scope="module", params=["one example a trajectory", "one a step"])
def renderer_and_trajectory(
    request: pytest.FixtureRequest, tokenizer: Any
) -> tuple[Renderer, Trajectory]:
    if request.param == "one a step":
        return Renderer(tiny_tokenizer(THINKING)), thinking_trajectory("t")
    return Renderer(tokenizer), make_trajectory(4, "t")


def test_examples_carry_the_weights_of_their_supervised_tokens(
    renderer_and_trajectory: tuple[Renderer, Trajectory],
) -> None:
    renderer, trajectory = renderer_and_trajectory
    plain = build(renderer, trajectory)
    assert all(example.weights is None for example in plain.examples)
    assert np.array_equal(supervised_weights(plain.examples), np.ones(plain.num_supervised_tokens))
    steps = build(renderer, trajectory, loss_normalizer="steps", step_weights="score")
    of_steps = [
        sum(weights)
        for _, weights in itertools.groupby(supervised_weights(steps.examples).tolist())
    ]
    assert of_steps[1] / of_steps[0] == pytest.approx(1.5 / 0.5)
    assert len(set(supervised_weights(steps.examples).round(12).tolist())) == 2
    whole = build(renderer, trajectory, loss_normalizer="trajectories", step_weights="score")
    assert supervised_weights(whole.examples).sum() == pytest.approx(1)
    assert set(
        (supervised_weights(whole.examples) / supervised_weights(whole.examples).min())
        .round(9)
        .tolist()
    ) == {1.0, 3.0}
    for built in (steps, whole):
        assert [example.labels.tolist() for example in built.examples] == [
            example.labels.tolist() for example in plain.examples
        ]
        for example in built.examples:
            assert example.weights is not None
            assert ((example.weights > 0) == (example.labels != -100)).all()


def test_anchored_tokens_are_the_responses_of_the_steps_that_are_not_selected(
    renderer_and_trajectory: tuple[Renderer, Trajectory],
) -> None:
    renderer, trajectory = renderer_and_trajectory
    chosen, others = (
        selection_of(trajectory, {0: 0.5, 2: 1.5}),
        selection_of(trajectory, {1: 1.0, 3: 1.0}),
    )
    held = build_examples([(trajectory, chosen)], renderer, TrainConfig(model="m", kl_weight=1))
    complement = build_examples([(trajectory, others)], renderer, TrainConfig(model="m"))
    assert held.num_anchored_tokens == complement.num_supervised_tokens
    assert held.num_supervised_tokens == build(renderer, trajectory).num_supervised_tokens
    assert held.num_supervised_steps == 2
    text = []
    for example in held.examples:
        assert example.anchored is not None
        assert not (example.anchored & (example.labels != -100)).any()
        text += [renderer.tokenizer.decode(example.input_ids[example.anchored].tolist())]
    assert "red ball 1" in "".join(text)
    assert "red ball 3" in "".join(text), "the sequence runs to the last of them"
    assert "red ball 2" not in "".join(text)


def test_a_trajectory_of_which_no_selected_step_fits_is_left_out_whole(tokenizer: Any) -> None:
    trajectory = make_trajectory(4, "t")
    built = build_examples(
        [(trajectory, selection_of(trajectory, {3: 1.0}))],
        Renderer(tokenizer),
        TrainConfig(model="m", max_tokens=150, loss_normalizer="steps", kl_weight=1),
    )
    assert built.examples == ()
    assert "lie beyond 150 tokens" in built.problems[0].reason


@pytest.mark.parametrize("scale", [1e-310, 1e-50, 1e50, 1e307])
@pytest.mark.parametrize("normalizer", ["tokens", "steps", "trajectories"])
def test_only_ratios_of_weights_matter_even_of_numbers_that_float32_does_not_have(
    tokenizer: Any, normalizer: LossNormalizer, scale: float
) -> None:
    trajectory = make_trajectory(4, "t")

    def weights(scores: dict[int, float]) -> np.ndarray:
        config = TrainConfig(model="m", loss_normalizer=normalizer, step_weights="score")
        built = build_examples(
            [(trajectory, selection_of(trajectory, scores))], Renderer(tokenizer), config
        )
        return supervised_weights(built.examples).astype(np.float32)

    plain, scaled = weights({0: 0.5, 2: 1.5}), weights({0: 0.5 * scale, 2: 1.5 * scale})
    assert scaled / scaled.sum() == pytest.approx(plain / plain.sum(), rel=1e-5)
