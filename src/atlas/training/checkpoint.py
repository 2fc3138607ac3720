"""The files of a training: states to resume from, and the final checkpoint."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas.models.local.load import CHECKPOINT_FOLDER

RESUME_FOLDER = "resume.partial"
# If a write fails with less free space (in bytes) than this, the disk is considered full.
FULL_DISK_BYTES = 2**20


def newest_state(folder: Path) -> str | None:
    """The newest complete state.

    The Trainer writes trainer_state.json last, but a disk may have damaged a file since.
    """
    states = sorted(
        folder.glob("checkpoint-*"), key=lambda state: int(state.name.split("-")[1]), reverse=True
    )
    return next((str(state) for state in states if _is_complete(state)), None)


def save_checkpoint(
    folder: Path, model: Any, weights: dict[str, Any] | None, tokenizer: Any, card: str
) -> None:
    """Write model (safetensors), tokenizer and model card into `folder`, all or nothing.

    Args:
        weights: the gathered weights of a sharded model; None: the model's own.
    """
    temporary, final = folder / f"{CHECKPOINT_FOLDER}.partial", folder / CHECKPOINT_FOLDER
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary, **({} if weights is None else {"state_dict": weights}))
    tokenizer.save_pretrained(temporary)
    # This overwrites the card that PEFT writes.
    (temporary / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    temporary.replace(final)


@contextmanager
def full_disk_is_an_os_error(folder: Path) -> Iterator[None]:
    """Convert the errors of safetensors and torch for a full disk to OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if "No space left" in str(error) or shutil.disk_usage(folder).free < FULL_DISK_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _is_complete(state: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        json.loads((state / "trainer_state.json").read_text(encoding="utf-8"))
        for weights in state.glob("*.safetensors"):
            # Opening refuses a file whose length differs from what its header says.
            with safe_open(weights, "pt"):
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    # The files of torch are zip archives.
    return all(zipfile.is_zipfile(file) for file in (*state.glob("*.pt"), *state.glob("*.pth")))
