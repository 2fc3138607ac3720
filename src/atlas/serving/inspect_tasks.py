"""Environments as tasks of Inspect: `inspect eval atlas/babyai --model openai/gpt-4o`.

Inspect imports this module by the entry point `inspect_ai` of the package. Each row of the table of
environments is a task; its settings are task arguments (`-T max_steps=30`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from inspect_ai import Task as InspectTask
from inspect_ai import task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.util import registry_info
from pydantic import Field

from atlas.config import Config, check_config, require_installed
from atlas.environments.base import ENVIRONMENT, ENVIRONMENTS
from atlas.environments.checked import list_tasks
from atlas.environments.worlds import Limits, ask_world
from atlas.errors import AtlasError, ConfigError
from atlas.kinds import Choice
from atlas.records import Task
from atlas.serving.inspect_solver import play_episode, score, success


class InspectTaskConfig(Config):
    """What the task of an environment plays."""

    environment: Annotated[Choice, ENVIRONMENT] = Field(
        default=Choice("babyai"), description="the environment"
    )
    split: str = Field(default="held_in_test", description="the split of its tasks")
    episodes: int = Field(default=100, ge=1, description="number of tasks")
    seed: int = Field(default=0, ge=0, description="seed for the choice of tasks")
    limits: Limits = Field(default=Limits(), description="time limits of the environment")


def inspect_task(environment: str, arguments: dict[str, Any]) -> InspectTask:
    """The task of an environment.

    Args:
        arguments: settings of `InspectTaskConfig`, and of the environment.

    Raises:
        PrerequisiteError: an argument is wrong, or a package is missing.
    """
    from inspect_ai._util.error import PrerequisiteError

    try:
        arguments = _nested(arguments)
        own = arguments.keys() & InspectTaskConfig.model_fields.keys()
        settings = {key: value for key, value in arguments.items() if key not in own}
        values: dict[str, Any] = {key: arguments[key] for key in own}
        values["environment"] = {"name": environment, **settings}
        if "environment" in own:
            raise ConfigError(f"atlas/{environment}: leave out the argument 'environment'.")
        config = check_config(InspectTaskConfig, values, f"atlas/{environment}")
        require_installed(config)
        tasks = ask_world(
            config.environment,
            lambda world: list_tasks(world, config.split, config.episodes, config.seed),
            config.limits,
            lists_tasks=True,
        )
    except AtlasError as error:
        raise PrerequisiteError(str(error)) from None
    written = config.model_dump(mode="json")
    written["environment"].pop("name")
    return InspectTask(
        dataset=MemoryDataset(
            [_sample(one) for one in tasks], name=f"{environment}-{config.split}"
        ),
        solver=play_episode(environment, written["environment"], written["limits"]),
        scorer=[success(), score()],
        # A world that breaks costs its own episode.
        fail_on_error=False,
        metadata={"environment": environment, "split": config.split, "seed": config.seed},
    )


def _nested(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments in which `outcome.by` is the key `by` of `outcome`, as on the command line."""
    found: dict[str, Any] = {}
    for key, value in arguments.items():
        *path, last = key.split(".")
        inner = found
        for name in path:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"argument '{key}': '{name}' is a value, not a section.")
        inner[last] = value
    return found


def _sample(one: Task) -> Sample:
    return Sample(
        id=one.id,
        input=one.goal or one.id,
        # Flat, so that a log which is imported still names split, seed and group.
        metadata=one.model_dump(mode="json"),
    )


def _register(name: str, make: Callable[..., InspectTask]) -> None:
    """Register a task as `atlas/NAME`.

    Inspect adds the name of the package only to packages whose distribution has the same name, or
    that are not installed in editable mode.
    """
    made = task(name=name)(make)
    if registry_info(made).name == name:
        task(name=f"atlas/{name}")(make)


def _task_of(environment: str) -> Callable[..., InspectTask]:
    def environment_task(
        split: str = "held_in_test", episodes: int = 100, seed: int = 0, **settings: Any
    ) -> InspectTask:
        return inspect_task(
            environment, {"split": split, "episodes": episodes, "seed": seed, **settings}
        )

    return environment_task


def any_environment(
    name: str, split: str = "held_in_test", episodes: int = 100, seed: int = 0, **settings: Any
) -> InspectTask:
    """An environment from outside: `inspect eval atlas/environment -T name=my_lab.door:Door`."""
    return inspect_task(name, {"split": split, "episodes": episodes, "seed": seed, **settings})


for _name in ENVIRONMENTS:
    _register(_name, _task_of(_name))
_register("environment", any_environment)
