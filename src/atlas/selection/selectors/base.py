"""What a selector is: `trajectory + budget -> Selection`. Adding one is one file and one row in `SELECTORS`."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol, runtime_checkable

from atlas.lookup import look_up
from atlas.records import CriticalStep, Selection, Trajectory, Usage
from atlas.selection.config import SelectConfig
from atlas.store import Input

SELECTORS: dict[str, str] = {
    "all": "atlas.selection.selectors.all:AllSelector",
    "annotated": "atlas.selection.selectors.annotated:AnnotatedSelector",
    "complement": "atlas.selection.selectors.complement:ComplementSelector",
    "oracle": "atlas.selection.selectors.oracle:OracleSelector",
    "random": "atlas.selection.selectors.random:RandomSelector",
    "rules": "atlas.selection.selectors.rules:RulesSelector",
}


class Selector(Protocol):
    """Made as `Class(config, other)`, where `other` holds the selections of the run `config.of`, by trajectory id.

    What it selects depends on the trajectory, the budget and the config alone, never on the trajectories seen before.
    """

    def select(self, trajectory: Trajectory, budget: int) -> Selection | Awaitable[Selection]:
        """At most `budget` critical steps, or a `problem` and none; awaitable where a model is asked.

        A selector with a budget of its own (all steps, as many as another selection) says so in `Selection.budget`.

        Raises:
            EndpointError: no answer this time; the trajectory is asked for again when the run goes on.
        """
        ...


@runtime_checkable
class HasInputs(Protocol):
    """A selector whose choice was made from more than trajectories and config: a prompt, the weights of a model."""

    def inputs(self) -> dict[str, Input]: ...


@runtime_checkable
class HasClose(Protocol):
    """A selector that holds connections."""

    async def close(self) -> None: ...


def make_selector(config: SelectConfig, other: Mapping[str, Selection] | None = None) -> Selector:
    """The selector named in `SELECTORS`, or your own `package.module:Class`."""
    made: Selector = look_up("selector", config.selector, SELECTORS)(config, other or {})
    return made


def selection_of(
    trajectory: Trajectory,
    selector: str,
    budget: int,
    critical_steps: Iterable[CriticalStep] = (),
    problem: str | None = None,
    usage: Usage | None = None,
) -> Selection:
    """A Selection of `trajectory`, its critical steps brought into the order of the steps."""
    return Selection(
        trajectory_id=trajectory.id,
        selector=selector,
        num_steps=len(trajectory.steps),
        budget=budget,
        critical_steps=tuple(sorted(critical_steps, key=lambda step: step.index)),
        problem=problem,
        usage=usage or Usage(),
    )


def draw_steps(candidates: Iterable[int], budget: int, seed: int, trajectory_id: str) -> list[int]:
    """`budget` of the candidates at random, by a seed of their own: neither order nor number of trajectories matters.

    The steps with the smallest hashes win, so a larger budget keeps what a smaller one drew.
    """

    def lot(index: int) -> bytes:
        return hashlib.sha256(f"{seed} {index} {trajectory_id}".encode()).digest()

    return sorted(sorted(candidates, key=lot)[:budget])
