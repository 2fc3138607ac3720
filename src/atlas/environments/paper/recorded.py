"""What AgentGym's client writes before the first observation of the maze and of Wordle.

The long rules are a part of the first observation there. They are taken from imported trajectories.
"""

from __future__ import annotations

from atlas.environments.instruction import existing_folder, load_instruction
from atlas.errors import AtlasError, ConfigError
from atlas.records import Message
from atlas.store.readers import read_trajectories


def first_recorded_text(
    value: str | None, task_prefix: str, setting: str = "instruction"
) -> str | None:
    """The first observation of a run folder of imported trajectories; None for other values.

    Args:
        setting: the one that has this value.

    Raises:
        ConfigError: the folder cannot be used.
    """
    if value is None or existing_folder(value) is None:
        return None
    try:
        for trajectory in read_trajectories(value):
            if trajectory.task.id.startswith(task_prefix) and trajectory.steps:
                return "\n".join(message.content for message in trajectory.steps[0].observation)
    except AtlasError as error:
        raise ConfigError(f"{setting}={value}: {error}") from None
    raise ConfigError(f"{setting}={value}: it holds no trajectory of a task '{task_prefix}…'.")


def prompt_and_rules(
    value: str | None, default: str, task_prefix: str
) -> tuple[tuple[Message, ...], str | None]:
    """The prompt, and the first observation of imported trajectories, if the setting names them."""
    return load_instruction(value, default, task_prefix), first_recorded_text(value, task_prefix)
