"""A task has the same group in all runs and arms, or averages over groups would be of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from atlas.errors import RunError
from atlas.reporting.arms import Arm, Evaluation


def share_groups(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """Arms in which each task of a split has one group: that which any of its episodes names.

    Raises:
        RunError: two episodes of a task name different groups.
    """
    named: dict[str, dict[str, tuple[str, str]]] = {}
    for arm in arms:
        for run in arm.runs:
            for split, evaluation in run.evaluations.items():
                _collect(split, evaluation, named.setdefault(split, {}))
    return tuple(
        replace(
            arm,
            runs=tuple(
                replace(
                    run,
                    evaluations={
                        split: _fill(evaluation, named[split])
                        for split, evaluation in run.evaluations.items()
                    },
                )
                for run in arm.runs
            ),
        )
        for arm in arms
    )


def _collect(split: str, evaluation: Evaluation, named: dict[str, tuple[str, str]]) -> None:
    for repetition in evaluation.repetitions:
        place = str(repetition.folder.path)
        for task, episode in repetition.episodes.items():
            if not episode.group:
                continue
            group, where = named.setdefault(task, (episode.group, place))
            if group != episode.group:
                raise RunError(
                    f"split '{split:.80}': task '{task:.80}' has the group '{group:.80}' in "
                    f"{where}, and '{episode.group:.80}' in {place}. Expected the same one in all "
                    "runs. Correct it, or leave groups out."
                )


def _fill(evaluation: Evaluation, named: dict[str, tuple[str, str]]) -> Evaluation:
    """The evaluation with the groups that some of its episodes do not name."""
    return replace(
        evaluation,
        repetitions=tuple(
            replace(
                repetition,
                episodes={
                    task: replace(episode, group=named[task][0])
                    if task in named and not episode.group
                    else episode
                    for task, episode in repetition.episodes.items()
                },
            )
            for repetition in evaluation.repetitions
        ),
    )
