"""A plan -> the table and the sentences that the terminal shows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from atlas.presenting.wording import DASH, seconds, thousands
from atlas.reporting.planning.plan_comparison import ComparisonPlan, PlannedSize
from atlas.statistics.estimate import Estimate
from atlas.statistics.power import MOST_SEEDS

if TYPE_CHECKING:
    from rich.table import Table


def plan_table(plan: ComparisonPlan) -> Table:
    """A row per number of tasks, a column per number of seeds."""
    from rich.table import Table

    seeds = list(dict.fromkeys(design.num_seeds for design in plan.designs))
    rows: dict[int, dict[int, PlannedSize]] = {}
    for design in plan.designs:
        rows.setdefault(design.num_tasks, {})[design.num_seeds] = design
    table = Table(title=_title(plan), title_justify="left")
    table.add_column("tasks", justify="right")
    table.add_column("needed", justify="right")
    if _has_time(plan):
        table.add_column("time", justify="right")
    for number in seeds:
        table.add_column(f"{number} seeds", justify="right")
    for num_tasks, designs in rows.items():
        enough = plan.enough.get(num_tasks)
        needed = DASH if enough is None else f"{enough.num_seeds} seeds"
        cells = [thousands(num_tasks), needed]
        if _has_time(plan):
            cells.append(DASH if enough is None else seconds(Estimate(value=enough.seconds)))
        table.add_row(*cells, *(_cell(designs[number]) for number in seeds))
    return table


def plan_lines(plan: ComparisonPlan) -> Iterator[str]:
    """What the table rests on, and the cheapest design."""
    seed_sd = f"noise:  seeds vary by {100 * plan.seed_sd:.1f} points (SD)"
    if plan.seed_sd_degrees is not None and plan.seed_sd_high is not None:
        seed_sd += f", of {plan.seed_sd_degrees} degrees of freedom"
        seed_sd += f" (below {100 * plan.seed_sd_high:.1f} with 80 % probability)"
    yield f"{seed_sd}; single runs of two arms differ on {100 * plan.discordance:.0f} % of tasks"
    if plan.task_variance:
        between = 100 * math.sqrt(plan.task_variance)
        yield f"tasks:  the true difference varies from task to task by {between:.0f} points (SD)"
    if _has_time(plan):
        training = seconds(Estimate(value=plan.seconds_per_training))
        episode = seconds(Estimate(value=plan.seconds_per_episode))
        yield f"time:   {training} per training, {episode} per episode"
    else:
        yield "time:   not known; give seconds_per_training and seconds_per_episode, or a pilot"
    if not plan.enough:
        yield f"needed: more than {thousands(MOST_SEEDS)} seeds for each of these numbers of tasks"
    elif (best := plan.cheapest) is not None:
        design = f"{best.num_seeds} seeds per arm on {thousands(best.num_tasks)} tasks"
        yield f"needed: {design}, {seconds(Estimate(value=best.seconds))}, the least time of these"


def _title(plan: ComparisonPlan) -> str:
    goal = f"{100 * plan.goal:g} points"
    what = f"not worse by more than {goal}" if plan.is_margin else f"a difference of {goal}"
    return (
        f"Probability of showing {what}\n"
        f"Beside it: the points that are found with {100 * plan.power:g} %"
    )


def _cell(design: PlannedSize) -> str:
    # No two rates differ by more than 100 points.
    least = math.inf if design.minimum_detectable is None else 100 * design.minimum_detectable
    return f"{100 * design.power:.0f} %  {f'{least:4.1f}' if least <= 100 else DASH:>4}"


def _has_time(plan: ComparisonPlan) -> bool:
    return plan.seconds_per_training is not None and plan.seconds_per_episode is not None
