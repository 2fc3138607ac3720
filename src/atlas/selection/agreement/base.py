"""The interface of agreements: `expert's step + sampled responses -> a verdict on each`.

An agreement is made as `Class(settings, context)`, with the context of the selector. To add one,
write one file and add one row to `AGREEMENTS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from atlas.kinds import Kind
from atlas.records import Message, Trajectory, Usage

AGREEMENTS: dict[str, str] = {
    "exact": "atlas.selection.agreement.exact:ExactAgreement",
    "call": "atlas.selection.agreement.call:CallAgreement",
    "environment": "atlas.selection.agreement.environment:EnvironmentAgreement",
    "judge": "atlas.selection.agreement.judge:JudgeAgreement",
}
AGREEMENT = Kind("agreement", AGREEMENTS, methods=("compare",))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a response agrees with the expert's; None if that cannot be said.

    Attributes:
        reason: why it does not agree, or why nothing can be said.
    """

    agrees: bool | None
    reason: str | None = None


class ActionAgreement(Protocol):
    """Compares responses with the expert's at one step."""

    def compare(
        self, trajectory: Trajectory, step: int, responses: Sequence[Message]
    ) -> Sequence[Verdict] | Awaitable[Sequence[Verdict]]:
        """One verdict per response. The responses are not empty, and were not cut off.

        Raises:
            EndpointError: no answer came; a rerun asks again.
        """
        ...


@runtime_checkable
class ChecksTrajectory(Protocol):
    """An agreement that does not fit all trajectories."""

    def problem(self, trajectory: Trajectory) -> str | None:
        """Why the steps of a trajectory cannot be compared. Called before anything is sampled."""
        ...

    def release(self, trajectory: Trajectory) -> None:
        """Forget what was kept of a trajectory, whose steps are all compared."""
        ...


@runtime_checkable
class EstimatesUsage(Protocol):
    """An agreement that asks a language model."""

    def estimate(self, trajectory: Trajectory, num_samples: int) -> Usage:
        """Approximate usage for one trajectory."""
        ...
