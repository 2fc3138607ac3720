"""trajectories + selection -> training examples, and what was left out on the way.

An example ends with its last token that carries loss: what comes after it, in a causal model, changes no logit before it, so
leaving it out is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from atlas.errors import ConfigError, ModelError
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.loss_mask import IGNORED_LABEL, labels, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.training.config import TrainConfig
from atlas.training.token_weights import weights_of_steps, weights_of_tokens


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One sequence to train on: `input_ids` and `labels` of shape [T] (labels unshifted, -100 where unsupervised).

    Attributes:
        num_tail_tokens: tokens after the last one with loss, left out.
        weights: shape [T]; what each supervised token counts, see token_weights.py; None: 1 each.
        anchored: shape [T]; response tokens of steps that are not selected, where a KL holds the model to its base; None: nowhere.
    """

    trajectory_id: str
    input_ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    num_tail_tokens: int = 0
    weights: NDArray[np.float64] | None = None
    anchored: NDArray[np.bool_] | None = None

    @property
    def num_supervised_tokens(self) -> int:
        return int((self.labels != IGNORED_LABEL).sum())

    @property
    def num_anchored_tokens(self) -> int:
        return 0 if self.anchored is None else int(self.anchored[1:].sum())

    @property
    def target_weights(self) -> NDArray[np.float64]:
        """The weight of each supervised token in turn, shape [N]; the first token of a sequence is predicted by nothing."""
        supervised = self.labels[1:] != IGNORED_LABEL
        return (
            np.ones(int(supervised.sum())) if self.weights is None else self.weights[1:][supervised]
        )

    @property
    def anchors(self) -> NDArray[np.bool_]:
        """Where an anchored token is predicted, shape [T - 1]: position t predicts token t + 1."""
        return (
            np.zeros(len(self.labels) - 1, dtype=bool)
            if self.anchored is None
            else self.anchored[1:]
        )


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """All examples of a run with the counts that its summary reports."""

    examples: tuple[TrainingExample, ...]
    num_trajectories: int
    num_steps: int
    num_supervised_steps: int
    num_dropped_steps: int
    num_cut_observations: int
    num_tokens: int  # before the tails were left out
    problems: tuple[Problem, ...]

    @property
    def by_trajectory(self) -> list[tuple[TrainingExample, ...]]:
        """The examples of each trajectory that has any: one, or one per step where the template rewrites history."""
        return [
            tuple(group)
            for _, group in itertools.groupby(
                self.examples, key=lambda example: example.trajectory_id
            )
        ]

    @property
    def num_trained_tokens(self) -> int:
        return sum(len(example.input_ids) for example in self.examples)

    @property
    def num_supervised_tokens(self) -> int:
        return sum(example.num_supervised_tokens for example in self.examples)

    @property
    def num_anchored_tokens(self) -> int:
        return sum(example.num_anchored_tokens for example in self.examples)


def build_examples(
    trajectories: Iterable[Trajectory],
    selections: Mapping[str, Selection],
    renderer: Renderer,
    config: TrainConfig,
    advance: Callable[[], None] = lambda: None,
) -> ExampleSet:
    """Tokenise every selected trajectory once and mask it by its selection (ATLaS §3.3).

    Trajectories without a supervised token are left out with a problem each: they would add nothing but NaN. With a KL, the steps
    that are not selected are marked too, to be held to the base model.

    Raises:
        DataError: a selected step has no such weight as `config.step_weights` names.
    """
    holds = config.kl_weight > 0
    examples: list[TrainingExample] = []
    problems: list[Problem] = []
    num_trajectories = num_steps = num_supervised_steps = num_dropped_steps = num_cut = (
        num_tokens
    ) = 0
    for trajectory in trajectories:
        advance()
        num_trajectories += 1
        num_steps += len(trajectory.steps)
        selection = selections[trajectory.id]
        if not selection.indices:
            problems.append(
                _left_out(trajectory, selection.problem or "its selection names no step")
            )
            continue
        weights = weights_of_steps(trajectory, selection, config.step_weights)
        others = (
            frozenset(range(len(trajectory.steps))) - selection.indices if holds else frozenset()
        )
        try:
            tokenized = renderer.tokenize_trajectory(
                trajectory, config.max_tokens, selection.indices, config.truncation, others
            )
        except ModelError as error:  # a template may refuse one conversation (a role, an order of roles) and take the others
            problems.append(_left_out(trajectory, str(error)))
            continue
        dropped, cut, unwritten = 0, set[int](), 0
        of_trajectory: list[TrainingExample] = []
        owners: list[NDArray[np.int32]] = []
        for example in tokenized:
            num_tokens += len(example.token_ids)
            dropped += len(selection.indices.intersection(example.dropped_steps))
            cut |= set(example.cut_observations)
            unwritten += len(selection.indices.intersection(example.unwritten_thinking))
            mask, anchored = loss_mask(example, selection.indices), loss_mask(example, others)
            if mask.any() or anchored.any():
                end = int(np.flatnonzero(mask | anchored)[-1]) + 1
                ended = TrainingExample(
                    trajectory.id,
                    example.token_ids[:end],
                    labels(example, mask)[:end],
                    len(mask) - end,
                )
                of_trajectory.append(replace(ended, anchored=anchored[:end]) if holds else ended)
                owners.append(example.step_of_token[:end][mask[:end]])
        num_dropped_steps += dropped
        num_supervised_steps += len(selection.indices) - dropped
        num_cut += len(cut)
        if dropped:
            problems.append(
                _left_out(
                    trajectory,
                    f"{dropped} of {len(selection.indices)} selected steps lie beyond {config.max_tokens} tokens",
                )
            )
        if cut:
            reason = f"{len(cut)} observations are left out, so that more selected steps fit into {config.max_tokens} tokens"
            problems.append(_left_out(trajectory, reason))
        if unwritten:
            reason = f"the chat template does not write out the thinking of {unwritten} of {len(selection.indices)} selected steps"
            problems.append(_left_out(trajectory, reason))
        if not any(len(owner) for owner in owners):
            of_trajectory = []
        elif (config.loss_normalizer, config.step_weights) != ("tokens", "none"):
            of_trajectory = [
                replace(example, weights=_spread(example.labels, of_token))
                for example, of_token in zip(
                    of_trajectory,
                    weights_of_tokens(owners, weights, config.loss_normalizer),
                    strict=True,
                )
            ]
        examples += of_trajectory
    if config.step_weights != "none" and config.loss_normalizer != "trajectories":
        examples = _with_largest_weight_1(examples)
    return ExampleSet(
        tuple(examples),
        num_trajectories,
        num_steps,
        num_supervised_steps,
        num_dropped_steps,
        num_cut,
        num_tokens,
        tuple(problems),
    )


def schedule_examples(
    trajectories: Sequence[Sequence[TrainingExample]], epochs: float, batch_size: int, seed: int
) -> list[int]:
    """The order in which trajectories (all examples of one each) are trained on, as indices, over all epochs.

    Each epoch is a permutation drawn from `seed`, so that arms with as many trajectories get the same ones in the same
    optimiser steps, whatever their template makes of them. Within a step they stand in order of length, which changes no sum
    but saves padding in its micro-batches.

    Raises:
        ConfigError: so few epochs that no trajectory is trained on.
    """
    num_visits = round(epochs * len(trajectories))
    if not num_visits:
        raise ConfigError(
            f"epochs={epochs} of {len(trajectories)} trajectories is not one trajectory. Raise epochs."
        )
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < num_visits:
        order += rng.permutation(len(trajectories)).tolist()
    order = order[:num_visits]
    lengths = [max(len(example.input_ids) for example in examples) for examples in trajectories]
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [
        index for step in steps for index in sorted(step, key=lambda index: (lengths[index], index))
    ]


def examples_of_steps(
    trajectories: Sequence[Sequence[TrainingExample]], order: Sequence[int], batch_size: int
) -> list[list[TrainingExample]]:
    """The examples of each optimiser step of a schedule."""
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [[example for index in step for example in trajectories[index]] for step in steps]


def _spread(labels: NDArray[np.int64], of_token: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of the supervised tokens, shape [N], set among zeros, shape [T]."""
    weights = np.zeros(len(labels))
    weights[labels != IGNORED_LABEL] = of_token
    return weights


def _with_largest_weight_1(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    """Only ratios matter, and losses are float32: weights of 1e-50 would all be 0 there."""
    largest = max(
        (float(one.weights.max()) for one in examples if one.weights is not None), default=1.0
    )
    return [
        one if one.weights is None else replace(one, weights=one.weights / largest)
        for one in examples
    ]


def _left_out(trajectory: Trajectory, reason: str) -> Problem:
    return Problem(where=f"trajectory {trajectory.id}", reason=reason, item=trajectory.id)
