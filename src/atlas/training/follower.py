"""Shows the progress of a training, and writes `metrics.jsonl` after each log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from atlas.store.record_files import write_text
from atlas.terminal.progress import Bar


class LastStepLogger(TrainerCallback):
    """Logs the last optimizer step for any `log_every`. All ranks need it, to log together."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = control.should_log or state.global_step == state.max_steps


class RunFollower(TrainerCallback):
    """Writes the Trainer's own log history, so a resumed run gives the same file as any other."""

    def __init__(self, folder: Path, bar: Bar, epochs: float) -> None:
        self._metrics = folder / "metrics.jsonl"
        self._bar = bar
        # To the Trainer the whole schedule is one epoch.
        self._epochs = epochs

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        rows = [
            {**row, "epoch": row["epoch"] * self._epochs}
            for row in state.log_history
            if "loss" in row
        ]
        # A state that was read back has its keys sorted.
        ordered = [{"step": row["step"], **dict(sorted(row.items()))} for row in rows]
        write_text(self._metrics, "".join(json.dumps(row) + "\n" for row in ordered))
        if rows:
            self._bar.update(state.global_step, f"loss {rows[-1]['loss']:.3f}")
