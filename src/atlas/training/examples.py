"""trajectories + selection -> training examples, and what was left out on the way.

An example ends with its last supervised token: what comes after it carries no loss and, in a causal model, changes no
logit before it, so leaving it out is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.errors import ModelError
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.loss_mask import IGNORED_LABEL, labels, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.truncation import Truncation


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One sequence to train on: `input_ids` and `labels` of shape [T] (labels unshifted, -100 where unsupervised)."""

    trajectory_id: str
    input_ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    num_tail_tokens: int = 0  # left out after the last supervised one

    @property
    def num_supervised_tokens(self) -> int:
        return int((self.labels != IGNORED_LABEL).sum())


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
    def num_trained_tokens(self) -> int:
        return sum(len(example.input_ids) for example in self.examples)

    @property
    def num_supervised_tokens(self) -> int:
        return sum(example.num_supervised_tokens for example in self.examples)


def build_examples(
    trajectories: Iterable[Trajectory],
    selections: Mapping[str, Selection],
    renderer: Renderer,
    max_tokens: int,
    advance: Callable[[], None] = lambda: None,
    truncation: Truncation = "drop_tail",
) -> ExampleSet:
    """Tokenise every selected trajectory once and mask it by its selection (ATLaS §3.3).

    Trajectories without a supervised token are left out with a problem each: they would add nothing but NaN.
    """
    examples: list[TrainingExample] = []
    problems: list[Problem] = []
    num_trajectories = num_steps = num_supervised_steps = num_dropped_steps = num_cut = num_tokens = 0
    for trajectory in trajectories:
        advance()
        num_trajectories += 1
        num_steps += len(trajectory.steps)
        selection = selections[trajectory.id]
        if not selection.indices:
            problems.append(_left_out(trajectory, selection.problem or "its selection names no step"))
            continue
        try:
            tokenized = renderer.tokenize_trajectory(trajectory, max_tokens, selection.indices, truncation)
        except ModelError as error:  # a template may refuse one conversation (a role, an order of roles) and take the others
            problems.append(_left_out(trajectory, str(error)))
            continue
        dropped, cut, unwritten = 0, set[int](), 0
        of_trajectory: list[TrainingExample] = []
        for example in tokenized:
            num_tokens += len(example.token_ids)
            dropped += len(example.dropped_steps)
            cut |= set(example.cut_observations)
            unwritten += len(example.unwritten_thinking)
            mask = loss_mask(example, selection.indices)
            if mask.any():
                end = int(np.flatnonzero(mask)[-1]) + 1
                tail = len(mask) - end
                of_trajectory.append(TrainingExample(trajectory.id, example.token_ids[:end], labels(example, mask)[:end], tail))
        num_dropped_steps += dropped
        num_supervised_steps += len(selection.indices) - dropped
        num_cut += len(cut)
        if dropped:
            problems.append(_left_out(trajectory, f"{dropped} of {len(selection.indices)} selected steps lie beyond {max_tokens} tokens"))
        if cut:
            reason = f"{len(cut)} observations are left out, so that more selected steps fit into {max_tokens} tokens"
            problems.append(_left_out(trajectory, reason))
        if unwritten:
            reason = f"the chat template does not write out the thinking of {unwritten} of {len(selection.indices)} selected steps"
            problems.append(_left_out(trajectory, reason))
        examples += of_trajectory
    return ExampleSet(
        tuple(examples), num_trajectories, num_steps, num_supervised_steps, num_dropped_steps, num_cut, num_tokens, tuple(problems)
    )


def schedule_examples(examples: Sequence[TrainingExample], epochs: float, batch_size: int, seed: int) -> list[int]:
    """The order in which examples are trained on, as indices, over all epochs.

    Each epoch is a permutation drawn from `seed`, so that arms with as many examples get the same ones in the same
    optimiser steps. Within a step they stand in order of length, which changes no sum but saves padding in its micro-batches.
    """
    rng = np.random.default_rng(seed)
    order: list[int] = []
    while len(order) < round(epochs * len(examples)):
        order += rng.permutation(len(examples)).tolist()
    order = order[: round(epochs * len(examples))]
    lengths = [len(example.input_ids) for example in examples]
    steps = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return [index for step in steps for index in sorted(step, key=lambda index: (lengths[index], index))]


def _left_out(trajectory: Trajectory, reason: str) -> Problem:
    return Problem(where=f"trajectory {trajectory.id}", reason=reason, item=trajectory.id)
