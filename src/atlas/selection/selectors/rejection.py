"""Every step but the bad ones, which a language model points out: Step-Rejection Fine-Tuning (arXiv 2605.10674).

Each step is labelled good, unnecessary, mistake or recover; unnecessary steps and mistakes are masked. Failed trajectories
are used too: what was good in them is learned. The budget is the selector's own, namely the steps that are not bad.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from atlas.models.base import ModelClient
from atlas.records import CriticalStep, Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.selectors.base import Others, selection_of
from atlas.selection.selectors.oracle_judge import Judge, forecast_usage
from atlas.selection.selectors.rejection_prompt import (
    ANSWER_SCHEMA,
    PROMPT_VERSION,
    Label,
    complaint_message,
    prompt_digest,
    read_labels,
    rejection_questions,
)
from atlas.store.run_folders import Input

Labels = dict[int, tuple[Label, str | None]]
BAD: tuple[Label, ...] = ("unnecessary", "mistake")
TOKENS_OF_A_LABEL = 30  # of an answer, for forecasts


class RejectionSelector:
    """Asks the same kind of model as the oracle for a label of each step. `recover` is told as the kind self_correction."""

    def __init__(
        self, config: SelectConfig, others: Others, client: ModelClient | None = None
    ) -> None:
        self._name = config.selector
        self._max_chars = config.max_prompt_chars
        self._judge = Judge(
            config,
            ANSWER_SCHEMA,
            lambda text, question: read_labels(text, question.steps),
            complaint_message,
            client,
        )
        self._digest = prompt_digest()

    def inputs(self) -> dict[str, Input]:
        return {
            "prompt": Input(path=f"atlas rejection prompt {PROMPT_VERSION}", digest=self._digest)
        }

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        if not trajectory.steps:
            return Usage()
        return forecast_usage(
            lambda: rejection_questions(trajectory, self._max_chars),
            lambda question: TOKENS_OF_A_LABEL * question.budget,
        )

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """All steps that are not bad, or a problem; `budget` is not read.

        Raises:
            EndpointError: the endpoint gave no answer.
            ModelError: the endpoint refuses the model or the key.
        """
        if not trajectory.steps:
            return selection_of(trajectory, self._name, 0)
        verdict = await self._judge.ask(lambda: rejection_questions(trajectory, self._max_chars))
        labels: Labels = reduce(merge_labels, verdict.answers, {})
        kept = [
            _kept(index, *labels[index]) for index in sorted(labels) if labels[index][0] not in BAD
        ]
        return selection_of(
            trajectory,
            self._name,
            len(kept),
            kept,
            problem=verdict.problem,
            usage=verdict.usage,
            prompt_digest=self._digest,
        )

    def tell_payments(self, pay: Callable[[Usage], None]) -> None:
        self._judge.pay = pay

    async def close(self) -> None:
        await self._judge.close()


def merge_labels(earlier: Labels, later: Labels) -> Labels:
    """The labels of two windows; a step in both is bad if either says so, else the later window, which saw what followed, is right."""
    return later | {
        index: found for index, found in earlier.items() if index not in later or found[0] in BAD
    }


def _kept(index: int, label: Label, reason: str | None) -> CriticalStep:
    return CriticalStep(
        index=index,
        kinds=("self_correction",) if label == "recover" else (),
        reason=f"{label}: {reason}" if reason else label,
    )
