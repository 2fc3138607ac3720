"""What an environment returns, checked: what cannot be recorded means that its world broke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, FiniteFloat, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from atlas.environments.base import Environment, HasNotes, HasTools, StepResult
from atlas.errors import EpisodeError
from atlas.records import Message, Record, Task

CheckedT = TypeVar("CheckedT")
# Also the booleans of numpy. A text such as "False" or another number than 0 and 1 is refused.
Flag = Annotated[bool, BeforeValidator(lambda given: getattr(given, "item", lambda: given)())]


class _Result(Record):
    """A StepResult with values that can be recorded."""

    observation: tuple[Message, ...]
    reward: FiniteFloat
    terminated: Flag
    truncated: Flag
    success: Flag
    score: Annotated[FiniteFloat, Field(ge=0, le=1)]
    action: str | None
    is_invalid: Flag


_RESULT = TypeAdapter(_Result)
_MESSAGES = TypeAdapter(tuple[Message, ...])
_TOOLS = TypeAdapter(tuple[dict[str, Any], ...])
_TASKS = TypeAdapter(list[Task])
_NOTES = TypeAdapter(list[str])


def read_tools(environment: Environment) -> tuple[dict[str, Any], ...]:
    """The schemas of the tools that the environment offers."""
    return _checked("tools", _TOOLS, environment.tools if isinstance(environment, HasTools) else ())


def begin_task(environment: Environment, task: Task) -> tuple[Message, ...]:
    """The first observation."""
    observation = _checked("reset", _MESSAGES, environment.reset(task))
    _refuse_assistant("reset", observation)
    return observation


def take_step(environment: Environment, response: Message) -> StepResult:
    """The result of one step."""
    result = environment.step(response)
    if not isinstance(result, StepResult):
        raise EpisodeError(f"step returned {result!r:.80}, expected a StepResult")
    checked = _checked("step", _RESULT, result)
    _refuse_assistant("step", checked.observation)
    return StepResult(**vars(checked))


def list_tasks(environment: Environment, split: str, num_tasks: int, seed: int) -> list[Task]:
    """As many tasks as were asked for, each with its own id."""
    tasks = _checked("tasks", _TASKS, environment.tasks(split, num_tasks, seed))
    num_ids = len({task.id for task in tasks})
    if not len(tasks) == num_ids == num_tasks:
        raise EpisodeError(
            f"tasks returned {len(tasks)} tasks with {num_ids} different ids for split '{split}', "
            f"expected {num_tasks}"
        )
    return tasks


def read_notes(environment: Environment, split: str) -> list[str]:
    """The remarks of the environment on a split."""
    found = environment.notes(split) if isinstance(environment, HasNotes) else ()
    return _checked("notes", _NOTES, list(found))


def _refuse_assistant(method: str, observation: Sequence[Message]) -> None:
    if any(message.role == "assistant" for message in observation):
        raise EpisodeError(f"{method} returned a message of the assistant in its observation")


def _checked(member: str, adapter: TypeAdapter[CheckedT], returned: Any) -> CheckedT:
    try:
        checked = adapter.validate_python(returned, from_attributes=True)
        adapter.dump_json(checked)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join((member, *map(str, first["loc"])))
        raise EpisodeError(f"{place} is {first['input']!r:.80}: {first['msg']}") from None
    except PydanticSerializationError as error:
        # Such as half of a surrogate pair.
        raise EpisodeError(f"{member} returned what cannot be recorded: {error}") from None
    return checked
