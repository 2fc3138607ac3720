"""Selector interfaces: `trajectory + budget -> Selection`, or `trajectory -> score for each step`.

From scores, the best steps within the budget are taken. To add a selector, write one file and add
one row to `SELECTORS`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from inspect import getattr_static
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from atlas.config import Config
from atlas.errors import ConfigError
from atlas.kinds import Choice, Kind
from atlas.records import CriticalStep, Problem, Selection, Trajectory, Usage
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.unusable_answers import UnusableAnswer
from atlas.store.run_folders import Input, Run

SELECTORS: dict[str, str] = {
    "all": "atlas.selection.selectors.all:AllSelector",
    "annotated": "atlas.selection.selectors.annotated:AnnotatedSelector",
    "complement": "atlas.selection.selectors.complement:ComplementSelector",
    "dependency": "atlas.selection.selectors.dependency:DependencySelector",
    "diversity": "atlas.selection.selectors.diversity:DiversitySelector",
    "entropy": "atlas.selection.selectors.entropy:EntropySelector",
    "errors": "atlas.selection.selectors.errors:ErrorsSelector",
    "excess-loss": "atlas.selection.selectors.excess_loss:ExcessLossSelector",
    "hindsight": "atlas.selection.selectors.hindsight:HindsightSelector",
    "learned": "atlas.selection.selectors.learned:LearnedSelector",
    "oracle": "atlas.selection.selectors.oracle:OracleSelector",
    "perplexity": "atlas.selection.selectors.perplexity:PerplexitySelector",
    "pivot": "atlas.selection.selectors.pivot:PivotSelector",
    "random": "atlas.selection.selectors.random:RandomSelector",
    "rejection": "atlas.selection.selectors.rejection:RejectionSelector",
    "rollout-value": "atlas.selection.selectors.rollout_value:RolloutValueSelector",
    "rules": "atlas.selection.selectors.rules:RulesSelector",
    "vote": "atlas.selection.selectors.vote:VoteSelector",
}
SELECTOR = Kind("selector", SELECTORS)

ConfigT = TypeVar("ConfigT", bound=Config)
# One finite number per step; higher ones are chosen first, None is never chosen.
Scores = Sequence[float | None]


# For descriptions of the setting `precision`.
PRECISIONS = "fp32, bf16, or auto (bf16 on a GPU that supports it, else fp32)"


@dataclass(frozen=True, slots=True)
class SelectorContext:
    """What a selector gets besides its settings: `Class(config, context)`.

    Attributes:
        name: a row of SELECTORS, or package.module:Class.
        trajectories: the run folder with the trajectories.
        retry_problems_of: the earlier run whose problems are asked about again, if one is given.
    """

    name: str
    seed: int
    trajectories: Path
    retry_problems_of: Path | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many trajectories a selector processes at a time.

    Attributes:
        keeps_answers: if the run ends early, wait for answers in flight, because they are paid for.
    """

    trajectories: int = 8
    keeps_answers: bool = True


@runtime_checkable
class Selector(Protocol):
    """Selects steps. Made as `Class(config, context)`.

    The result depends only on trajectory, budget, config and context, never on other trajectories.
    """

    def select(self, trajectory: Trajectory, budget: int) -> Selection | Awaitable[Selection]:
        """Select at most `budget` critical steps, or return a `problem`.

        A selector that sets its own budget (all steps, as many as another selection) gives it in
        `Selection.budget`.

        Raises:
            EndpointError: no answer came; a rerun asks about the trajectory again.
        """
        ...


@runtime_checkable
class Scorer(Protocol):
    """Scores steps. Made as `Class(config, context)`, like a Selector.

    `select_steps` takes the best steps of the trajectory, or of the whole dataset; of equal scores
    the earlier step. If a class has both methods, `select` is used, except under scope "dataset".
    """

    def score(self, trajectory: Trajectory) -> Scores | Problem | Awaitable[Scores | Problem]:
        """One score per step, or the problem that prevents scoring.

        Raises:
            EndpointError: as in `Selector.select`.
        """
        ...


@runtime_checkable
class HasSentence(Protocol):
    """A selector that describes its choice for reports, depending on settings: "the steps that …".

    For other selectors the first line of the class's docstring is used.
    """

    @property
    def sentence(self) -> str: ...


def draws_steps(choice: Choice) -> bool:
    """Whether a selector with these settings selects other steps with another seed.

    A class says so by `Class.draws(config)`; one that does not say does not draw.

    Raises:
        ConfigError: `draws` is not a class method.
    """
    made_by = SELECTOR.find(choice.name)
    if (says := getattr(made_by, "draws", None)) is None:
        return False
    if not isinstance(getattr_static(made_by, "draws"), classmethod | staticmethod):
        raise ConfigError(
            f"selector '{choice.name}': 'draws' is not a class method, expected: "
            "@classmethod def draws(cls, config) -> bool"
        )
    return bool(says(choice.settings))


@runtime_checkable
class HasWorth(Protocol):
    """A selector that says at every use how far its choice can be trusted."""

    @property
    def worth(self) -> str: ...


@runtime_checkable
class HasInputs(Protocol):
    """A selector with further inputs besides trajectories and config: a prompt, a model, a run."""

    def inputs(self, out: Path) -> dict[str, Input]:
        """Name -> input, with paths relative to the run folder `out`."""
        ...


@runtime_checkable
class HasDay(Protocol):
    """A selector whose model may be given the date, so that a resumed run sees the same text."""

    def pin_day(self, day: date | None) -> None:
        """Use this day, when the run was started, as today. Called before anything is scored."""
        ...


@runtime_checkable
class HasForecast(Protocol):
    """A slow selector, which announces its work in one sentence before it starts."""

    def forecast(self, num_trajectories: int, num_steps: int) -> str: ...


@runtime_checkable
class HasEstimate(Protocol):
    """A selector that asks a language model with a price per token."""

    @property
    def config(self) -> JudgeConfig: ...

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        """Approximate usage for one trajectory."""
        ...


@runtime_checkable
class HasReading(Protocol):
    """A selector whose model only reads trajectories, which has no price per token."""

    def reading(self, trajectory: Trajectory) -> Usage:
        """Approximately what is read for one trajectory: forward passes (requests) and tokens."""
        ...


@runtime_checkable
class HasPayments(Protocol):
    """A selector with an estimate that reports each payment as it is made."""

    def report_payments(self, pay: Callable[[Usage], None]) -> None:
        """Call `pay` for every answer of the model. Called once, before anything is selected.

        A `Payment` also says who answered, and whether the tokens were estimated.
        """
        ...


@runtime_checkable
class HasUnusable(Protocol):
    """A selector that reports the answers that it cannot use, so that the run keeps them."""

    def report_unusable(self, keep: Callable[[UnusableAnswer], None]) -> None:
        """Call `keep` for every unusable answer. Called once, before anything is selected."""
        ...


@runtime_checkable
class HasSmallJudge(HasEstimate, Protocol):
    """A selector with an estimate that may ask a cheaper model first (atlas.selection.layers)."""

    def small_judge(self) -> JudgeConfig | None:
        """The settings of the same selector with the cheaper model; None: it is asked at once."""
        ...

    @property
    def checker(self) -> str:
        """Who checks the cheaper model: `rules`, or the selector of another selection."""
        ...

    def overlap(self, trajectory: Trajectory, found: Selection) -> float:
        """The overlap of the cheaper model's selection with the checker's; 0 if one has none."""
        ...

    def is_settled(self, overlap: float) -> bool:
        """Whether the cheaper model's selection counts, at this overlap."""
        ...


@runtime_checkable
class HasPlan(Protocol):
    """A selector that says what a run costs in words, in place of an estimate in tokens."""

    def plan(self, trajectories: Iterable[Trajectory], out: Path) -> list[str]:
        """The lines of `--dry-run` about the run `out`. Nothing is sent or written."""
        ...


@runtime_checkable
class KeepsRecords(Protocol):
    """A selector with files besides scores and selections in the run folder.

    They are written by one process, so several workers are refused.
    """

    def keep_records(self, run: Run) -> None:
        """Open the files. Called once, before anything is asked; `close` closes them."""
        ...

    def seal_records(self, run: Run, trajectory_ids: Iterable[str]) -> None:
        """Finish the files, in the order of the trajectories. Called after `close`."""
        ...


@runtime_checkable
class TellsProgress(Protocol):
    """A selector that takes long for one trajectory, and says how far it is."""

    def report_progress(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with a short note. Called once, before anything is asked."""
        ...


@runtime_checkable
class HasConcurrency(Protocol):
    """A selector that sets how many trajectories it processes at a time."""

    def concurrency(self) -> Concurrency: ...


@runtime_checkable
class HasChecks(Protocol):
    """A selector whose settings name trajectories: `check` reports names that do not exist.

    It is called once, after all trajectories were read, with the number of steps of each id.
    """

    def check(self, num_steps: Mapping[str, int]) -> Sequence[Problem]: ...


@runtime_checkable
class HasClose(Protocol):
    """A selector that must release connections or processes."""

    async def close(self) -> None: ...


class SelectorBase(Generic[ConfigT]):
    """Keeps settings and context, as most selectors do."""

    def __init__(self, config: ConfigT, context: SelectorContext) -> None:
        self.config = config
        self.context = context

    @classmethod
    def draws(cls, config: ConfigT) -> bool:
        """Whether another seed selects other steps."""
        return False

    def selection_of(
        self,
        trajectory: Trajectory,
        budget: int,
        critical_steps: Iterable[CriticalStep | int] = (),
        **fields: Any,
    ) -> Selection:
        """Make a Selection of `trajectory`, with its critical steps in order."""
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
    """The `budget` steps with the highest scores; of equals the earlier; no score counts as 0."""
    return sorted(steps, key=lambda step: (-(step.score or 0.0), step.index))[:budget]


def problem_with(trajectory_id: str, reason: str) -> Problem:
    """The problem of one trajectory."""
    return Problem(where=f"trajectory {trajectory_id}", reason=reason, item=trajectory_id)


def draw_steps(candidates: Iterable[int], budget: int, seed: int, trajectory_id: str) -> list[int]:
    """Draw `budget` candidates at random; depends only on the seed and the trajectory's id.

    A larger budget includes all steps that a smaller one draws.
    """

    def lot(index: int) -> bytes:
        return hashlib.sha256(f"{seed} {index} {trajectory_id}".encode()).digest()

    return sorted(sorted(candidates, key=lot)[:budget])
