"""Records what a run pays on disk at once, and enforces the cost limit.

    OUT/spent.jsonl.partial    the total so far, a line after each payment
    OUT/spent.jsonl            the total, one line
    OUT/unusable.jsonl         the answers that gave no selection, if there are any

A payment counts even if it did not lead to a selection: an answer that breaks the rules, one window
of a trajectory whose other window got no answer, or a request in flight when the run was killed. A
run is stopped if all its first answers are unusable. If it is started again, they are asked again.
"""

from __future__ import annotations

from collections.abc import Iterable

from atlas.errors import ConfigError, CostLimitError, DataError, ModelError
from atlas.models.endpoints.prices import Price
from atlas.models.payments import Payment
from atlas.records import Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.selection.costs import cost_usd
from atlas.selection.scores import StepScores
from atlas.selection.selectors.base import HasEstimate, HasPayments, HasUnusable
from atlas.selection.unusable_answers import UnusableAnswer
from atlas.store.record_files import read_records
from atlas.store.record_log import RecordLog
from atlas.store.run_folders import Run

# Every line has this key, so that the last one counts.
TOTAL = "total"
# If this many first answers are all unusable, the model or the settings are wrong.
HOPELESS_AFTER = 20


class CostMeter:
    """What a run has paid, what is in flight, and whether one more trajectory fits under the limit.

    For selectors without HasPayments, and for those in other processes, the usage of a selection is
    counted when it arrives.
    """

    def __init__(
        self,
        run: Run,
        price: Price | None,
        config: SelectConfig,
        selector: HasEstimate,
        paid_elsewhere_usd: float = 0.0,
    ) -> None:
        self.price = price
        # What the model of another layer was paid, which counts under the same limit.
        self._paid_elsewhere_usd = paid_elsewhere_usd
        self._limit_usd = selector.config.max_cost_usd
        self._config = config
        self._selector = selector
        self._has_usable = False
        self._num_unusable = 0
        self._last_problem = ""
        # Whether an answer of this process came without credible token counts.
        self._is_untold = False
        self._log: RecordLog[Payment] = run.log("spent", Payment, key=lambda _: TOTAL)
        sealed = self._log.sealed
        totals = read_records(self._log.path, Payment) if sealed else self._log.records()
        self.paid = [Payment(), *totals][-1]
        self._paid_before_usd = self.cost_usd
        self._unusable: RecordLog[UnusableAnswer] = run.log(
            "unusable", UnusableAnswer, key=lambda answer: answer.key
        )
        # Trajectory id -> USD as estimated, and the sum of them.
        self._under_way: dict[str, float] = {}
        self._under_way_usd = 0.0
        # The cost of this process's answers, and their estimated cost. Scores have no usage, so
        # their cost is what was paid since the start.
        self._answered_usd = self._estimated_usd = 0.0
        self._pays_by_answer = not isinstance(selector, HasPayments)
        if isinstance(selector, HasPayments):
            selector.report_payments(self.pay)
        if isinstance(selector, HasUnusable):
            selector.report_unusable(self._unusable.append)
        if self._limit_usd is not None and self.paid.requests and not self.knows_cost:
            self.close()
            raise ConfigError(
                f"max_cost_usd={self._limit_usd:g} cannot be held: when {run.path} was started, "
                "the price of one of its models was not known. Leave max_cost_usd out, or choose "
                "another --out."
            )

    def pay_by_answer(self) -> None:
        """Count the usage of each selection, because other processes ask the model."""
        self._pays_by_answer = True

    def take_over(
        self, answers: Iterable[Selection | StepScores], num_trajectories: int
    ) -> frozenset[str]:
        """Count what earlier processes of this run paid.

        If they did not record it, it is computed from their selections. Returns the trajectories to
        ask about again: if the run was given up because no answer was usable, all of them.
        """
        usage = Usage()
        unusable = set()
        for answer in answers:
            if isinstance(answer, Selection):
                usage += answer.usage
                self._has_usable |= _is_usable(answer)
                if _is_unusable(answer):
                    unusable.add(answer.trajectory_id)
        if not self.paid.requests:
            self.pay(usage)
        was_given_up = len(unusable) >= min(HOPELESS_AFTER, num_trajectories)
        if was_given_up and not self._has_usable:
            return frozenset(unusable)
        self._num_unusable = len(unusable)
        return frozenset()

    def count(self, answer: Selection | StepScores) -> None:
        """Count an answer that is written to disk.

        Raises:
            ModelError: the first 20 answers were all unusable, or there is a cost limit and the
                server does not report its token counts.
        """
        if isinstance(answer, Selection):
            self._count_selection(answer)
        if self._limit_usd is not None and self._is_untold:
            raise ModelError(
                "the endpoint does not report how many tokens an answer took (prompt_tokens and "
                "completion_tokens, as whole numbers), so "
                f"max_cost_usd={self._limit_usd:g} cannot be held. What was answered is kept. "
                "Leave max_cost_usd out, or ask a server that reports its usage."
            )
        if not self._has_usable and self._num_unusable >= HOPELESS_AFTER:
            raise ModelError(
                f"model '{self._selector.config.model}': the first {HOPELESS_AFTER} questions got "
                f"no usable answer. The last: {self._last_problem}. {self._what_next()}"
            )

    def _count_selection(self, answer: Selection) -> None:
        usage = answer.usage
        if self._pays_by_answer:
            self.pay(usage)
            has_tokens = usage.input_tokens + usage.output_tokens > 0
            self._is_untold |= answer.problem is None and usage.requests > 0 and not has_tokens
        self._has_usable |= _is_usable(answer)
        if _is_unusable(answer):
            self._num_unusable += 1
            self._last_problem = str(answer.problem)

    def check_all(self, num_trajectories: int) -> None:
        """Check the answers before the run ends.

        Raises:
            DataError: the model answered, and no answer was usable.
        """
        if self._num_unusable and not self._has_usable:
            raise DataError(
                f"selector '{self._config.selector.name}' selected no step of {num_trajectories} "
                f"trajectories, because no answer was usable. The last: {self._last_problem}. "
                f"{self._what_next()}"
            )

    def _what_next(self) -> str:
        place = f"{self._unusable.path}.partial has the answers. " if self._unusable.done else ""
        same = "The same command"
        if getattr(self._selector.config, "cache", False):
            same += " with cache=false (the cache keeps these answers)"
        return (
            f"{place}{same} asks these questions again, for example after the server was "
            "corrected. For another model or other settings, choose another --out."
        )

    def pay(self, usage: Usage) -> None:
        """Record a payment."""
        # An answer from the cache has no request, but its model is known.
        is_known = isinstance(usage, Payment) and usage.answered_by
        self._is_untold |= isinstance(usage, Payment) and usage.estimated > 0
        if usage.requests or is_known:
            self.paid += usage
            self._log.append(self.paid)

    @property
    def knows_cost(self) -> bool:
        """Whether the price of everything that was paid is known."""
        return cost_usd(self.paid, self.price) is not None

    @property
    def cost_usd(self) -> float:
        return cost_usd(self.paid, self.price) or 0.0

    @property
    def _spent_usd(self) -> float:
        return self.cost_usd + self._paid_elsewhere_usd

    @property
    def is_idle(self) -> bool:
        return not self._under_way

    def estimate_usd(self, trajectory: Trajectory) -> float:
        """The estimated cost of a trajectory; 0 without a limit."""
        if self._limit_usd is None:
            return 0.0
        budget = self._config.budget(len(trajectory.steps))
        return cost_usd(self._selector.estimate(trajectory, budget), self.price) or 0.0

    def _expect_usd(self, estimated_usd: float) -> float:
        """An estimate, increased by the factor by which earlier answers exceeded their estimates.

        Estimates do not include hidden thoughts and repeated questions.
        """
        ratio = self._answered_usd / self._estimated_usd if self._estimated_usd else 1.0
        return estimated_usd * max(1.0, ratio)

    def reserve(self, trajectory_id: str, estimated_usd: float) -> bool:
        """Reserve the cost of a trajectory if it fits under the limit; returns whether it did."""
        would_be_usd = self._spent_usd + self._expect_usd(self._under_way_usd + estimated_usd)
        if estimated_usd and self._limit_usd is not None and would_be_usd > self._limit_usd:
            return False
        self._under_way[trajectory_id] = estimated_usd
        self._under_way_usd += estimated_usd
        return True

    def limit_error(self, trajectory_id: str, estimated_usd: float) -> CostLimitError:
        """The error for a trajectory that does not fit although nothing is in flight."""
        return CostLimitError(
            f"this run has paid {self._spent_usd:.4f} USD, and trajectory '{trajectory_id}' is "
            f"expected to take about {self._expect_usd(estimated_usd):.4f} more: together over "
            f"max_cost_usd={self._limit_usd:g}. What was answered is kept: run the same command "
            "again with a higher max_cost_usd to go on."
        )

    def release(self, trajectory_id: str, answer: Selection | StepScores | None) -> None:
        """Release the reservation of a trajectory, with or without an answer."""
        estimated_usd = self._under_way.pop(trajectory_id)
        # Exactly 0 when nothing is in flight, so that rounding errors do not add up.
        self._under_way_usd = self._under_way_usd - estimated_usd if self._under_way else 0.0
        if isinstance(answer, Selection) and answer.usage.requests:
            self._answered_usd += cost_usd(answer.usage, self.price) or 0.0
            self._estimated_usd += estimated_usd
        elif isinstance(answer, StepScores):
            self._answered_usd = self.cost_usd - self._paid_before_usd
            self._estimated_usd += estimated_usd

    def seal(self) -> None:
        """End the run; only its total is kept."""
        if not self._log.sealed and not self._log.done:
            # Nothing was asked.
            self._log.append(self.paid)
        self._log.seal([TOTAL])
        if self._unusable.done:
            self._unusable.seal(sorted(self._unusable.done))
        elif not self._unusable.sealed:
            # The run has no such file.
            self._unusable.close()
            self._unusable.path.with_name(self._unusable.path.name + ".partial").unlink()

    def close(self) -> None:
        self._log.close()
        self._unusable.close()


def _is_usable(selection: Selection) -> bool:
    # Without a digest and a request, no model was asked.
    was_asked = selection.prompt_digest is not None or selection.usage.requests > 0
    return selection.problem is None and was_asked


def _is_unusable(selection: Selection) -> bool:
    # A problem without a request is not caused by the model.
    return selection.problem is not None and selection.usage.requests > 0
