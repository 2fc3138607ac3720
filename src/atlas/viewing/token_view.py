"""trajectory + selection + tokenizer (+ model) -> what a trainer makes of each token.

The terminal and the page of tokens both show this description. It is pure: what a model says about
the tokens comes from the `Meter` that the caller hands in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.records import Selection, Trajectory
from atlas.rendering.count_unwritten import advise, count_unwritten
from atlas.rendering.loss_mask import count_run, loss_mask
from atlas.rendering.measured_tokens import Meter
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import NO_STEP, TokenizedExample
from atlas.rendering.unwritten import WORDS, name_parts


@dataclass(frozen=True, slots=True)
class ViewedExample:
    """One sequence of T tokens that fit, and C tokens beyond the limit.

    Attributes:
        example: the tokens that fit, with their owners.
        mask: shape [T]; which tokens are supervised.
        num_run: tokens up to the last supervised one; the engine leaves out those after it.
        cut_ids: shape [C]; the tokens that max_tokens cuts off.
        cut_owners: shape [C]; the step of each of them, or -1.
        losses: shape [T]; −log π in nats, NaN where it is not known; None without a model.
        silenced: shape [T]; which supervised tokens the objective silences; None without one.
    """

    example: TokenizedExample
    mask: NDArray[np.bool_]
    num_run: int
    cut_ids: NDArray[np.int32]
    cut_owners: NDArray[np.int32]
    losses: NDArray[np.float64] | None = None
    silenced: NDArray[np.bool_] | None = None

    @property
    def num_not_run(self) -> int:
        return len(self.mask) - self.num_run

    @property
    def token_ids(self) -> NDArray[np.int32]:
        """All tokens, with those that are cut off at the end, shape [T + C]."""
        return np.concatenate([self.example.token_ids, self.cut_ids])

    @property
    def owners(self) -> NDArray[np.int32]:
        """The step of each token, or -1, shape [T + C]."""
        return np.concatenate([self.example.step_of_token, self.cut_owners])


@dataclass(frozen=True, slots=True)
class StepTokenCounts:
    """The tokens of one step.

    Attributes:
        num_tokens: those of its response that fit.
        num_supervised: over all examples.
        num_silenced: of them; None without an objective.
        num_cut: those beyond the limit.
        mean_loss: over all tokens of its response, in nats; None where it is not known.
    """

    step: int
    is_chosen: bool
    num_tokens: int
    num_supervised: int
    num_silenced: int | None = None
    num_cut: int = 0
    mean_loss: float | None = None


@dataclass(frozen=True, slots=True)
class TokenView:
    """All tokens of a trajectory under one tokenizer and one selection."""

    trajectory_id: str
    tokenizer: str
    examples: tuple[ViewedExample, ...]
    steps: tuple[StepTokenCounts, ...]
    warnings: tuple[str, ...]

    @property
    def num_tokens(self) -> int:
        """The tokens that fit, of all examples."""
        return sum(len(one.mask) for one in self.examples)

    @property
    def num_supervised(self) -> int:
        return sum(step.num_supervised for step in self.steps)

    @property
    def num_silenced(self) -> int | None:
        """Supervised tokens that the objective silences; None without an objective."""
        known = [one.silenced for one in self.examples if one.silenced is not None]
        return sum(int(silenced.sum()) for silenced in known) if known else None

    @property
    def num_not_run(self) -> int:
        return sum(one.num_not_run for one in self.examples)

    @property
    def num_cut(self) -> int:
        return sum(len(one.cut_ids) for one in self.examples)

    @property
    def has_losses(self) -> bool:
        return any(one.losses is not None for one in self.examples)


def describe_tokens(
    trajectory: Trajectory,
    selection: Selection | None,
    renderer: Renderer,
    max_tokens: int | None = None,
    meter: Meter | None = None,
) -> TokenView:
    """Describe every token of a trajectory; without a selection every step is supervised.

    Args:
        meter: measures the tokens of all steps that fit; None: nothing is measured.

    Raises:
        ModelError: the template refuses the conversation.
        DataError: the model of the meter cannot read it.
    """
    chosen = selection.indices if selection else frozenset(range(len(trajectory.steps)))
    made = renderer.tokenize_trajectory(trajectory, max_tokens, chosen)
    whole: list[TokenizedExample] = []
    if max_tokens is not None and any(len(example.token_ids) >= max_tokens for example in made):
        whole = renderer.tokenize_trajectory(trajectory, None, chosen)
    examples = tuple(_view(example, chosen, whole, meter) for example in made)
    return TokenView(
        trajectory.id,
        renderer.name,
        examples,
        tuple(_count_steps(len(trajectory.steps) if examples else 0, examples, chosen)),
        tuple(_warnings(renderer, made, chosen)),
    )


def _view(
    example: TokenizedExample,
    chosen: frozenset[int],
    whole: Sequence[TokenizedExample],
    meter: Meter | None,
) -> ViewedExample:
    mask = loss_mask(example, chosen)
    cut_ids, cut_owners = _cut(example, whole)
    losses = silenced = None
    positions = np.flatnonzero(loss_mask(example, np.unique(example.step_of_token).tolist()))
    if meter is not None and len(positions):
        measured = meter(example, positions)
        losses = np.full(len(mask), np.nan)
        losses[positions] = measured.losses
        if measured.silenced is not None:
            silenced = np.zeros(len(mask), bool)
            silenced[positions] = measured.silenced
            silenced &= mask
    return ViewedExample(example, mask, count_run(mask), cut_ids, cut_owners, losses, silenced)


def _cut(
    example: TokenizedExample, whole: Iterable[TokenizedExample]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The tokens that the limit cuts off, and their owners: the rest of the same sequence."""
    ids, wanted = example.token_ids, {*example.steps, *example.dropped_steps}
    for one in whole:
        begins = len(one.token_ids) >= len(ids) and np.array_equal(one.token_ids[: len(ids)], ids)
        if begins and wanted.issuperset(one.steps):
            return one.token_ids[len(ids) :], one.step_of_token[len(ids) :]
    return ids[:0], example.step_of_token[:0]


def _count_steps(
    num_steps: int, examples: Sequence[ViewedExample], chosen: frozenset[int]
) -> Iterator[StepTokenCounts]:
    has_silenced = any(one.silenced is not None for one in examples)
    for step in range(num_steps):
        is_here = [one.example.step_of_token == step for one in examples]
        pairs = list(zip(examples, is_here, strict=True))
        losses = [one.losses[here] for one, here in pairs if one.losses is not None]
        known = np.concatenate(losses) if losses else np.zeros(0)
        known = known[~np.isnan(known)]
        silenced = sum(
            int(one.silenced[here].sum()) for one, here in pairs if one.silenced is not None
        )
        yield StepTokenCounts(
            step,
            step in chosen,
            max(int(here.sum()) for here in is_here),
            sum(int(one.mask[here].sum()) for one, here in pairs),
            silenced if has_silenced else None,
            max(int((one.cut_owners == step).sum()) for one in examples),
            float(known.mean()) if len(known) else None,
        )


def _warnings(
    renderer: Renderer, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Iterator[str]:
    """Warnings about training on this trajectory, for example steps that do not fit."""
    if not any(loss_mask(example, chosen).any() for example in examples):
        yield "no token is supervised, so this trajectory teaches nothing"
    if len(examples) > 1:
        yield (
            "the chat template rewrites history (for example, it strips earlier thinking): one "
            "example per critical step"
        )
    yield from renderer.notes
    yield from _losses(renderer, examples, chosen)
    for example in examples:
        if example.dropped_steps:
            steps = ", ".join(map(str, example.dropped_steps))
            kept = f"{len(example.token_ids):,} tokens are kept"
            yield f"critical steps beyond the token limit, left out: {steps} ({kept})"
        for step in example.steps:
            owned = example.token_ids[loss_mask(example, [step])]
            if len(owned) and int(owned[-1]) not in renderer.stop_ids:
                yield (
                    f"step {step}: its end of turn is not supervised, so the model would not learn "
                    "to stop there"
                )


def _losses(
    renderer: Renderer, examples: list[TokenizedExample], chosen: frozenset[int]
) -> Iterator[str]:
    """What the template does not write, by part; and steps of which only the end of turn is."""
    lost = {step: parts for example in examples for step, parts in example.unwritten.items()}
    of_context = lost.pop(NO_STEP, ())
    template = "the chat template does not write"
    for part, word in WORDS.items():
        if found := sorted(step for step, parts in lost.items() if part in parts):
            yield f"{template} the {word} of steps {', '.join(map(str, found))}"
    if of_context:
        yield f"{template} the {name_parts(of_context)} of the context"
    unwritten = count_unwritten(examples, renderer, chosen)
    if unwritten.empty:
        steps = ", ".join(str(step) for _, step in unwritten.empty)
        yield f"only the end of turn is written of steps {steps}: training would stop here"
    if lost or of_context or unwritten.empty:
        yield advise(renderer, unwritten)
