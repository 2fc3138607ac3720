"""Two evaluations of the same tasks, a selection of one, and the viewer over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.records import (
    CriticalStep,
    Message,
    Outcome,
    Selection,
    Step,
    Task,
    ToolCall,
    Trajectory,
)
from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.meters import PLAIN_METERS, Meters
from atlas.viewing.web.sources import open_sources
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>\x1b[31m\u202e"


def played(name: str, status: str, *changes: tuple[int, str], steps: int = 6) -> Trajectory:
    """An episode of one task that acts otherwise at some steps."""
    made = make_trajectory(steps, name)
    changed = list(made.steps)
    for index, action in changes:
        content = f"Thought:\nI try something else.\n\nAction:\n{action}"
        response = Message(role="assistant", content=content)
        update = {"response": response, "action": action}
        changed[index] = changed[index].model_copy(update=update)
    outcome = Outcome(status=status, score=float(status == "success"))  # type: ignore[arg-type]
    return made.model_copy(update={"steps": tuple(changed), "outcome": outcome})


def calling(name: str, query: str, status: str) -> Trajectory:
    """An episode of one call."""
    call = ToolCall(id="1", name="search", arguments=f'{{"query": "{query}", "limit": 5}}')
    step = Step(
        observation=(Message(role="user", content=HOSTILE),),
        response=Message(role="assistant", tool_calls=(call,), reasoning=HOSTILE),
    )
    return Trajectory(
        id=f"{HOSTILE}/{name}",
        task=Task(id="calls/1", environment="test", goal=HOSTILE),
        steps=(step,),
        outcome=Outcome(status=status),  # type: ignore[arg-type]
        source=played("x", status).source,
    )


def make_runs(folder: Path) -> list[Path]:
    """The runs `before` and `after`, and the selection `critical` of `before`."""
    before = [
        played("room-1", "failure", (2, "go to blue door 2"), (3, "open the box")),
        played("room-2", "success"),
        played("room-3", "success"),
        calling("a", "red shoes", "failure"),
    ]
    after = [
        played("room-1", "success"),
        played("room-2", "failure", (5, "drop the ball"), steps=8),
        played("room-3", "success"),
        calling("b", "blue shoes", "success"),
    ]
    runs = [
        write_trajectories(folder / name, trajectories, "evaluate")
        for name, trajectories in (("before", before), ("after", after))
    ]
    selections = [
        Selection(
            trajectory_id=one.id,
            selector="test",
            num_steps=len(one.steps),
            budget=len(one.steps),
            critical_steps=(CriticalStep(index=len(one.steps) // 2),),
        )
        for one in before
    ]
    return [*runs, write_selections(folder / "critical", selections, runs[0])]


def open_viewer(
    folder: Path, meters: Meters = PLAIN_METERS, **settings: Any
) -> tuple[Any, Library]:
    """The application over these runs and one of another task, and its library."""
    made = make_runs(folder / "runs")
    apart = write_trajectories(folder / "runs/apart", [played("hall", "success")], "evaluate")
    library = Library(open_sources([apart, *made]), folder / "index")
    config = ViewConfig(**settings)
    labels = LabelStore(folder / "labels.sqlite")
    return make_app(library, labels, config, meters=meters), library
