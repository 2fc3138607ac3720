"""Layers of a selector: `small judge's selections -> those that count, and who decided`.

    OUT/small          the cheaper model's selections: a run folder of the same selector
    OUT/layers.jsonl   for each trajectory, the overlap and the layer that decided

The first layer costs nothing: `rules`, or another selection. The second is a cheaper model, asked
about every trajectory. Where the two overlap enough, the selection of the cheaper model counts.
Where they do not, or its answer cannot be used, the strong model is asked. An empty selection
agrees only with another empty one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from atlas.kinds import Choice
from atlas.models.payments import Payment
from atlas.records import SCHEMA_VERSION, Record, Selection
from atlas.selection.config import SelectConfig
from atlas.selection.costs import cost_usd, price_of
from atlas.selection.judging.judge_config import JudgeConfig
from atlas.selection.selectors.base import HasSmallJudge, Scorer, Selector
from atlas.store.readers import SELECTION_FILE, read_trajectories
from atlas.store.record_log import read_log

SMALL_RUN = "small"
LAYERS_FILE, SPENT_FILE = "layers.jsonl", "spent.jsonl"


class LayerDecision(Record):
    """Which layer decided about a trajectory.

    `overlap` is that of the cheaper model's selection with the check.
    """

    version: Literal[1] = SCHEMA_VERSION
    trajectory_id: str
    overlap: float
    decided_by: Literal["small", "model"]


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers below a strong model.

    Attributes:
        config: the settings of the cheaper model's run.
        small: the folder of that run.
    """

    selector: HasSmallJudge
    config: SelectConfig
    small: Path

    @property
    def out(self) -> Path:
        """The run folder of the strong model."""
        return self.small.parent

    @property
    def model(self) -> str:
        """The name of the cheaper model."""
        return str(self.config.selector.settings.model)


@dataclass(frozen=True, slots=True)
class Settled:
    """What the layers below the strong model decided so far.

    Attributes:
        selections: by trajectory id, the selections that count.
        overlaps: by trajectory id, in order, the overlap of each selection of the cheaper model.
    """

    selections: dict[str, Selection] = field(default_factory=dict)
    overlaps: dict[str, float] = field(default_factory=dict)

    def decisions(self) -> Iterator[LayerDecision]:
        for id_, overlap in self.overlaps.items():
            yield LayerDecision(
                trajectory_id=id_,
                overlap=round(overlap, 6),
                decided_by="small" if id_ in self.selections else "model",
            )


def layers_of(selector: Selector | Scorer, config: SelectConfig, out: Path) -> Layers | None:
    """The layers of a run, if its selector asks a cheaper model first."""
    if not isinstance(selector, HasSmallJudge) or (settings := selector.small_judge()) is None:
        return None
    choice = Choice(config.selector.name, settings)
    # With `retry_problems_of`, so that its cache and its batches do not give the same problems.
    below = config.model_copy(update={"selector": choice})
    return Layers(selector, below, out / SMALL_RUN)


def settle(layers: Layers, trajectories: Path, kept: Iterable[str] = ()) -> Settled:
    """Compare what the cheaper model has selected so far with the check.

    Args:
        kept: trajectories that are decided already, which are left out.
    """
    known = set(kept)
    found = read_log(layers.small / SELECTION_FILE, Selection)
    selections = {one.trajectory_id: one for one in found if one.trajectory_id not in known}
    own = read_log(layers.out / SELECTION_FILE, Selection)
    # An answer of the strong model, for example to a pilot, is not replaced.
    by_model = {one.trajectory_id for one in own if one != selections.get(one.trajectory_id)}
    settled = Settled()
    if not selections:
        return settled
    for trajectory in islice(read_trajectories(trajectories), layers.config.limit):
        if (selection := selections.get(trajectory.id)) is not None:
            overlap = layers.selector.overlap(trajectory, selection)
            settled.overlaps[trajectory.id] = overlap
            is_settled = selection.problem is None and layers.selector.is_settled(overlap)
            if is_settled and trajectory.id not in by_model:
                settled.selections[trajectory.id] = selection
    return settled


def paid_below(layers: Layers | None) -> float:
    """What the cheaper model was paid so far, in USD; 0 if its price is not known."""
    return 0.0 if layers is None else _paid(layers.config.selector.settings, layers.small)


def paid_above(layers: Layers) -> float:
    """What of the cheaper model's limit the strong model has spent, for example in a pilot, in USD.

    `small.max_cost_usd` limits the cheaper model only, `max_cost_usd` both together.
    """
    own, small = layers.selector.config, layers.config.selector.settings
    if own.max_cost_usd is None:
        return 0.0
    left = own.max_cost_usd - _paid(own, layers.out)
    return max(0.0, float(small.max_cost_usd) - left)


def _paid(config: JudgeConfig, run: Path) -> float:
    totals = read_log(run / SPENT_FILE, Payment)
    return cost_usd([Payment(), *totals][-1], price_of(config)) or 0.0


def summarize_layers(
    layers: Layers,
    settled: Settled,
    paid: Payment,
    small: Mapping[str, Any],
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """For the summary: how many trajectories each layer decided, what each cost, and the sums.

    Args:
        paid: what the strong model was paid.
        small, own: the summaries of the cheaper model's run and of the strong model.
    """
    below = Payment(
        **small["usage"],
        answered_by=small.get("answered_by", {}),
        estimated=small.get("usage_estimated_for", 0),
    )
    num_small = len(settled.selections)
    decided = [
        (layers.selector.checker, 0, Payment(), {"cost_usd": 0.0}),
        (layers.model, num_small, below, small),
        (layers.selector.config.model, len(settled.overlaps) - num_small, paid, own),
    ]
    each: list[dict[str, Any]] = [
        {"layer": name, "decided": count, "requests": payment.requests}
        | {key: summary[key] for key in ("cost_usd",) if key in summary}
        for name, count, payment, summary in decided
    ]
    asked = [one for one in each if one["requests"]]
    # The sum is known only if the price of every model that was asked is known.
    costs = [float(one["cost_usd"]) for one in asked if "cost_usd" in one]
    whole = round(sum(costs), 6) if len(costs) == len(asked) else None
    return {**(below + paid).summary(), "cost_usd": whole, "layers": each}
