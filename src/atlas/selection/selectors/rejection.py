"""Every step but the bad ones, which a language model names (arXiv 2605.10674).

Step-Rejection Fine-Tuning labels each step good, unnecessary, mistake or recover; unnecessary steps
and mistakes are masked. Failed trajectories are used too: their good steps are learned. The
selector sets its own budget: the steps that are not bad.
"""

from __future__ import annotations

from functools import reduce

from atlas.records import CriticalStep, Message, Selection, Trajectory, Usage
from atlas.selection.judging.judge import JudgingSelector, forecast_usage
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.oracle_prompt import JudgeQuestion
from atlas.selection.judging.rejection_prompt import (
    ANSWER_SCHEMA,
    PROMPT_VERSION,
    StepLabel,
    complaint_message,
    prompt_digest,
    read_labels,
    rejection_questions,
)
from atlas.selection.selectors.base import selection_of
from atlas.store.run_folders import Input

StepLabels = dict[int, tuple[StepLabel, str | None]]
BAD: tuple[StepLabel, ...] = ("unnecessary", "mistake")
# Tokens of an answer, for forecasts.
TOKENS_OF_A_LABEL = 30


class RejectionConfig(JudgeConfig):
    """Settings of `rejection`: the model that labels the steps."""


class RejectionSelector(JudgingSelector[StepLabels]):
    """Every step but those that a language model labels unnecessary or a mistake.

    A step labeled `recover` gets the kind self_correction.
    """

    Config = RejectionConfig
    schema = ANSWER_SCHEMA

    @property
    def sentence(self) -> str:
        return f"every step but those that a language model ({self.config.model}) judged bad"

    def prompt(self) -> Input:
        return Input(path=f"atlas rejection prompt {PROMPT_VERSION}", digest=prompt_digest())

    def read(self, text: str, question: JudgeQuestion) -> StepLabels:
        return read_labels(text, question.steps)

    def complain(self, complaint: str, question: JudgeQuestion) -> Message:
        return complaint_message(complaint, question)

    def estimate(self, trajectory: Trajectory, budget: int) -> Usage:
        if not trajectory.steps:
            return Usage()
        return forecast_usage(
            lambda: rejection_questions(trajectory, self.config.max_prompt_chars),
            lambda question: TOKENS_OF_A_LABEL * question.budget,
        )

    async def select(self, trajectory: Trajectory, budget: int) -> Selection:
        """All steps that are not bad, or a problem; `budget` is not read.

        Raises:
            EndpointError: the endpoint gave no answer.
            ModelError: the endpoint refuses the model or the key.
        """
        if not trajectory.steps:
            return selection_of(trajectory, self._context.name, 0)
        judgment = await self.ask(
            lambda: rejection_questions(trajectory, self.config.max_prompt_chars)
        )
        labels: StepLabels = reduce(merge_labels, judgment.answers, {})
        kept = [
            _kept(index, *labels[index]) for index in sorted(labels) if labels[index][0] not in BAD
        ]
        return selection_of(
            trajectory,
            self._context.name,
            len(kept),
            kept,
            problem=judgment.problem,
            usage=judgment.usage,
            prompt_digest=self.prompt().digest,
        )


def merge_labels(earlier: StepLabels, later: StepLabels) -> StepLabels:
    """The labels of two windows.

    A step in both is bad if either says so; else the later window counts, which saw what followed.
    """
    return later | {
        index: found for index, found in earlier.items() if index not in later or found[0] in BAD
    }


def _kept(index: int, label: StepLabel, reason: str | None) -> CriticalStep:
    return CriticalStep(
        index=index,
        kinds=("self_correction",) if label == "recover" else (),
        reason=f"{label}: {reason}" if reason else label,
    )
