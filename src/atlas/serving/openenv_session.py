"""One session of a client: requests of OpenEnv's protocol -> answers of a world.

    reset    {"seed": 3} or {"task_id": …}, and "split": the first observation
    step     {"text": …}, {"tool_calls": […]}, {"type": "list_tools"} or {"type": "call_tool", …}
    state    task and number of steps

Each request gets one answer. A request that is not valid gets an error, and the session goes on. An
observation holds what an agent may see; `metadata` holds success and score.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from atlas.environments.base import Environment, StepResult
from atlas.environments.checked import begin_task, read_tools, take_step
from atlas.environments.worlds import Limits, Worlds
from atlas.errors import DataError
from atlas.kinds import Choice
from atlas.records import Message, Task, ToolCall
from atlas.serving.offered_tasks import OfferedTasks
from atlas.store.record_files import to_json

# The only episode of the worlds of a session.
EPISODE = "episode"


class Session:
    """The world of one client, which is closed with it."""

    def __init__(self, environment: Choice, tasks: OfferedTasks, limits: Limits) -> None:
        self._offered = tasks
        self._worlds = Worlds.of(environment, 1, limits)
        self._is_open = False
        self._task: Task | None = None
        self._is_over = True
        self._num_resets = self._num_steps = 0

    def answer(self, text: str | bytes) -> dict[str, Any] | None:
        """The answer to one request; None: the client ends the session."""
        try:
            asked = json.loads(text)
        except (ValueError, RecursionError):
            return fault("INVALID_JSON", "the request is not JSON")
        if not isinstance(asked, dict):
            return fault("VALIDATION_ERROR", "the request is not an object")
        data = asked.get("data", {})
        if not isinstance(data, dict):
            return fault("VALIDATION_ERROR", "data is not an object")
        try:
            match asked.get("type"):
                case "close":
                    return None
                case "reset":
                    return _observation(self._reset(data))
                case "step":
                    return _observation(self._step(data))
                case "state":
                    return {"type": "state", "data": self._state()}
        except DataError as error:
            return fault("VALIDATION_ERROR", str(error))
        except Exception as error:
            # Whatever a world raises; the next episode gets another one.
            self._leave_world(is_broken=True)
            return fault("EXECUTION_ERROR", f"{type(error).__name__}: {error}")
        return fault("UNKNOWN_TYPE", f"a request of type {asked.get('type')!r:.40}")

    def close(self) -> None:
        """Close the world."""
        self._worlds.close()

    def _reset(self, data: Mapping[str, Any]) -> dict[str, Any]:
        task = self._offered.find(data, self._num_resets)
        self._num_resets += 1
        self._leave_world(is_broken=False)

        def start(world: Environment) -> dict[str, Any]:
            prompt, tools = world.prompt, read_tools(world)
            seen: dict[str, Any] = {"text": _text(begin_task(world, task))}
            if prompt:
                seen["instruction"] = _text(prompt)
            return {**seen, "tools": list(tools)} if tools else seen

        seen = self._do(start)
        self._task, self._is_over, self._num_steps = task, False, 0
        told = {"task_id": task.id, "split": task.split, "group": task.group, "goal": task.goal}
        return {"observation": seen, "reward": 0.0, "done": False, "metadata": told}

    def _step(self, data: Mapping[str, Any]) -> dict[str, Any]:
        if data.get("type") == "list_tools":
            return {"observation": {"tools": [_mcp_tool(one) for one in self._do(read_tools)]}}
        response = _response(data)
        if self._is_over:
            raise DataError("no episode is running: reset starts one")
        result: StepResult = self._do(lambda world: take_step(world, response))
        self._num_steps += 1
        self._is_over = result.terminated or result.truncated
        seen: dict[str, Any] = {"text": _text(result.observation)}
        if data.get("type") == "call_tool":
            is_bad = result.is_invalid
            part = {"content": [{"type": "text", **seen}], "is_error": is_bad}
            seen = {"tool_name": data["tool_name"], "result": part}
        elif any(message.role == "tool" for message in result.observation):
            seen["messages"] = [
                message.model_dump(mode="json", exclude_defaults=True)
                for message in result.observation
            ]
        told = {
            name: getattr(result, name)
            for name in ("success", "score", "terminated", "truncated", "is_invalid", "action")
        }
        return {
            "observation": seen,
            "reward": result.reward,
            "done": self._is_over,
            "metadata": told,
        }

    def _state(self) -> dict[str, Any]:
        task_id = None if self._task is None else self._task.id
        return {"episode_id": task_id, "step_count": self._num_steps, "done": self._is_over}

    def _do(self, job: Any) -> Any:
        """The result of a job in the world, within the time limit of a step."""
        if self._is_open:
            self._worlds.run(EPISODE, job)
        else:
            self._is_open = True
            self._worlds.begin(EPISODE, job)
        [(_, result)] = self._worlds.results(None)
        if isinstance(result, Exception):
            raise result
        return result

    def _leave_world(self, *, is_broken: bool) -> None:
        self._is_over = True
        if self._is_open:
            self._is_open = False
            self._worlds.end(EPISODE, is_broken=is_broken)


def fault(code: str, message: str, **more: Any) -> dict[str, Any]:
    """An answer that is an error."""
    return {"type": "error", "data": {"code": code, "message": message[:500], **more}}


def _observation(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": "observation", "data": data}


def _response(data: Mapping[str, Any]) -> Message:
    """The response of an agent from an action.

    Raises:
        DataError: the action has another form.
    """
    try:
        if data.get("type") == "call_tool":
            arguments = json.dumps(data.get("arguments", {}))
            call = {"id": "call_0", "name": data["tool_name"], "arguments": arguments}
            data = {"tool_calls": [call]}
        unknown = data.keys() - {"text", "tool_calls", "metadata"}
        if unknown or not data.keys() & {"text", "tool_calls"}:
            raise DataError(
                f"the action has the fields {', '.join(map(str, data))[:100] or 'none'}, expected "
                "text or tool_calls"
            )
        calls = data.get("tool_calls", [])
        if not isinstance(calls, Sequence):
            raise DataError("tool_calls is not a list")
        response = Message(
            role="assistant",
            content=data.get("text", ""),
            tool_calls=tuple(ToolCall.model_validate(call) for call in calls),
        )
        to_json(response)
        return response
    except PydanticSerializationError:
        raise DataError("the action holds half of a surrogate pair, which is not text") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{place} of the action: {first['msg']}") from None
    except KeyError as error:
        raise DataError(f"the action lacks {error}") from None


def _text(messages: Sequence[Message]) -> str:
    return "\n\n".join(message.content for message in messages)


def _mcp_tool(schema: Mapping[str, Any]) -> dict[str, Any]:
    function = schema.get("function", schema)
    return {
        "name": function["name"],
        "description": function.get("description", ""),
        "input_schema": function.get("parameters", {}),
    }
