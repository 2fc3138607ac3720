"""Run folders of trajectories with tool calls, and settings files for them."""

from __future__ import annotations

import json
from pathlib import Path

from atlas.records import CriticalStep, Message, Selection, Step, ToolCall, Trajectory
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories

SCHEMA = {
    "type": "function",
    "function": {
        "name": "open",
        "description": "Open a door.",
        "parameters": {"type": "object", "properties": {"door": {"type": "integer"}}},
    },
}


def call_trajectory(name: str = "t") -> Trajectory:
    """Steps: words beside a call, a call, a last answer. It has no schemas."""

    def step(number: int, seen: Message, text: str, *, calls: bool = True) -> Step:
        call = ToolCall(id=f"call0000{number}", name="open", arguments=f'{{"door": {number}}}')
        response = Message(role="assistant", content=text, tool_calls=(call,) if calls else ())
        return Step(observation=(seen,), response=response)

    def result(number: int) -> Message:
        return Message(
            role="tool", content=f"Door {number} is open.", tool_call_id=f"call0000{number}"
        )

    steps = (
        step(0, Message(role="user", content="Open the doors."), "I open one."),
        step(1, result(0), ""),
        step(2, result(1), "Done.", calls=False),
    )
    return make_trajectory(0, name).model_copy(update={"steps": steps})


def call_runs(folder: Path, *indices: int, num: int = 4) -> tuple[Path, Path]:
    """Trajectories with calls, and a selection of the steps at `indices` of each."""
    made = [call_trajectory(f"t{number}") for number in range(num)]
    run = write_trajectories(folder / "trajectories", made)
    chosen = tuple(CriticalStep(index=index) for index in indices)
    selections = [
        Selection(
            trajectory_id=one.id, selector="test", num_steps=3, budget=3, critical_steps=chosen
        )
        for one in made
    ]
    return run, write_selections(folder / "selection", selections, run)


def tools_file(folder: Path) -> str:
    path = folder / "tools.json"
    path.write_text(json.dumps([SCHEMA]), encoding="utf-8")
    return str(path)
