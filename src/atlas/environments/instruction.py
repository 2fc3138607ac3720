"""The first messages of an episode: a text, a text file, or those of imported trajectories.

An agent that was tuned on a set of trajectories expects their instruction, word for word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from atlas.config import MAY_NAME_FILE
from atlas.errors import AtlasError, ConfigError
from atlas.records import Message
from atlas.store.readers import read_trajectories

# The type of a setting that is a text, a text file or a run folder.
TextOrFile = Annotated[str, MAY_NAME_FILE]
INSTRUCTION_HELP = (
    "the instruction: a text, the path of a text file, or a run folder of imported trajectories "
    "whose first messages are used; if none, a short text of atlas"
)


def load_instruction(value: str | None, default: str, task_prefix: str = "") -> tuple[Message, ...]:
    """The prompt of a world.

    Args:
        value: the setting `instruction`.
        default: the system message if the setting is not given.
        task_prefix: in a run folder, the first trajectory whose task's id starts so is used.

    Raises:
        ConfigError: the file or folder cannot be used.
    """
    if value is None:
        return (Message(role="system", content=default),)
    path = existing_path(value)
    if path is not None and path.is_dir():
        return _of_run(path, task_prefix)
    if path is not None:
        try:
            value = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"instruction={path}: cannot be read as text: {error}.") from None
    elif "\n" not in value and (value.endswith((".txt", ".md")) or " " not in value.strip()):
        raise ConfigError(
            f"instruction={value}: no such file or folder. Expected a text, the path of a "
            "text file, or a run folder of imported trajectories."
        )
    return (Message(role="system", content=value.strip()),)


def existing_path(value: str) -> Path | None:
    """The file or folder that a setting names; None if the value is something else."""
    path = Path(value)
    try:
        return path if path.exists() else None
    except OSError:
        # A text that is too long for the name of a file.
        return None


def existing_folder(value: str) -> Path | None:
    """The folder that a setting names; None if the value is something else."""
    path = existing_path(value)
    return path if path is not None and path.is_dir() else None


def _of_run(path: Path, task_prefix: str) -> tuple[Message, ...]:
    try:
        for trajectory in read_trajectories(path):
            if trajectory.task.id.startswith(task_prefix) and trajectory.prompt:
                return trajectory.prompt
    except AtlasError as error:
        raise ConfigError(f"instruction={path}: {error}") from None
    of_world = f" of a task '{task_prefix}…'" if task_prefix else ""
    raise ConfigError(f"instruction={path}: it holds no trajectory{of_world} with a prompt.")
