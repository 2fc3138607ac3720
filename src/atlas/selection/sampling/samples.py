"""The records of sampled responses, and of their agreement with the expert's.

OUT/samples.jsonl     each response as it was sampled
OUT/agreement.jsonl   for each step: the expert's action, the sampled ones, and the verdicts
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from atlas.models.players import Finish
from atlas.records import SCHEMA_VERSION, Message, Record, Usage

SAMPLES, AGREEMENT = "samples", "agreement"


def sample_key(trajectory_id: str, step: int, sample: int) -> str:
    """The name of a sample: of its conversation with the model, and in the log."""
    return f"{step_key(trajectory_id, step)} {sample}"


def step_key(trajectory_id: str, step: int) -> str:
    """The name of a step in the log of agreement."""
    return f"{trajectory_id} {step}"


class StepSample(Record):
    """One response of the model at the state before an expert's step.

    Attributes:
        sample: the number of the response at this step, from 0.
        finish: how the response ended, as of a player's answer.
        reason: why a usable response is missing.
        usage: tokens; the history counts once per sample, also where it was computed once for all.
    """

    version: Literal[1] = SCHEMA_VERSION
    trajectory_id: str
    step: int
    sample: int
    message: Message
    finish: Finish
    reason: str | None = None
    usage: Usage = Usage()

    @property
    def key(self) -> str:
        return sample_key(self.trajectory_id, self.step, self.sample)


class SampleVerdict(Record):
    """Whether one sample agrees with the expert; None if that cannot be said."""

    sample: int
    action: str
    agrees: bool | None
    reason: str | None = None


class StepAgreement(Record):
    """How far the model agrees with the expert at one step.

    Attributes:
        expert: the expert's action.
        mean, variance: of the agreement of the samples with a verdict (1 or 0), the variance as
            mean * (1 - mean); None if no sample has a verdict.
        reason: why the mean is missing.
    """

    version: Literal[1] = SCHEMA_VERSION
    trajectory_id: str
    step: int
    expert: str
    mean: float | None = None
    variance: float | None = None
    reason: str | None = None
    samples: tuple[SampleVerdict, ...] = ()

    @property
    def key(self) -> str:
        return step_key(self.trajectory_id, self.step)


def measure_agreement(verdicts: Sequence[SampleVerdict]) -> tuple[float, float] | None:
    """Mean and variance of the agreement; None if no sample has a verdict.

    >>> given = [True, False, None, False, False]
    >>> measure_agreement([SampleVerdict(sample=0, action="go", agrees=one) for one in given])
    (0.25, 0.1875)
    """
    known = [verdict.agrees for verdict in verdicts if verdict.agrees is not None]
    if not known:
        return None
    mean = sum(known) / len(known)
    return mean, mean * (1 - mean)
