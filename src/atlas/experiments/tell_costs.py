"""What the models that select steps would be paid: `stages -> lines`. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.experiments.run_stages import Stage
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.plan_selection import plan_selection
from atlas.selection.select_steps import SelectConfig
from atlas.selection.selectors.base import SELECTOR


def tell_costs(stages: Sequence[Stage]) -> Iterator[str]:
    """One line for each selection that asks a model and is not finished."""
    left = {stage.out for stage in stages if not stage.is_finished}
    for stage in stages:
        config = stage.config
        if not isinstance(config, SelectConfig) or stage.out not in left:
            continue
        has_plan = hasattr(SELECTOR.find(config.selector.name), "plan")
        if not has_plan and not isinstance(config.selector.settings, JudgeConfig):
            continue
        if missing := [folder for folder in stage.needs if folder in left]:
            yield (
                f"{stage.title}: asks a model; its cost is known once {missing[0]} is finished. Run"
                " this again then"
            )
            continue
        trajectories = stage.needs[0]
        if has_plan:
            plan = plan_selection(config, trajectories, stage.out) or []
            yield from (f"{stage.title}: {line}" for line in plan)
            continue
        assert isinstance(config.selector.settings, JudgeConfig)
        found = estimate_cost(config, trajectories, stage.out)
        if not found.usage.requests:
            continue
        cost = "no price is known" if found.cost_usd is None else f"about {found.cost_usd:.2f} USD"
        yield (
            f"{stage.title}: {found.usage.requests:,} questions to "
            f"{config.selector.settings.model}, {found.usage.input_tokens:,} tokens to read and at "
            f"most {found.usage.output_tokens:,} to write: {cost}"
        )
