"""What select, train and export print about one selection of marked steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from atlas.cli.closing_lines import tell
from atlas.exporting.explain import describe_export
from atlas.exporting.export_selection import ExportConfig, export_selection
from atlas.kinds import Choice
from atlas.records import Annotation, Trajectory
from atlas.selection.select_steps import select_steps
from atlas.training.train_agent import train_agent
from tests.conftest import make_trajectory
from tests.run_folders import write_trajectories
from tests.selection.configs import select_config
from tests.training.small_runs import quick


@dataclass(frozen=True, slots=True)
class Told:
    """The printed texts, each on one line, and the summaries of the three commands."""

    texts: list[str]
    summaries: list[dict[str, Any]]


def run_the_three(
    folder: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    number: int,
    places: Collection[int],
    actions: Sequence[str] = ("go",) * 4,
) -> Told:
    """Select the marked steps of so many trajectories of four steps, train on them, export them.

    Args:
        places: the indices of the marked steps.
        actions: of the four steps.
    """

    def marked(name: str) -> Trajectory:
        made = make_trajectory(4, name)
        mark = Annotation(kinds=("critical_action",), score=1.0)
        steps = tuple(
            step.model_copy(
                update={"action": actions[place], "annotation": mark if place in places else None}
            )
            for place, step in enumerate(made.steps)
        )
        return made.model_copy(update={"steps": steps})

    run = write_trajectories(folder / "run", [marked(f"t{index}") for index in range(number)])
    chosen, tuned, out = (folder / name for name in ("chosen", "tuned", "rows.jsonl"))
    selected = select_steps(select_config("annotated", ratio=len(places) / 4), run, chosen)
    tell(selected, chosen)
    texts = [capsys.readouterr().out]
    trained = train_agent(quick(model), run, chosen, tuned)
    tell(trained, tuned)
    captured = capsys.readouterr()
    exported = export_selection(ExportConfig(dialect=Choice("openai")), run, chosen, out)
    texts += [captured.out, captured.err, describe_export(exported, out, [], "")]
    return Told(
        [" ".join(text.split()) for text in texts],
        [manifest.summary for manifest in (selected, trained, exported)],
    )
