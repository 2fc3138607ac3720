"""What a selector is: `trajectory + budget -> Selection`, or `trajectory -> a score for each step`.

Of scores the budget's best are taken. To add a selector: one file, and one row in `SELECTORS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from atlas.config import Config
from atlas.kinds import Kind
from atlas.records import CriticalStep, Problem, Selection, Trajectory, Usage
from atlas.selection.judging.judge_config import JudgeConfig
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
SELECTOR = Kind("selector", SELECTORS)

ConfigT = TypeVar("ConfigT", bound=Config)
# One finite number a step, higher is chosen first; None is never chosen.
Scores = Sequence[float | None]


# For descriptions of the setting `precision`.
PRECISIONS = "fp32, bf16, or auto (bf16 on a GPU that supports it, else fp32)"


@dataclass(frozen=True, slots=True)
class SelectorContext:
    """What a selector is given beside its settings: `Class(config, context)`.

    Attributes:
        name: a row of SELECTORS, or package.module:Class.
        trajectories: the run folder that is selected from.
        retry_problems_of: the earlier run whose problems are asked about again, if one is given.
    """

    name: str
    seed: int
    trajectories: Path
    retry_problems_of: Path | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many trajectories a selector is asked about at a time.

    Attributes:
        keeps_answers: answers under way are waited for when the run ends early: they are paid.
    """

    trajectories: int = 8
    keeps_answers: bool = True


@runtime_checkable
class Selector(Protocol):
    """Selects steps. Made as `Class(config, context)`.

    What it selects depends on the trajectory, the budget, the config and the context only, never
    on the trajectories seen before.
    """

    def select(self, trajectory: Trajectory, budget: int) -> Selection | Awaitable[Selection]:
        """At most `budget` critical steps, or a `problem` and none.

        A selector that sets its own budget (all steps, as many as another selection) gives it in
        `Selection.budget`.

        Raises:
            EndpointError: no answer this time; a rerun asks about the trajectory again.
        """
        ...


@runtime_checkable
class Scorer(Protocol):
    """Scores steps. Made as a Selector is.

    `select_steps` takes the best of the trajectory, or of the whole set; of equal scores the
    earlier step. A class with both `select` and `score` selects, except under scope "dataset".
    """

    def score(self, trajectory: Trajectory) -> Scores | Problem | Awaitable[Scores | Problem]:
        """One score a step, or the problem that leaves the trajectory without any.

        Raises:
            EndpointError: as in `Selector.select`.
        """
        ...


@runtime_checkable
class HasSentence(Protocol):
    """A selector whose settings decide what it chose, in words for reports: "the steps that …".

    For others it is the first line of the class's docstring.
    """

    @property
    def sentence(self) -> str: ...


@runtime_checkable
class HasInputs(Protocol):
    """A selector that chooses by more than trajectories and config: a prompt, a model, a run."""

    def inputs(self, out: Path) -> dict[str, Input]:
        """Name -> input, its path relative to the run folder `out`."""
        ...


@runtime_checkable
class HasForecast(Protocol):
    """A selector so expensive that its work is announced first: one sentence."""

    def forecast(self, num_trajectories: int, num_steps: int) -> str: ...


@runtime_checkable
class HasEstimate(Protocol):
    """A selector that asks a language model which steps to take, and pays for it by the token."""

    @property
    def config(self) -> JudgeConfig: ...

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        """About what one trajectory takes."""
        ...


@runtime_checkable
class HasPayments(Protocol):
    """A selector with an estimate that reports each payment as it is made."""

    def report_payments(self, pay: Callable[[Usage], None]) -> None:
        """Call `pay` for every answer of the model. Called once, before anything is selected."""
        ...


@runtime_checkable
class HasConcurrency(Protocol):
    """A selector that sets how many trajectories it is asked about at a time."""

    def concurrency(self) -> Concurrency: ...


@runtime_checkable
class HasChecks(Protocol):
    """A selector with settings about single trajectories: a problem for each that fits none.

    Called once, after all trajectories were read, with their numbers of steps by id.
    """

    def check(self, num_steps: Mapping[str, int]) -> Sequence[Problem]: ...


@runtime_checkable
class HasClose(Protocol):
    """A selector that holds connections or processes."""

    async def close(self) -> None: ...


class SelectorBase(Generic[ConfigT]):
    """Keeps settings and context, as most selectors do."""

    def __init__(self, config: ConfigT, context: SelectorContext) -> None:
        self.config = config
        self.context = context

    def selection_of(
        self,
        trajectory: Trajectory,
        budget: int,
        critical_steps: Iterable[CriticalStep | int] = (),
        **fields: Any,
    ) -> Selection:
        """A Selection of `trajectory`, its critical steps in the order of the steps."""
        steps = [CriticalStep(index=one) if isinstance(one, int) else one for one in critical_steps]
        return Selection(
            trajectory_id=trajectory.id,
            selector=self.context.name,
            num_steps=len(trajectory.steps),
            budget=budget,
            critical_steps=tuple(sorted(steps, key=lambda step: step.index)),
            **fields,
        )


def take_best(steps: Iterable[CriticalStep], budget: int) -> list[CriticalStep]:
    """The `budget` steps with the highest scores, the earlier of equals; no score counts as 0."""
    return sorted(steps, key=lambda step: (-(step.score or 0.0), step.index))[:budget]


def problem_with(trajectory_id: str, reason: str) -> Problem:
    """The problem of one trajectory."""
    return Problem(where=f"trajectory {trajectory_id}", reason=reason, item=trajectory_id)


def draw_steps(candidates: Iterable[int], budget: int, seed: int, trajectory_id: str) -> list[int]:
    """`budget` of the candidates at random, by seed and id: other trajectories do not matter.

    A larger budget keeps what a smaller one drew.
    """

    def lot(index: int) -> bytes:
        return hashlib.sha256(f"{seed} {index} {trajectory_id}".encode()).digest()

    return sorted(sorted(candidates, key=lot)[:budget])
