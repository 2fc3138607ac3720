"""What verdicts are about: each split, or the rings of a suite, with the tasks of all their splits.

A suite has too many entries to give a verdict on each, so those of one ring are taken together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from atlas.errors import RunError
from atlas.reporting.arms import Arm, Evaluation
from atlas.reporting.claims.settings import Average
from atlas.reporting.config import ReportConfig
from atlas.reporting.measures.episode_values import mean_values
from atlas.reporting.report import Scope
from atlas.statistics.bootstrap import Floats
from atlas.statistics.group_difference import FEWEST_GROUPS

AVERAGES: tuple[Average, ...] = ("tasks", "environments", "groups")


def find_scopes(arms: Sequence[Arm], config: ReportConfig) -> tuple[Scope, ...]:
    """The scopes of a report, in the order of its splits.

    Raises:
        RunError: the primary comparison is on an unknown scope, or one has too few groups to
            generalize over them.
    """
    evaluations = arms[0].runs[0].evaluations
    splits: dict[str, list[str]] = {}
    for split, evaluation in evaluations.items():
        splits.setdefault(evaluation.ring or split, []).append(split)
    scopes = tuple(_describe_scope(name, inside, evaluations) for name, inside in splits.items())
    _check_primary(scopes, config)
    for scope in scopes:
        if config.generalize_over == "group" and len(scope.groups) < FEWEST_GROUPS:
            raise RunError(
                f"'{scope.name}' has {len(scope.groups)} groups of tasks, expected at least "
                f"{FEWEST_GROUPS} to generalize over groups. Leave out generalize_over: group, or "
                f"evaluate tasks of more groups."
            )
    return scopes


def scope_values(arm: Arm, scope: Scope, field: str, broken: float = float("nan")) -> Floats:
    """Values of one field [R, T] on all tasks of a scope; repetitions are averaged.

    Args:
        broken: what an invalid episode counts as; NaN leaves it out.
    """
    rows = [
        np.concatenate(
            [mean_values(run.evaluations[split], field, broken) for split in scope.splits]
        )
        for run in arm.runs
    ]
    return np.stack(rows)


def scope_strata(arm: Arm, scope: Scope, average: Average) -> list[int] | None:
    """The stratum of each task of a scope; strata count alike. None for an average over tasks."""
    if average == "tasks":
        return None
    places: dict[str, int] = {}
    evaluations = arm.runs[0].evaluations
    labels = [label for split in scope.splits for label in task_labels(evaluations[split], average)]
    return [places.setdefault(label, len(places)) for label in labels]


def averages_of(scope: Scope, stated: Average) -> list[Average]:
    """The averages that differ on this scope, and the stated one."""
    sizes = {"tasks": 2, "environments": len(scope.environments), "groups": len(scope.groups)}
    return [average for average in AVERAGES if sizes[average] > 1 or average == stated]


def task_labels(evaluation: Evaluation, average: Average) -> Iterator[str]:
    """The environment or group of each task."""
    for first, *_ in evaluation.played():
        environment = evaluation.world or first.environment
        yield environment if average == "environments" else f"{environment} {first.group}".strip()


def _describe_scope(
    name: str, splits: Sequence[str], evaluations: Mapping[str, Evaluation]
) -> Scope:
    def count(average: Average) -> dict[str, int]:
        labels = (label for split in splits for label in task_labels(evaluations[split], average))
        return dict(Counter(labels))

    return Scope(
        name=name,
        is_ring=evaluations[splits[0]].ring is not None,
        splits=tuple(splits),
        num_tasks=sum(len(evaluations[split].task_ids) for split in splits),
        environments=count("environments"),
        groups=count("groups"),
    )


def _check_primary(scopes: Sequence[Scope], config: ReportConfig) -> None:
    if config.primary is None:
        return
    known = [scope.name for scope in scopes]
    if config.primary.scope not in known:
        what = "split" if config.primary.split else "ring"
        raise RunError(
            f"the primary comparison is on the {what} '{config.primary.scope}', but verdicts are "
            f"about {', '.join(known)}. Give one of these."
        )
