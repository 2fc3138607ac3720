"""The summary in the manifest of a selection run: counts, costs, and who chose the steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from atlas.kinds import Choice
from atlas.presenting.action_types import ActionTypeCounter
from atlas.presenting.outcome_shares import BY_OUTCOME, count_last_steps
from atlas.records import Problem, Selection, Usage
from atlas.selection.budget import step_budget
from atlas.selection.config import SelectConfig
from atlas.selection.cost_meter import CostMeter
from atlas.selection.outlines import Outline
from atlas.selection.selectors.base import (
    SELECTOR,
    HasEstimate,
    HasSentence,
    HasWorth,
    Scorer,
    Selector,
    draws_steps,
    problem_with,
)


def describe_choice(selector: Selector | Scorer, choice: Choice) -> dict[str, Any]:
    """A sentence on who chose the steps, for reports and model cards."""
    if isinstance(selector, HasSentence):
        sentence = selector.sentence
    else:
        said = SELECTOR.describe(choice.name).removesuffix(".")
        sentence = said[:1].lower() + said[1:] or f"steps chosen by the selector '{choice.name}'"
    return {
        "selector": choice.name,
        "sentence": sentence,
        "asks_a_model": isinstance(selector, HasEstimate),
        "model": getattr(choice.settings, "model", None),
        "draws": draws_steps(choice),
    } | ({"worth": selector.worth} if isinstance(selector, HasWorth) else {})


def summarize_selections(
    selections: Iterable[Selection],
    config: SelectConfig,
    outlines: Mapping[str, Outline],
    problems: list[Problem],
    meter: CostMeter | None,
) -> dict[str, Any]:
    """Counts over all selections. Their problems are added to `problems`.

    Args:
        outlines: of each trajectory, by id.
    """
    num_trajectories = num_steps = num_selected = num_usable = num_allowed = 0
    num_with_steps = num_with_last = 0
    sets_own_budget = False
    kinds: Counter[str] = Counter()
    num_by_outcome: Counter[str] = Counter()
    selected_by_outcome: Counter[str] = Counter()
    action_types = ActionTypeCounter()
    usage = Usage()
    for selection in selections:
        num_trajectories += 1
        num_steps += selection.num_steps
        num_selected += len(selection.critical_steps)
        sets_own_budget |= selection.budget != config.budget(selection.num_steps)
        kinds.update(kind for step in selection.critical_steps for kind in step.kinds)
        outline = outlines[selection.trajectory_id]
        action_types.add(outline.action_types, selection.indices)
        if selection.problem is None:
            num_usable += selection.num_steps
            num_allowed += selection.budget
        usage += selection.usage
        status = outline.status
        num_by_outcome[status] += 1
        if selection.critical_steps:
            selected_by_outcome[status] += len(selection.critical_steps)
            num_with_steps += 1
            num_with_last += selection.has_last_step
        if selection.problem is not None:
            problems.append(problem_with(selection.trajectory_id, selection.problem))
    summary: dict[str, Any] = {
        "trajectories": num_trajectories,
        "steps": num_steps,
        "selected_steps": num_selected,
        "share": round(num_selected / num_steps, 4) if num_steps else 0.0,
        "kinds": dict(sorted(kinds.items())),
        "outcomes": dict(sorted(num_by_outcome.items())),
        BY_OUTCOME: dict(sorted(selected_by_outcome.items())),
        **count_last_steps(num_with_last, num_with_steps),
        **action_types.summary(),
        "problems": len(problems),
        "usage": usage.model_dump(),
    }
    if meter is not None:
        summary |= meter.paid.summary()
    if meter is not None and meter.knows_cost and meter.paid.requests:
        summary["cost_usd"] = round(meter.cost_usd, 6)
    ratio, rounding = config.ratio, config.rounding
    if config.scope == "dataset":
        budget = f"ratio {ratio} of all steps together, {rounding}"
        num_allowed = step_budget(num_usable, ratio, rounding, min_steps=0)
    elif sets_own_budget:
        name = config.selector.name
        budget = f"selector '{name}' sets its own; the ratio of {ratio} was not used"
    else:
        budget = f"ratio {ratio}, {rounding}, at least {config.min_steps}"
    has_ratio = config.scope == "dataset" or not sets_own_budget
    if has_ratio and num_selected < num_allowed:
        budget += f"; {num_selected} of {num_allowed} steps used, no others could be chosen"
    return summary | {"budget": budget}
