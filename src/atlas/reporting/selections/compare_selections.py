"""Compare selections: `selections of the same trajectories -> agreement beyond chance`.

    OUT/comparison.json every number OUT/comparison.md the numbers as tables OUT/positions.svg
    positions of the selected steps, by kind

A person's labels count as one more selection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from atlas.config import BY_CONTENT, Config, StrPath
from atlas.errors import DataError
from atlas.models.local.load import load_renderer, locate_model, rendering_inputs
from atlas.presenting.svg import for_file, require_matplotlib
from atlas.records import Message, Problem, Trajectory
from atlas.rendering.chat_templates.stock import CHAT_TEMPLATE_HELP
from atlas.rendering.count_unwritten import UnwrittenCount, count_unwritten
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.token_ownership import TokenizedExample
from atlas.rendering.tool_schemas import TOOLS_HELP, read_tools, with_tools
from atlas.reporting.selections.measure_selections import (
    Lengths,
    Selections,
    measure_pair,
    measure_selection,
)
from atlas.reporting.selections.plot_positions import plot_selected_positions
from atlas.reporting.selections.selection_comparison import SelectionComparison
from atlas.reporting.selections.selection_tables import comparison_markdown
from atlas.statistics.bootstrap import CONFIDENCE
from atlas.statistics.task_unit import task_of
from atlas.store.readers import limits_of, read_selections, read_trajectories
from atlas.store.record_files import write_text
from atlas.store.run_folders import (
    Manifest,
    Run,
    read_manifest,
    relative_path,
    run_input,
    start_run,
)
from atlas.terminal.progress import say

COMPARISON_FILE = "comparison.json"


class CompareConfig(Config):
    """Which selections are compared."""

    selections: Annotated[tuple[Path, ...], BY_CONTENT] = Field(
        description="run folders of select, all made from the same trajectories"
    )
    names: tuple[str, ...] = Field(
        default=(),
        description="one name per selection, in the same order; if none, the names of the folders",
    )
    trajectories: Annotated[Path | None, BY_CONTENT] = Field(
        default=None,
        description="the run that the selections were made from; if none, the input of the "
        "first selection",
    )
    tokenizer: str | None = Field(
        default=None,
        description="a model whose tokenizer counts the supervised tokens; if none, "
        "characters are counted",
    )
    chat_template: Annotated[str | None, BY_CONTENT] = Field(
        default=None, description=CHAT_TEMPLATE_HELP
    )
    tools: Annotated[str | None, BY_CONTENT] = Field(default=None, description=TOOLS_HELP)
    plot: bool = Field(default=True, description="draw positions.svg (needs matplotlib)")

    @field_validator("selections")
    @classmethod
    def _several_each_once(cls, selections: tuple[Path, ...]) -> tuple[Path, ...]:
        if len(selections) < 2:
            raise ValueError(
                "expected two or more selection runs. Give another one, for example a control: "
                "atlas select --selector random"
            )
        if len(set(selections)) < len(selections):
            raise ValueError("a selection run is named twice, expected each once")
        return selections

    def needed_extras(self) -> tuple[str, ...]:
        return ("report",) + ("train",) * (self.tokenizer is not None)


def compare_selections(config: CompareConfig, out: StrPath) -> Manifest:
    """Compare the selection runs of `config` into the run folder `out`.

    Raises:
        RunError: a run is missing or unfinished, or was made from other trajectories.
        DataError: two runs have no common trajectory without a problem, or have the same name.
        DependencyError: matplotlib (for the plot) or transformers (for the tokenizer) is missing.
    """
    out = Path(out)
    if config.plot:
        require_matplotlib()
    trajectories = config.trajectories or _made_from(config.selections[0])
    runs = dict(zip(_names(config), config.selections, strict=True))
    inputs = {"trajectories": run_input(trajectories, out)}
    inputs |= {name: run_input(run, out, ("select",)) for name, run in runs.items()}
    inputs |= rendering_inputs(out, config.chat_template, config.tools)
    selections = {name: dict(read_selections(run, trajectories)) for name, run in runs.items()}
    with start_run(out, "compare-selections", _without_paths(config, out), inputs) as run:
        return run.manifest if run.finished else _write(run, config, trajectories, selections)


def read_comparison(run: StrPath) -> SelectionComparison:
    """The result of a finished run of compare-selections."""
    read_manifest(run, ("compare-selections",))
    return SelectionComparison.model_validate_json((Path(run) / COMPARISON_FILE).read_bytes())


def _made_from(selection: Path) -> Path:
    return selection / read_manifest(selection, ("select",)).inputs["trajectories"].path


def _names(config: CompareConfig) -> list[str]:
    names = list(config.names) or [run.resolve().name for run in config.selections]
    if len(names) != len(config.selections):
        raise DataError(
            f"{len(names)} names for {len(config.selections)} selections: expected one for each. "
            "Give as many names=[…]."
        )
    for name in names:
        if names.count(name) > 1 or name == "trajectories":
            raise DataError(
                f"the name '{name}' of a selection is taken: expected a different name for each. "
                "Give names=[…]."
            )
    return names


def _without_paths(config: CompareConfig, out: Path) -> CompareConfig:
    trajectories = config.trajectories and Path(relative_path(config.trajectories, out))
    selections = tuple(Path(relative_path(run, out)) for run in config.selections)
    given = rendering_inputs(out, config.chat_template, config.tools)
    return config.model_copy(
        update={
            "selections": selections,
            "trajectories": trajectories,
            **{name: one.path for name, one in given.items()},
        }
    )


def _write(
    run: Run, config: CompareConfig, trajectories: Path, selections: Mapping[str, Selections]
) -> Manifest:
    tasks: dict[str, str] = {}
    lengths = _measure_all(config, _note_tasks(read_trajectories(trajectories), tasks))
    profiles = [measure_selection(*each, lengths, tasks) for each in selections.items()]
    pairs = [measure_pair(*pair, selections, tasks) for pair in combinations(selections, 2)]
    comparison = SelectionComparison(
        num_trajectories=len(lengths),
        num_tasks=len(set(tasks.values())),
        num_steps=sum(map(len, lengths.values())),
        measure="tokens" if config.tokenizer else "characters",
        confidence=CONFIDENCE,
        profiles=tuple(profiles),
        pairs=tuple(pairs),
    )
    write_text(run.path / COMPARISON_FILE, comparison.model_dump_json(indent=1) + "\n")
    plot = plot_selected_positions(comparison) if config.plot else None
    write_text(run.path / "comparison.md", comparison_markdown(comparison, plot))
    if plot is not None:
        write_text(run.path / f"{plot.name}.svg", for_file(plot.svg))
    run.write_problems(_problems(selections))
    summary = {
        "trajectories": comparison.num_trajectories,
        "tasks": comparison.num_tasks,
        "steps": comparison.num_steps,
        "selections": len(profiles),
        "pairs": len(pairs),
    }
    limits = limits_of(*config.selections, trajectories)
    return run.finish(summary | ({"limited": "; ".join(limits)} if limits else {}))


def _problems(selections: Mapping[str, Selections]) -> Iterator[Problem]:
    for name, chosen in selections.items():
        for id_, selection in chosen.items():
            if selection.problem is not None:
                where = f"{name}: trajectory {id_}"
                yield Problem(where=where, reason=selection.problem, item=id_)


def _note_tasks(trajectories: Iterable[Trajectory], tasks: dict[str, str]) -> Iterator[Trajectory]:
    """The trajectories, while `tasks` gets the task of each by its id."""
    for trajectory in trajectories:
        tasks[trajectory.id] = task_of(trajectory)
        yield trajectory


def _measure_all(config: CompareConfig, trajectories: Iterable[Trajectory]) -> dict[str, Lengths]:
    """The lengths of all trajectories by id. What the chat template does not write is said."""
    if config.tokenizer is None:
        return {trajectory.id: _count_characters(trajectory) for trajectory in trajectories}
    renderer = load_renderer(locate_model(config.tokenizer), config.chat_template)
    tools, unwritten = read_tools(config.tools), UnwrittenCount()
    lengths: dict[str, Lengths] = {}
    for trajectory in trajectories:
        examples = renderer.tokenize_trajectory(with_tools(trajectory, tools))
        num_steps = len(trajectory.steps)
        lengths[trajectory.id] = _count_tokens(examples, num_steps)
        unwritten += count_unwritten(examples, renderer, range(num_steps))
    for note in unwritten.notes(renderer):
        say(note)
    return lengths


def _count_characters(trajectory: Trajectory) -> Lengths:
    def measure(response: Message) -> float:
        calls = sum(len(call.name) + len(call.arguments) for call in response.tool_calls)
        return float(len(response.content) + len(response.reasoning or "") + calls)

    return tuple(measure(step.response) for step in trajectory.steps)


def _count_tokens(examples: Iterable[TokenizedExample], num_steps: int) -> Lengths:
    """The supervised tokens of each step, its end of turn included."""
    counts = [0.0] * num_steps
    for example in examples:
        for step in example.steps:
            counts[step] = float(loss_mask(example, [step]).sum())
    return tuple(counts)
