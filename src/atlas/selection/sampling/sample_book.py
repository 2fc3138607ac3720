"""Keeps samples and agreement in the run folder, so that a killed run repeats nothing."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing

from atlas.selection.sampling.samples import AGREEMENT, SAMPLES, StepAgreement, StepSample
from atlas.selection.scores import SCORES_FILE, StepScores
from atlas.store.record_log import RecordLog, read_log
from atlas.store.run_folders import Run


class SampleBook:
    """The growing files of one run. What earlier processes wrote is read once."""

    def __init__(self, run: Run) -> None:
        # The samples of trajectories that have scores are not needed again.
        done = {one.trajectory_id for one in read_log(run.path / SCORES_FILE, StepScores)}
        self._samples, self._agreement = _open(run)
        self._kept_samples: dict[str, StepSample] = {}
        self._kept_agreement: dict[str, StepAgreement] = {}
        if not self._samples.sealed:
            self._kept_samples = {
                one.key: one for one in self._samples.records() if one.trajectory_id not in done
            }
        if not self._agreement.sealed:
            self._kept_agreement = {
                one.key: one for one in self._agreement.records() if one.trajectory_id not in done
            }

    @property
    def num_kept(self) -> int:
        """How many samples of unfinished trajectories an earlier process left."""
        return len(self._kept_samples)

    def sample(self, key: str) -> StepSample | None:
        return self._kept_samples.get(key)

    def agreement(self, key: str) -> StepAgreement | None:
        return self._kept_agreement.get(key)

    def keep_sample(self, sample: StepSample) -> None:
        self._samples.append(sample)

    def keep_agreement(self, agreement: StepAgreement) -> None:
        self._agreement.append(agreement)

    def close(self) -> None:
        self._samples.close()
        self._agreement.close()


def seal_book(run: Run, trajectory_ids: Iterable[str]) -> None:
    """Put the records of a finished run into the order of the trajectories, steps and samples."""
    place = {id_: number for number, id_ in enumerate(trajectory_ids)}

    def in_order(key: str, num_numbers: int) -> tuple[int, ...]:
        id_, *numbers = key.rsplit(" ", num_numbers)
        return (place[id_], *map(int, numbers))

    samples, agreement = _open(run)
    with ExitStack() as stack:
        stack.enter_context(closing(samples))
        stack.enter_context(closing(agreement))
        samples.seal(sorted(samples.done, key=lambda key: in_order(key, 2)))
        agreement.seal(sorted(agreement.done, key=lambda key: in_order(key, 1)))


def _open(run: Run) -> tuple[RecordLog[StepSample], RecordLog[StepAgreement]]:
    return (
        run.log(SAMPLES, StepSample, key=lambda sample: sample.key),
        run.log(AGREEMENT, StepAgreement, key=lambda agreement: agreement.key),
    )
