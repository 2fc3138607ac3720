"""`atlas` in a process that fails somewhere, as FAIL says: PLACE, RANKS and HOW.

`FAIL=pass,1,error python -m tests.training.failing_ranks train …` under a launcher.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import tests.training.atlas_and_threads  # noqa: F401
from atlas.cli import main
from atlas.errors import ModelError
from atlas.training import base_predictions, train_agent, tune_model
from atlas.training.trainer import CriticalStepTrainer

PLACES: dict[str, tuple[Any, str]] = {
    "check": (train_agent, "_check"),
    "load": (tune_model, "_load"),
    "base": (base_predictions, "_compute"),
    "trainer": (tune_model, "_make_trainer"),
    "pass": (CriticalStepTrainer, "compute_loss"),
    "held_out": (CriticalStepTrainer, "log_held_out"),
    "state": (CriticalStepTrainer, "save_model"),
    "save": (train_agent, "save_checkpoint"),
}


def fails(act: Callable[..., Any], ranks: str, how: str) -> Callable[..., Any]:
    def replaced(*arguments: Any, **options: Any) -> Any:
        if os.environ["RANK"] in ranks:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ModelError("made to fail.") if how == "error" else ValueError("made to fail.")
        return act(*arguments, **options)

    return replaced


if __name__ == "__main__":
    place, ranks, how = os.environ["FAIL"].split(",")
    owner, name = PLACES[place]
    setattr(owner, name, fails(getattr(owner, name), ranks, how))
    main()
