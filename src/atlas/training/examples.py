"""trajectories + selection -> training examples, and what was left out.

An example ends with its last token that carries loss (`count_run` of rendering/loss_mask.py).
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from atlas.errors import DataError, ModelError
from atlas.records import Problem, Selection, Trajectory
from atlas.rendering.count_unwritten import UnwrittenCount, count_unwritten, refuse_empty_steps
from atlas.rendering.loss_mask import IGNORED_LABEL, count_run, labels, loss_mask
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample, steps_stopped_early
from atlas.rendering.tool_schemas import read_tools, with_tools
from atlas.rendering.unwritten import WORDS, name_parts
from atlas.training.config import TrainConfig
from atlas.training.tally_rows import kind_rows
from atlas.training.token_weights import weights_of_steps, weights_of_tokens

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """One sequence to train on.

    Attributes:
        input_ids: shape [T].
        labels: shape [T], unshifted, -100 where unsupervised.
        num_tail_tokens: tokens after the last one with loss, left out.
        weights: shape [T]; the weight of each supervised token, see token_weights.py; None: 1 each.
        kinds: shape [T]; of each supervised token the kind of its step, an index into TALLY_ROWS of
            tally_rows.py; None: not known.
        base_log_probs: shape [T]; log π of each supervised token before training; None: not known.
        anchored: shape [T]; response tokens of steps that are not selected, where a KL holds the
            model to its base; None: nowhere.
    """

    trajectory_id: str
    input_ids: NDArray[np.int32]
    labels: NDArray[np.int64]
    num_tail_tokens: int = 0
    weights: NDArray[np.float64] | None = None
    anchored: NDArray[np.bool_] | None = None
    kinds: NDArray[np.int8] | None = None
    base_log_probs: NDArray[np.float64] | None = None

    @property
    def num_supervised_tokens(self) -> int:
        return int((self.labels != IGNORED_LABEL).sum())

    @property
    def num_anchored_tokens(self) -> int:
        return int(self.anchors.sum())

    @property
    def target_weights(self) -> NDArray[np.float64]:
        """The weight of each supervised token, shape [N]. Nothing predicts the first token."""
        weights = self._at_targets(self.weights)
        return np.ones(int(self._supervised.sum())) if weights is None else weights

    @property
    def target_kinds(self) -> NDArray[np.int8] | None:
        """`kinds` of each supervised token, shape [N]."""
        return self._at_targets(self.kinds)

    @property
    def target_base_log_probs(self) -> NDArray[np.float64] | None:
        """`base_log_probs` of each supervised token, shape [N]."""
        return self._at_targets(self.base_log_probs)

    @property
    def _supervised(self) -> NDArray[np.bool_]:
        """Which tokens are predicted and supervised, shape [T - 1]."""
        return np.asarray(self.labels[1:] != IGNORED_LABEL)

    def _at_targets(self, array: NDArray[ScalarT] | None) -> NDArray[ScalarT] | None:
        return None if array is None else array[1:][self._supervised]

    def with_target_base_log_probs(self, of_target: NDArray[np.float64]) -> TrainingExample:
        """The example with log π of its N supervised tokens before training."""
        of_token = np.zeros(len(self.labels))
        of_token[1:][self._supervised] = of_target
        return replace(self, base_log_probs=of_token)

    def with_scaled_weights(self, exponent: int) -> TrainingExample:
        """The example with its weights times 2 ** exponent, which changes no rounding."""
        weights = None if self.weights is None else np.ldexp(self.weights, exponent)
        return replace(self, weights=weights)

    @property
    def anchors(self) -> NDArray[np.bool_]:
        """Where an anchored token is predicted, shape [T - 1]: position t predicts token t + 1."""
        anchored = np.zeros(len(self.labels), bool) if self.anchored is None else self.anchored
        return anchored[1:]


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """Examples of trajectories with the counts that a summary reports.

    Attributes:
        num_negative_steps: supervised steps with a weight below 0.
        num_tokens: all rendered tokens, including the tails that are left out.
        problems: trajectories that were left out, and why.
        unwritten: what the chat template does not write, of the selected steps and around them.
        sources: number of trajectories per source.
        held_out: examples that are not trained on; no other field counts them.
        num_held_out: trajectories that are not trained on.
    """

    examples: tuple[TrainingExample, ...] = ()
    num_trajectories: int = 0
    num_steps: int = 0
    num_supervised_steps: int = 0
    num_negative_steps: int = 0
    num_dropped_steps: int = 0
    num_cut_observations: int = 0
    num_tokens: int = 0
    problems: tuple[Problem, ...] = ()
    sources: Counter[str] = field(default_factory=Counter)
    unwritten: UnwrittenCount = field(default_factory=UnwrittenCount)
    held_out: tuple[TrainingExample, ...] = ()
    num_held_out: int = 0

    @property
    def by_trajectory(self) -> list[tuple[TrainingExample, ...]]:
        """The examples of each trajectory that has any: one, or one per step."""
        groups = itertools.groupby(self.examples, key=lambda example: example.trajectory_id)
        return [tuple(group) for _, group in groups]

    @property
    def num_trained_tokens(self) -> int:
        return sum(len(example.input_ids) for example in self.examples)

    @property
    def num_supervised_tokens(self) -> int:
        return sum(example.num_supervised_tokens for example in self.examples)

    @property
    def num_anchored_tokens(self) -> int:
        return sum(example.num_anchored_tokens for example in self.examples)

    @property
    def negative_share(self) -> float:
        """The share of negative weights in Σ |w|."""
        weights = [weight for one in self.examples for weight in one.target_weights.tolist()]
        total = math.fsum(map(abs, weights))
        return math.fsum(-weight for weight in weights if weight < 0) / total if total else 0.0


def build_examples(
    selected: Iterable[tuple[Trajectory, Selection]],
    renderer: Renderer,
    config: TrainConfig,
    advance: Callable[[], None] = lambda: None,
) -> ExampleSet:
    """Tokenize every selected trajectory once and mask it by its selection (ATLaS §3.3).

    A trajectory without a supervised token is left out with a problem. With a KL, the steps that
    are not selected are marked too, except in held-out trajectories.

    Raises:
        DataError: a selected step lacks the weight that `config.step_weights` names.
        ConfigError: `config.tools` is not a file of tool schemas.
    """
    tools = read_tools(config.tools)
    by_id = {}
    for trajectory, selection in selected:
        advance()
        shown = with_tools(trajectory, tools)
        by_id[trajectory.id] = _build(shown, selection, renderer, config)
    held_ids = choose_held_out(by_id, config.held_out)
    built = [one for name, one in by_id.items() if name not in held_ids]
    held = [one for name, one in by_id.items() if name in held_ids]
    examples = [example for one in built for example in one.examples]
    measured = [of_held for one in held for example in one.examples if (of_held := _held(example))]
    if config.step_weights != "none" and config.loss_normalizer != "trajectories":
        examples, measured = _with_largest_weight_1(examples), _with_largest_weight_1(measured)
    return ExampleSet(
        tuple(examples),
        len(built),
        sum(one.num_steps for one in built),
        sum(one.num_supervised_steps for one in built),
        sum(one.num_negative_steps for one in built),
        sum(one.num_dropped_steps for one in built),
        sum(one.num_cut_observations for one in built),
        sum(one.num_tokens for one in built),
        tuple(problem for one in by_id.values() for problem in one.problems),
        sum((one.sources for one in built), Counter()),
        sum((one.unwritten for one in built), UnwrittenCount()),
        tuple(measured),
        len(held),
    )


def choose_held_out(ids: Collection[str], share: float) -> frozenset[str]:
    """The trajectories that are not trained on: those whose ids have the smallest SHA-256.

    Their selections and the seed do not matter. A share above 0 gives at least one.
    """

    def digest(name: str) -> bytes:
        return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()

    number = max(1, round(share * len(ids))) if share else 0
    return frozenset(sorted(ids, key=digest)[:number])


def problem_of_held_out(examples: ExampleSet, config: TrainConfig) -> str | None:
    """Why `config.held_out` cannot be used on these trajectories; None: it can, or is off."""
    given = f"held_out={config.held_out:g} holds out"
    total = examples.num_held_out + examples.num_trajectories
    if config.held_out and total and not examples.num_trajectories:
        return (
            f"{given} all {total} trajectories, so none is left to train on. Lower held_out, or "
            "remove it."
        )
    if config.held_out and not examples.held_out:
        return (
            f"{given} {examples.num_held_out} of {total} trajectories, and none of these has a "
            "supervised token to compute a loss on. Raise held_out, or remove it."
        )
    return None


def check_empty_steps(examples: ExampleSet, renderer: Renderer, config: TrainConfig) -> None:
    """Refuse selected steps of which only the end of turn is written.

    Raises:
        DataError: there are some, and the config does not allow them.
    """
    if examples.unwritten.empty and not config.allow_empty_steps:
        raise DataError(refuse_empty_steps(examples.unwritten, renderer, "selected steps"))


def _build(
    trajectory: Trajectory, selection: Selection, renderer: Renderer, config: TrainConfig
) -> ExampleSet:
    """What one trajectory gives."""
    num_steps, chosen = len(trajectory.steps), selection.indices
    limit = f"{config.max_tokens} tokens"
    nothing = ExampleSet(num_steps=num_steps, sources=Counter([trajectory.source.name]))
    if not chosen:
        reason = selection.problem or "its selection names no step"
        return replace(nothing, problems=_problems(trajectory, reason))
    weights = weights_of_steps(trajectory, selection, config)
    others = frozenset(range(num_steps)) - chosen if config.kl_weight > 0 else None
    try:
        tokenized = renderer.tokenize_trajectory(
            trajectory, config.max_tokens, chosen, config.truncation, others or ()
        )
    except ModelError as error:
        # A template may refuse one conversation (a role, an order of roles) and accept others.
        return replace(nothing, problems=_problems(trajectory, str(error)))
    masked = [made for example in tokenized if (made := _mask(example, chosen, others))]
    examples, owners = [example for example, _ in masked], [owners for _, owners in masked]
    if not any(map(len, owners)):
        examples = []
    elif (config.loss_normalizer, config.step_weights) != ("tokens", "none"):
        of_tokens = weights_of_tokens(owners, weights, config.loss_normalizer)
        pairs = zip(examples, of_tokens, strict=True)
        examples = [
            replace(example, weights=_at_supervised(example, of_token))
            for example, of_token in pairs
        ]
    if config.has_factors:
        rows = kind_rows(selection)
        examples = [
            replace(example, kinds=_at_supervised(example, rows[owner]))
            for example, owner in zip(examples, owners if examples else (), strict=True)
        ]
    written = {int(step) for owner in owners for step in np.unique(owner)}
    if examples and not any(weights[step] for step in written):
        reason = "each of its supervised steps has the weight 0"
        return replace(nothing, problems=_problems(trajectory, reason))
    dropped = sum(len(chosen.intersection(example.dropped_steps)) for example in tokenized)
    unwritten = count_unwritten(tokenized, renderer, chosen)
    cut = {step for example in tokenized for step in example.cut_observations}
    stopped: set[int] = set()
    for example in tokenized:
        stopped |= chosen & steps_stopped_early(example, renderer.stop_ids)
    reasons = {
        f"{len(stopped)} of {len(chosen)} selected steps spell a token that ends a turn, so their "
        "tokens differ from what a model generates": stopped,
        f"{dropped} of {len(chosen)} selected steps lie beyond {limit}": dropped,
        f"{len(cut)} observations are left out, so that more selected steps fit into {limit}": cut,
        **{
            f"the chat template does not write the {WORDS[part]} of {number} of {len(chosen)} "
            "selected steps": number
            for part, number in unwritten.of_steps.items()
        },
        "the chat template does not write all of the context: "
        f"{name_parts(unwritten.of_contexts)} are missing": len(unwritten.of_contexts),
        f"{len(unwritten.empty)} of {len(chosen)} selected steps are an end of turn only": len(
            unwritten.empty
        ),
    }
    return replace(
        nothing,
        examples=tuple(examples),
        num_supervised_steps=len(chosen) - dropped,
        num_negative_steps=sum(weights[step] < 0 for step in written),
        num_dropped_steps=dropped,
        num_cut_observations=len(cut),
        num_tokens=sum(len(example.token_ids) for example in tokenized),
        problems=_problems(trajectory, *(reason for reason, applies in reasons.items() if applies)),
        unwritten=unwritten,
    )


def _mask(
    example: TokenizedExample, chosen: frozenset[int], others: frozenset[int] | None
) -> tuple[TrainingExample, NDArray[np.int32]] | None:
    """The example up to its last token with loss, and each target's step; None: without loss.

    Args:
        others: the steps that a KL holds to the base model; None: without a KL.
    """
    mask, anchored = loss_mask(example, chosen), loss_mask(example, others or ())
    end = count_run(mask | anchored)
    if not end:
        return None
    ended = TrainingExample(
        example.trajectory_id,
        example.token_ids[:end],
        labels(example, mask)[:end],
        len(mask) - end,
        anchored=None if others is None else anchored[:end],
    )
    return ended, example.step_of_token[:end][mask[:end]]


def _held(example: TrainingExample) -> TrainingExample | None:
    """What a held-out loss is computed on: without steps of a negative weight; None: nothing."""
    weights = None if example.weights is None else np.maximum(example.weights, 0)
    held = replace(example, anchored=None, weights=weights)
    return held if held.target_weights.any() else None


def _at_supervised(example: TrainingExample, of_token: NDArray[ScalarT]) -> NDArray[ScalarT]:
    """Values of its supervised tokens [N] at their places among all of its tokens [T]."""
    values = np.zeros(len(example.labels), of_token.dtype)
    values[example.labels != IGNORED_LABEL] = of_token
    return values


def _with_largest_weight_1(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    """Scale to a maximum of 1: only ratios matter, and a sum of very large weights overflows."""
    weighted = [(one, one.weights) for one in examples if one.weights is not None]
    largest = max((float(np.abs(weights).max()) for _, weights in weighted), default=1.0)
    return [replace(one, weights=weights / largest) for one, weights in weighted]


def _problems(trajectory: Trajectory, *reasons: str) -> tuple[Problem, ...]:
    where = f"trajectory {trajectory.id}"
    return tuple(Problem(where=where, reason=reason, item=trajectory.id) for reason in reasons)
