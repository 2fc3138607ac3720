"""Arms that differ in how many steps are supervised -> one curve for each way to choose them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from atlas.presenting.wording import MAX_LABEL
from atlas.reporting.measures.training_method import TrainingMethod
from atlas.reporting.report import ArmReport, Report
from atlas.terminal.visible_text import one_line


@dataclass(frozen=True, slots=True)
class BudgetCurve:
    """Arms with the same selector and settings and different shares of supervised steps.

    Training on all steps is the end of every curve: there, every selector chooses the same.
    """

    title: str
    arms: tuple[ArmReport, ...]


def budget_curves(report: Report) -> tuple[BudgetCurve, ...]:
    """The curves of a report, in the order of their first arm."""
    found: list[list[tuple[ArmReport, TrainingMethod]]] = []
    ends = []
    for arm in report.arms:
        if arm.method is None or arm.budget is None:
            continue
        if arm.method.takes_all_steps:
            ends.append((arm, arm.method))
            continue
        for curve in found:
            if _is_same(curve[0][1], arm.method):
                curve.append((arm, arm.method))
                break
        else:
            found.append([(arm, arm.method)])
    several = [curve for curve in found if len(set(map(_share, curve))) > 1]
    titles = list(_titles([curve[0] for curve in several]))
    return tuple(
        BudgetCurve(
            title,
            tuple(
                sorted(
                    (arm for arm, method in (*curve, *ends) if method.is_trained_like(curve[0][1])),
                    key=_supervised,
                )
            ),
        )
        for title, curve in zip(titles, several, strict=True)
    )


def _is_same(one: TrainingMethod, other: TrainingMethod) -> bool:
    same = one.selector == other.selector and one.selection == other.selection
    return same and one.is_trained_like(other)


def _share(pair: tuple[ArmReport, TrainingMethod]) -> float:
    return _supervised(pair[0])


def _supervised(arm: ArmReport) -> float:
    return (arm.budget and arm.budget.supervised_step_share.value) or 0.0


def _titles(firsts: list[tuple[ArmReport, TrainingMethod]]) -> Iterator[str]:
    """The selector; with the label of the first arm where two curves have the same selector."""
    selectors = [method.selector for _, method in firsts]
    for arm, method in firsts:
        name = one_line(method.selector, MAX_LABEL)
        yield name if selectors.count(method.selector) == 1 else f"{name} ({arm.label})"
