"""What a selector is: `trajectory + budget -> Selection`, or `trajectory -> a score for each step`, from which the budget's best are taken.

Adding one is one file and one row in `SELECTORS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from atlas.lookup import look_up
from atlas.records import CriticalStep, Problem, Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.store.run_folders import Input

SELECTORS: dict[str, str] = {
    "all": "atlas.selection.selectors.all:AllSelector",
    "annotated": "atlas.selection.selectors.annotated:AnnotatedSelector",
    "complement": "atlas.selection.selectors.complement:ComplementSelector",
    "diversity": "atlas.selection.selectors.diversity:DiversitySelector",
    "entropy": "atlas.selection.selectors.entropy:EntropySelector",
    "errors": "atlas.selection.selectors.errors:ErrorsSelector",
    "excess-loss": "atlas.selection.selectors.excess_loss:ExcessLossSelector",
    "learned": "atlas.selection.selectors.learned:LearnedSelector",
    "oracle": "atlas.selection.selectors.oracle:OracleSelector",
    "perplexity": "atlas.selection.selectors.perplexity:PerplexitySelector",
    "random": "atlas.selection.selectors.random:RandomSelector",
    "rejection": "atlas.selection.selectors.rejection:RejectionSelector",
    "rollout-value": "atlas.selection.selectors.rollout_value:RolloutValueSelector",
    "rules": "atlas.selection.selectors.rules:RulesSelector",
    "vote": "atlas.selection.selectors.vote:VoteSelector",
}


Others = Mapping[
    str, Sequence[Selection]
]  # by trajectory id: what each run of `config.of` selected, in the order of the runs

Scores = Sequence[
    float | None
]  # one finite number a step, higher is chosen first; None is never chosen


@runtime_checkable
class Selector(Protocol):
    """Made as `Class(config, others)`, where `others` holds what the runs of `config.of` selected, by trajectory id.

    What it selects depends on the trajectory, the budget and the config alone, never on the trajectories seen before.
    """

    def select(self, trajectory: Trajectory, budget: int) -> Selection | Awaitable[Selection]:
        """At most `budget` critical steps, or a `problem` and none; awaitable where a model is asked.

        A selector with a budget of its own (all steps, as many as another selection) says so in `Selection.budget`.

        Raises:
            EndpointError: no answer this time; the trajectory is asked for again when the run goes on.
        """
        ...


@runtime_checkable
class Scorer(Protocol):
    """Made as a Selector is. Gives scores and leaves the choice to `select_steps`: the best of the trajectory, or of the whole set.

    Of equal scores the earlier step is taken. A class with both `select` and `score` selects, except under scope "dataset".
    """

    def score(self, trajectory: Trajectory) -> Scores | Problem | Awaitable[Scores | Problem]:
        """One score a step, or the problem that leaves the trajectory without any; awaitable where a model is asked.

        Raises:
            EndpointError: no answer this time; the trajectory is asked for again when the run goes on.
        """
        ...


@runtime_checkable
class HasInputs(Protocol):
    """A selector whose choice was made from more than trajectories and config: a prompt, the weights of a model."""

    def inputs(self) -> dict[str, Input]: ...


@runtime_checkable
class HasModels(Protocol):
    """A selector that runs models on this machine, each an input of the run: its name there -> hub id, model folder or training run."""

    def models(self) -> dict[str, str]: ...


@runtime_checkable
class HasForecast(Protocol):
    """A selector dear enough that a person wants to know before it starts: one sentence about what it will do."""

    def forecast(self, num_trajectories: int, num_steps: int) -> str: ...


@runtime_checkable
class HasEstimate(Protocol):
    """A selector that asks a model which is paid for by the token: about what one trajectory will take."""

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage: ...


@runtime_checkable
class HasPayments(Protocol):
    """A selector with an estimate that tells each payment as it is made; of others, what a selection took counts when it comes."""

    def tell_payments(self, pay: Callable[[Usage], None]) -> None:
        """Call `pay` for every answer of the model, whatever becomes of it. Called once, before anything is selected."""
        ...


@runtime_checkable
class HasChecks(Protocol):
    """A selector that was told things about single trajectories: what of it does not fit those that are there, a problem each.

    `num_steps` is the number of steps of every trajectory by its id. Called once, before anything is selected.
    """

    def check(self, num_steps: Mapping[str, int]) -> Sequence[Problem]: ...


@runtime_checkable
class HasClose(Protocol):
    """A selector that holds connections."""

    async def close(self) -> None: ...


def make_selector(config: SelectConfig, others: Others | None = None) -> Selector | Scorer:
    """The selector named in `SELECTORS`, or your own `package.module:Class`."""
    made: Selector | Scorer = look_up("selector", config.selector, SELECTORS)(config, others or {})
    return made


def selection_of(
    trajectory: Trajectory,
    selector: str,
    budget: int,
    critical_steps: Iterable[CriticalStep] = (),
    problem: str | None = None,
    usage: Usage | None = None,
    prompt_digest: str | None = None,
) -> Selection:
    """A Selection of `trajectory`, its critical steps brought into the order of the steps."""
    return Selection(
        trajectory_id=trajectory.id,
        selector=selector,
        num_steps=len(trajectory.steps),
        budget=budget,
        critical_steps=tuple(sorted(critical_steps, key=lambda step: step.index)),
        problem=problem,
        usage=usage or Usage(),
        prompt_digest=prompt_digest,
    )


def draw_steps(candidates: Iterable[int], budget: int, seed: int, trajectory_id: str) -> list[int]:
    """`budget` of the candidates at random, by a seed of their own: neither order nor number of trajectories matters.

    The steps with the smallest hashes win, so a larger budget keeps what a smaller one drew.
    """

    def lot(index: int) -> bytes:
        return hashlib.sha256(f"{seed} {index} {trajectory_id}".encode()).digest()

    return sorted(sorted(candidates, key=lot)[:budget])
