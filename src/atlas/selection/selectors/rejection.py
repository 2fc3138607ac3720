"""Selects every step, except those that a language model judges bad (arXiv 2605.10674).

Step-Rejection Fine-Tuning labels each step good, unnecessary, mistake or recover, and masks
unnecessary steps and mistakes. It also learns the good steps of failed trajectories. The budget is
the number of steps that are not bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from atlas.records import CriticalStep, Trajectory
from atlas.selection.judging.judge import JudgingSelector
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.judging.prompt import JudgeQuestion
from atlas.selection.judging.rejection_prompt import REJECTION_PROMPT, StepLabel, read_labels

StepLabels = dict[int, tuple[StepLabel, str | None]]
BAD: tuple[StepLabel, ...] = ("unnecessary", "mistake")


class RejectionConfig(JudgeConfig):
    """Settings of `rejection`."""


class RejectionSelector(JudgingSelector[StepLabels]):
    """Every step, except those that a language model labels unnecessary or a mistake.

    A step labeled `recover` gets the kind self_correction.
    """

    Config = RejectionConfig
    prompt = REJECTION_PROMPT
    tokens_per_step = 30

    @property
    def sentence(self) -> str:
        model = f"a language model ({self.config.model})"
        return f"every step but those that {model} judged bad{self.by_rubric}"

    def read(self, text: str, question: JudgeQuestion) -> StepLabels:
        return read_labels(text, question.steps)

    def asked_budget(self, trajectory: Trajectory, budget: int) -> int:
        """Every step gets a label, whatever the budget is."""
        return len(trajectory.steps)

    def choose(self, answers: Sequence[StepLabels], budget: int) -> tuple[list[CriticalStep], int]:
        labels: StepLabels = reduce(merge_labels, answers, {})
        kept = [_kept(index, *given) for index, given in labels.items() if given[0] not in BAD]
        return kept, len(kept)


def merge_labels(earlier: StepLabels, later: StepLabels) -> StepLabels:
    """Merge the labels of two windows.

    A step in both windows is bad if either label is bad. Otherwise the later window decides,
    because it shows more of what follows.
    """
    kept = {index: found for index, found in earlier.items() if found[0] in BAD}
    return earlier | later | kept


def _kept(index: int, label: StepLabel, reason: str | None) -> CriticalStep:
    return CriticalStep(
        index=index,
        kinds=("self_correction",) if label == "recover" else (),
        reason=f"{label}: {reason}" if reason else label,
    )
