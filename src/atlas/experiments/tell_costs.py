"""What the models that select steps would be paid: `stages -> lines`. Nothing is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.experiments.run_stages import Stage
from atlas.selection.estimate_cost import estimate_cost
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.select_steps import SelectConfig


def tell_costs(stages: Sequence[Stage]) -> Iterator[str]:
    """One line for each selection that asks a model and is not finished."""
    for stage in stages:
        config = stage.config
        if not isinstance(config, SelectConfig) or stage.is_finished:
            continue
        if not isinstance(config.selector.settings, JudgeConfig):
            continue
        trajectories = stage.needs[0]
        if not (trajectories / "manifest.json").exists():
            yield f"{stage.title}: asks {config.selector.settings.model}; its cost is known once"
            yield "  the trajectories are there. Run this again then"
            continue
        found = estimate_cost(config, trajectories, stage.out)
        cost = "no price is known" if found.cost_usd is None else f"about {found.cost_usd:.2f} USD"
        yield (
            f"{stage.title}: {found.usage.requests:,} questions to "
            f"{config.selector.settings.model}, {found.usage.input_tokens:,} tokens to read and at "
            f"most {found.usage.output_tokens:,} to write: {cost}"
        )
