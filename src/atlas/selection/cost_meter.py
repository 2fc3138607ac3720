"""What a run pays: each payment is safe on disk as it is made, and the limit is kept.

    OUT/spent.jsonl.partial    the total so far, a line after each payment
    OUT/spent.jsonl            the total, one line

A payment counts whether or not it led to a selection: an answer against the rules, a window of a
trajectory whose other window got no answer, what was under way when the run was killed. A run whose
answers so far say that it is of no use to go on is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable

from atlas.errors import CostLimitError, ModelError
from atlas.models.endpoints.prices import Price
from atlas.records import Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.costs import cost_usd
from atlas.selection.scores import StepScores
from atlas.selection.selectors.base import HasEstimate, HasPayments
from atlas.store.record_files import read_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Run

# Every line has this key, so that the last one counts.
TOTAL = "total"
# Unusable answers from the start on: then the model or the settings are at fault.
HOPELESS_AFTER = 20


class CostMeter:
    """What a run has paid, what is under way, and whether one more trajectory fits beside them.

    Without HasPayments, the usage of a selection counts when the selection comes.
    """

    def __init__(
        self, run: Run, price: Price | None, config: SelectConfig, selector: HasEstimate
    ) -> None:
        self.price = price
        self._limit_usd = selector.config.max_cost_usd
        self._config = config
        self._selector = selector
        # Over all processes of the run.
        self._has_usable = False
        self._num_unusable = 0
        self._log: RecordLog[Usage] = run.log("spent", Usage, key=lambda _: TOTAL)
        sealed = self._log.sealed
        totals = read_records(self._log.path, Usage) if sealed else self._log.records()
        self.paid = [Usage(), *totals][-1]
        # Trajectory id -> USD as estimated, and the sum of them.
        self._under_way: dict[str, float] = {}
        self._under_way_usd = 0.0
        # What the answers of this process cost, and what they were estimated at.
        self._answered_usd = self._estimated_usd = 0.0
        if isinstance(selector, HasPayments):
            selector.report_payments(self.pay)

    def take_over(self, answers: Iterable[Selection | StepScores]) -> None:
        """Count what an earlier process of this run left.

        If that process did not record what it paid, its selections say it.

        Raises:
            ModelError: the first 20 answers were all unusable, or there is a limit to what may be
                paid and the server reports no tokens.
        """
        usage = Usage()
        for answer in answers:
            if isinstance(answer, Selection):
                usage += answer.usage
                self._check(answer)
        if not self.paid.requests:
            self.pay(usage)

    def count(self, answer: Selection | StepScores) -> None:
        """Count an answer that is safe on disk. Raises as `take_over`."""
        if isinstance(answer, Selection):
            if not isinstance(self._selector, HasPayments):
                self.pay(answer.usage)
            self._check(answer)

    def _check(self, selection: Selection) -> None:
        usage, limit_usd = selection.usage, self._limit_usd
        if selection.problem is None:
            # Without a digest and a request, nobody was asked.
            self._has_usable |= selection.prompt_digest is not None or usage.requests > 0
            num_tokens = usage.input_tokens + usage.output_tokens
            if limit_usd is not None and usage.requests and not num_tokens:
                raise ModelError(
                    "the endpoint does not report how many tokens an answer took, so "
                    f"max_cost_usd={limit_usd:g} cannot be held. What was answered is kept. "
                    "Leave max_cost_usd out, or ask a server that reports its usage."
                )
        elif usage.requests:
            # A problem without a request is not the model's.
            self._num_unusable += 1
        if not self._has_usable and self._num_unusable >= HOPELESS_AFTER:
            raise ModelError(
                f"model '{self._selector.config.model}': the first {HOPELESS_AFTER} questions got "
                f"no usable answer. The last: {selection.problem}. Choose another model or other "
                "settings, and another --out."
            )

    def pay(self, usage: Usage) -> None:
        if usage.requests:
            self.paid += usage
            self._log.append(self.paid)

    @property
    def cost_usd(self) -> float:
        return cost_usd(self.paid, self.price) or 0.0

    @property
    def is_idle(self) -> bool:
        return not self._under_way

    def estimate_usd(self, trajectory: Trajectory) -> float:
        """0 without a limit."""
        if self._limit_usd is None:
            return 0.0
        budget = self._config.budget(len(trajectory.steps))
        return cost_usd(self._selector.estimate(trajectory, budget), self.price) or 0.0

    def _expect_usd(self, estimated_usd: float) -> float:
        """An estimate, raised by as much as the answers of this process cost more than theirs.

        Hidden thoughts and answers that were asked for again are in no estimate.
        """
        ratio = self._answered_usd / self._estimated_usd if self._estimated_usd else 1.0
        return estimated_usd * max(1.0, ratio)

    def reserve(self, trajectory_id: str, estimated_usd: float) -> bool:
        """Whether a trajectory fits beside what is paid and under way; if so, it is under way."""
        would_be_usd = self.cost_usd + self._expect_usd(self._under_way_usd + estimated_usd)
        if estimated_usd and self._limit_usd is not None and would_be_usd > self._limit_usd:
            return False
        self._under_way[trajectory_id] = estimated_usd
        self._under_way_usd += estimated_usd
        return True

    def limit_error(self, trajectory_id: str, estimated_usd: float) -> CostLimitError:
        """Says that a trajectory does not fit, though nothing is under way."""
        return CostLimitError(
            f"this run has paid {self.cost_usd:.4f} USD, and trajectory '{trajectory_id}' is "
            f"expected to take about {self._expect_usd(estimated_usd):.4f} more: together over "
            f"max_cost_usd={self._limit_usd:g}. What was answered is kept: run the same command "
            "again with a higher max_cost_usd to go on."
        )

    def release(self, trajectory_id: str, answer: Selection | StepScores | None) -> None:
        """A trajectory is no longer under way, with or without an answer."""
        estimated_usd = self._under_way.pop(trajectory_id)
        # Exactly 0 when nothing is under way, so that rounding does not add up.
        self._under_way_usd = self._under_way_usd - estimated_usd if self._under_way else 0.0
        if isinstance(answer, Selection) and answer.usage.requests:
            self._answered_usd += cost_usd(answer.usage, self.price) or 0.0
            self._estimated_usd += estimated_usd

    def seal(self) -> None:
        """The run is over: only its total is kept."""
        if not self._log.sealed and not self._log.done:
            # Nothing was asked.
            self._log.append(self.paid)
        self._log.seal([TOTAL])

    def close(self) -> None:
        self._log.close()
