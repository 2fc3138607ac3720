"""What a training leaves on disk: states that an interrupted run goes on from, and the checkpoint, whole or not at all."""

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
ROOM = 2**20  # bytes: with less room than this left, a failed write is taken for a full disk


def newest_state(folder: Path) -> str | None:
    """The newest state that is whole: the Trainer writes trainer_state.json last, and a disk may have spoilt a file since."""
    states = sorted(
        folder.glob("checkpoint-*"), key=lambda state: int(state.name.split("-")[1]), reverse=True
    )
    return next((str(state) for state in states if _is_whole(state)), None)


def save_checkpoint(
    folder: Path, model: Any, weights: dict[str, Any] | None, tokenizer: Any, card: str
) -> None:
    """Model, tokenizer and model card into `folder`; safetensors.

    Args:
        weights: the whole state of a model whose own is sharded; None: the model's own.
    """
    temporary, final = folder / f"{CHECKPOINT_FOLDER}.partial", folder / CHECKPOINT_FOLDER
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary, **({} if weights is None else {"state_dict": weights}))
    tokenizer.save_pretrained(temporary)
    (temporary / "README.md").write_text(card, encoding="utf-8")  # over the one that PEFT writes
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)


@contextmanager
def full_disk_is_an_os_error(folder: Path) -> Iterator[None]:
    """safetensors and torch name a full disk each in their own way, torch not even as such."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if "No space left" in str(error) or shutil.disk_usage(folder).free < ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _is_whole(state: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        json.loads((state / "trainer_state.json").read_text(encoding="utf-8"))
        for weights in state.glob("*.safetensors"):
            with safe_open(
                weights, "pt"
            ):  # says no to a file whose length is not what its head says
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(
        zipfile.is_zipfile(file) for file in (*state.glob("*.pt"), *state.glob("*.pth"))
    )  # torch's own files
