"""Shows the progress of a training, and writes `metrics.jsonl` after each log."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from atlas.store.record_files import write_text
from atlas.terminal.progress import Bar

HELD_OUT_LOSS = "held_out_loss"


class LastStepLogger(TrainerCallback):
    """Logs the last optimizer step for any `log_every`. All ranks need it, to log together."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = control.should_log or state.global_step == state.max_steps


class HeldOutLogger(TrainerCallback):
    """Logs the loss on trajectories that are not trained on. All ranks need it.

    Args:
        log: computes and logs the loss.
    """

    def __init__(self, log: Callable[[], None], every: int) -> None:
        self._log, self._every = log, every

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # The history of a resumed run already has this loss.
        if state.global_step == 0:
            self._log()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._log()


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
            if "loss" in row or HELD_OUT_LOSS in row
        ]
        # A state that was read back has its keys sorted.
        ordered = [{"step": row["step"], **dict(sorted(row.items()))} for row in rows]
        write_text(self._metrics, "".join(json.dumps(row) + "\n" for row in ordered))
        names = {"loss": "loss", HELD_OUT_LOSS: "held out"}
        newest = {name: row[name] for row in rows for name in names if name in row}
        shown = (f"{names[name]} {value:.3f}" for name, value in newest.items())
        self._bar.update(state.global_step, ", ".join(shown))
