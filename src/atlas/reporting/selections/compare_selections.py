"""Second opinion: `selections of the same trajectories -> how far they agree, beyond chance, and how each differs from random`.

    OUT/comparison.json   every number
    OUT/comparison.md     the same as tables
    OUT/positions.svg     where in a trajectory each selection chooses, by kind

A person's labels count as one more selection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from atlas.config import BY_CONTENT, Config
from atlas.errors import DataError
from atlas.models.local.load import load_renderer, locate_model
from atlas.records import CRITICAL_KINDS, CriticalKind, Message, Problem, Selection, Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.reporting.selections.comparison import (
    BINS,
    PARTS,
    Comparison,
    KindOverlap,
    Pair,
    PositionBin,
    Profile,
)
from atlas.reporting.selections.comparison_text import write_markdown
from atlas.reporting.selections.plot_positions import import_figure, plot_positions
from atlas.statistics.agreement import CONFIDENCE, Overlap, bootstrap_mean, measure_agreement
from atlas.store.readers import read_selections, read_trajectories
from atlas.store.record_files import write_text
from atlas.store.run_folders import (
    Manifest,
    Run,
    read_manifest,
    relative_path,
    run_input,
    start_run,
)

COMPARISON_FILE = "comparison.json"

Selections = Mapping[str, Selection]
Lengths = tuple[float, ...]  # how much of each step would be supervised


class CompareConfig(Config):
    """Which selections are compared."""

    selections: Annotated[tuple[Path, ...], BY_CONTENT] = Field(
        description="run folders of select, all made from the same trajectories"
    )
    names: tuple[str, ...] = Field(
        (),
        description="how the selections are called, in their order; the names of the folders, if none",
    )
    trajectories: Annotated[Path | None, BY_CONTENT] = Field(
        None,
        description="the run that they were made from; where the first selection says, if none",
    )
    tokenizer: str | None = Field(
        None, description="count supervised tokens of this model instead of characters"
    )
    plot: bool = Field(True, description="draw positions.svg (needs matplotlib)")
    seed: int = Field(0, description="of the resampling")

    @field_validator("selections")
    @classmethod
    def _several_each_once(cls, selections: tuple[Path, ...]) -> tuple[Path, ...]:
        if len(selections) < 2:
            raise ValueError(
                "a comparison is of two or more selection runs. Give another, a control perhaps: atlas select --selector random"
            )
        if len(set(selections)) < len(selections):
            raise ValueError("a selection run is named twice, expected each once")
        return selections


def compare_selections(config: CompareConfig, out: Path) -> Manifest:
    """Compare the selection runs of `config` into the run folder `out`.

    Raises:
        RunError: a run is missing or unfinished, or the selections were made from different trajectories.
        DataError: no trajectory has a selection without a problem in both of any two runs, or two selections have one name.
        DependencyError: a plot is wanted and matplotlib is not installed, or a tokenizer is and transformers is not.
    """
    if config.plot:
        import_figure()
    trajectories = config.trajectories or _made_from(config.selections[0])
    names = _names(config)
    inputs = {"trajectories": run_input(trajectories, out)}
    inputs |= {
        name: run_input(run, out, ("select",))
        for name, run in zip(names, config.selections, strict=True)
    }
    selections = {
        name: read_selections(run, trajectories)
        for name, run in zip(names, config.selections, strict=True)
    }
    with start_run(out, "compare-selections", _without_paths(config, out), inputs) as run:
        return run.manifest if run.finished else _write(run, config, trajectories, selections)


def read_comparison(run: Path) -> Comparison:
    """What a finished run of compare-selections found."""
    read_manifest(run, ("compare-selections",))
    return Comparison.model_validate_json((run / COMPARISON_FILE).read_bytes())


def _made_from(selection: Path) -> Path:
    return selection / read_manifest(selection, ("select",)).inputs["trajectories"].path


def _names(config: CompareConfig) -> list[str]:
    names = list(config.names) or [run.resolve().name for run in config.selections]
    if len(names) != len(config.selections):
        raise DataError(
            f"{len(names)} names are given for {len(config.selections)} selections, expected one for each. Give as many names=[…]."
        )
    for name in names:
        if names.count(name) > 1 or name == "trajectories":
            raise DataError(
                f"a selection cannot be called '{name}' here: the name is taken. Give names=[…], one of its own for each selection."
            )
    return names


def _without_paths(config: CompareConfig, out: Path) -> CompareConfig:
    """The config with every path as seen from the run folder: no path of a machine in it."""
    trajectories = config.trajectories and Path(relative_path(config.trajectories, out))
    selections = tuple(Path(relative_path(run, out)) for run in config.selections)
    return config.model_copy(update={"selections": selections, "trajectories": trajectories})


def _write(
    run: Run, config: CompareConfig, trajectories: Path, selections: Mapping[str, Selections]
) -> Manifest:
    measure = _measure(config.tokenizer)
    lengths = {trajectory.id: measure(trajectory) for trajectory in read_trajectories(trajectories)}
    comparison = Comparison(
        num_trajectories=len(lengths),
        num_steps=sum(map(len, lengths.values())),
        measure="tokens" if config.tokenizer else "characters",
        confidence=CONFIDENCE,
        profiles=tuple(
            _profile(name, chosen, lengths, config.seed) for name, chosen in selections.items()
        ),
        pairs=tuple(
            _pair(first, second, selections, config.seed)
            for first, second in combinations(selections, 2)
        ),
    )
    write_text(run.path / COMPARISON_FILE, comparison.model_dump_json(indent=1) + "\n")
    write_text(run.path / "comparison.md", write_markdown(comparison))
    if config.plot:
        write_text(run.path / "positions.svg", plot_positions(comparison))
    run.write_problems(_problems(selections))
    return run.finish(
        {
            "trajectories": comparison.num_trajectories,
            "steps": comparison.num_steps,
            "selections": len(comparison.profiles),
            "pairs": len(comparison.pairs),
        }
    )


def _problems(selections: Mapping[str, Selections]) -> Iterator[Problem]:
    for name, chosen in selections.items():
        for selection in chosen.values():
            if selection.problem is not None:
                yield Problem(
                    where=f"{name}: trajectory {selection.trajectory_id}",
                    reason=selection.problem,
                    item=selection.trajectory_id,
                )


def _measure(tokenizer: str | None) -> Callable[[Trajectory], Lengths]:
    """What makes lengths of a trajectory's steps."""
    if tokenizer is None:
        return lambda trajectory: tuple(
            float(_num_characters(step.response)) for step in trajectory.steps
        )
    renderer = load_renderer(locate_model(tokenizer))
    return lambda trajectory: _num_tokens(renderer, trajectory)


def _num_characters(response: Message) -> int:
    calls = sum(len(call.name) + len(call.arguments) for call in response.tool_calls)
    return len(response.content) + len(response.reasoning or "") + calls


def _num_tokens(renderer: Renderer, trajectory: Trajectory) -> Lengths:
    """The supervised tokens of each step, its end of turn included."""
    counts = [0.0] * len(trajectory.steps)
    for example in renderer.tokenize_trajectory(trajectory):
        for step in example.steps:
            counts[step] = float(loss_mask(example, [step]).sum())
    return tuple(counts)


def _profile(
    name: str, selections: Selections, lengths: Mapping[str, Lengths], seed: int
) -> Profile:
    known = [
        (selection, lengths[id_])
        for id_, selection in selections.items()
        if selection.problem is None
    ]
    sums = np.array(
        [
            (
                sum(sizes[index] for index in selection.indices),
                sum(sizes),
                len(selection.indices) / len(sizes) * sum(sizes) if sizes else 0.0,
                sum(_position(index, len(sizes)) for index in selection.indices),
                len(selection.indices),
            )
            for selection, sizes in known
        ],
        dtype=np.float64,
    ).reshape(-1, 5)
    steps = [step for selection, _ in known for step in selection.critical_steps]
    total = sums[:, 1].sum()
    return Profile(
        name=name,
        selector=next(iter(selections.values())).selector,
        num_trajectories=len(known),
        num_problems=len(selections) - len(known),
        num_steps=sum(len(sizes) for _, sizes in known),
        num_selected=len(steps),
        kinds={
            kind: count
            for kind in CRITICAL_KINDS
            if (count := sum(kind in step.kinds for step in steps))
        },
        supervised_share=bootstrap_mean(sums[:, 0], sums[:, 1], seed),
        random_supervised_share=round(float(sums[:, 2].sum() / total), 6) if total else None,
        mean_position=bootstrap_mean(sums[:, 3], sums[:, 4], seed),
        bins=_bins([selection for selection, _ in known]),
    )


def _bins(selections: Sequence[Selection]) -> tuple[PositionBin, ...]:
    num_steps, num_selected, expected, no_kind = ([0.0] * BINS for _ in range(4))
    kinds: list[dict[CriticalKind, int]] = [dict.fromkeys(CRITICAL_KINDS, 0) for _ in range(BINS)]
    for selection in selections:
        for index in range(selection.num_steps):
            place = _part(index, selection.num_steps, BINS)
            num_steps[place] += 1
            expected[place] += len(selection.indices) / selection.num_steps
        for step in selection.critical_steps:
            place = _part(step.index, selection.num_steps, BINS)
            num_selected[place] += 1
            no_kind[place] += not step.kinds
            for kind in step.kinds:
                kinds[place][kind] += 1
    return tuple(
        PositionBin(
            num_steps=int(num_steps[place]),
            num_selected=int(num_selected[place]),
            expected_selected=round(expected[place], 6),
            kinds=kinds[place],
            no_kind=int(no_kind[place]),
        )
        for place in range(BINS)
    )


def _pair(first: str, second: str, selections: Mapping[str, Selections], seed: int) -> Pair:
    both = [
        (one, other)
        for id_, one in selections[first].items()
        if one.problem is None and (other := selections[second][id_]).problem is None
    ]
    if not both:
        raise DataError(
            f"no trajectory has a selection without a problem in both {first} and {second}, so they cannot be compared."
        )

    def overlaps(part: int | None) -> Iterator[Overlap]:
        for one, other in both:
            inside = frozenset(
                index
                for index in range(one.num_steps)
                if part is None or _part(index, one.num_steps, len(PARTS)) == part
            )
            yield Overlap(
                one.trajectory_id, one.indices & inside, other.indices & inside, len(inside)
            )

    return Pair(
        first=first,
        second=second,
        agreement=measure_agreement(overlaps(None), seed),
        by_position={
            name: measure_agreement(overlaps(part), seed) for part, name in enumerate(PARTS)
        },
        by_kind=(
            *_kind_overlaps(first, second, both),
            *_kind_overlaps(second, first, [(other, one) for one, other in both]),
        ),
    )


def _kind_overlaps(
    of: str, by: str, both: Sequence[tuple[Selection, Selection]]
) -> Iterator[KindOverlap]:
    for kind in CRITICAL_KINDS:
        found = [
            (step.index in other.indices, len(other.indices) / other.num_steps)
            for one, other in both
            for step in one.critical_steps
            if kind in step.kinds
        ]
        if found:
            expected = round(sum(chance for _, chance in found), 6)
            yield KindOverlap(
                of=of,
                by=by,
                kind=kind,
                num_steps=len(found),
                num_found=sum(hit for hit, _ in found),
                expected_found=expected,
            )


def _position(index: int, num_steps: int) -> float:
    """The middle of a step, from 0 (start) to 1 (end)."""
    return (index + 0.5) / num_steps


def _part(index: int, num_steps: int, num_parts: int) -> int:
    """Which of so many equal parts of the trajectory the middle of a step lies in."""
    return (2 * index + 1) * num_parts // (2 * num_steps)
