"""The turns of an agent of smolagents: `steps or messages -> turns`.

The code of a code agent stands in its text, so it is the executed action and not a call. Where a
step holds the input of the model, observations are as the model saw them.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from atlas.records import Message, Role
from atlas.trajectories.formats.fields import object_or_empty, read_one_message, text_or_none
from atlas.trajectories.formats.messages import Turn
from atlas.trajectories.formats.rows import BadRowError

ACTION_KEYS = ("model_output", "model_output_message", "observations")
OF_PLANNING = "the plan was asked for in a prompt of its own, which is left out"
OF_LAST_ANSWER = "the last answer was asked for in a prompt of its own, which is left out"
CALLING = "Calling tools:\n"


class SmolagentsRun:
    """The turns of an agent, built from its steps in order."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.actions: list[str | None] = []
        self.remarks: list[tuple[int, str]] = []
        self.goal: str | None = None
        # What the next answer has to have seen, and how often each text was placed.
        self._pending: list[Message] = []
        self._placed: Counter[tuple[str, str]] = Counter()

    def add_step(self, step: Any, index: int) -> None:
        if not isinstance(step, dict):
            raise BadRowError(f"{step!r:.60} is not a step, expected an object", index)
        if "system_prompt" in step:
            self._pending.append(read_one_message("system", step["system_prompt"], index))
        elif "plan" in step:
            answer = object_or_empty(step.get("model_output_message"))
            content = answer.get("content") if answer.get("content") else step["plan"]
            self._flush()
            self._answer(read_one_message("assistant", content, index), None)
            self.remarks.append((len(self.actions) - 1, OF_PLANNING))
        elif any(key in step for key in ACTION_KEYS):
            self._action(step, index)
        elif "task" in step:
            images = step.get("task_images")
            marks = "[image]" * len(images) if isinstance(images, list) else ""
            task = read_one_message("user", step["task"], index)
            self.goal = self.goal or task.content
            self._pending.append(task.model_copy(update={"content": task.content + marks}))
        elif "output" not in step:
            keys = ", ".join(map(str, step))[:80]
            raise BadRowError(
                f"a step of an unknown kind (its keys: {keys}), expected one with 'task', "
                "'model_output' or 'plan'",
                index,
            )

    def add_message(self, message: Any, index: int) -> None:
        """A message of `agent.write_memory_to_messages()`."""
        given = object_or_empty(message)
        role, content = given.get("role"), given.get("content")
        calls = given.get("tool_calls")
        if role == "tool-call":
            self._add_calls(read_one_message("user", content, index).content, index)
        elif role == "assistant":
            self._flush()
            answer = read_one_message("assistant", content, index, tool_calls=calls)
            self._answer(answer, None)
        elif role in ("system", "user", "tool-response"):
            kind: Role = "system" if role == "system" else "user"
            self._pending.append(read_one_message(kind, content, index))
        else:
            raise BadRowError(f"role is {role!r:.60}, expected a role of smolagents", index)

    def close(self) -> None:
        """The last observation."""
        self._flush()

    def _action(self, step: Mapping[str, Any], index: int) -> None:
        answer = object_or_empty(step.get("model_output_message"))
        content, calls = _said(step, answer), _calls(step, answer)
        self._see(step.get("model_input_messages"), index)
        self._flush()
        if content is None and not calls:
            last = step.get("action_output")
            if not isinstance(last, str):
                self._after(step, (), index)
                return
            content = last
            self.remarks.append((len(self.actions), OF_LAST_ANSWER))
        message = read_one_message("assistant", content, index, tool_calls=calls)
        self._answer(message, text_or_none(step.get("code_action")))
        self._after(step, [call.id for call in message.tool_calls], index)

    def _after(self, step: Mapping[str, Any], ids: Sequence[str | None], index: int) -> None:
        """The observation and the error of a step; one call is answered by its id."""
        images = step.get("observations_images")
        if isinstance(images, list) and images:
            self._pending.append(Message(role="user", content="[image]" * len(images)))
        error = step.get("error")
        for content in (step.get("observations"), object_or_empty(error).get("message", error)):
            if content is None:
                continue
            is_result = len(ids) == 1 and ids[0] is not None
            self._pending.append(
                read_one_message("tool", content, index, tool_call_id=ids[0])
                if is_result
                else read_one_message("user", content, index)
            )
            ids = ()

    def _see(self, given: Any, index: int) -> None:
        """Put the messages that the model saw in the place of what they were made of."""
        if not isinstance(given, list):
            return
        seen: Counter[tuple[str, str]] = Counter()
        fresh: list[Message] = []
        for one in map(object_or_empty, given):
            role = one.get("role")
            if role not in ("system", "user", "tool-response"):
                continue
            kind: Role = "system" if role == "system" else "user"
            read = read_one_message(kind, one.get("content"), index)
            seen[kind, read.content] += 1
            if seen[kind, read.content] > self._placed[kind, read.content]:
                fresh.append(read)
        left = list(self._pending)
        made: list[Message] = []
        for message in fresh:
            match = next((old for old in left if old.content in message.content), None)
            if match is not None:
                left.remove(match)
                message = match.model_copy(update={"content": message.content})
            made.append(message)
        self._pending = [*made, *left]

    def _flush(self) -> None:
        for message in self._pending:
            self._placed["system" if message.role == "system" else "user", message.content] += 1
        self.turns += map(Turn, self._pending)
        self._pending = []

    def _answer(self, message: Message, action: str | None) -> None:
        self.turns.append(Turn(message))
        self.actions.append(action)

    def _add_calls(self, text: str, index: int) -> None:
        """The calls that a message tells in words, for the answer before it."""
        calls = _told_calls(text)
        if calls is None or not self.turns or self.turns[-1].message.role != "assistant":
            raise BadRowError("the calls of a tool-call message cannot be read", index)
        said = self.turns[-1].message
        if said.tool_calls or all(_is_code(call, said.content) for call in calls):
            return
        read = read_one_message("assistant", said.content, index, tool_calls=calls)
        self.turns[-1] = Turn(read)


def _said(step: Mapping[str, Any], answer: Mapping[str, Any]) -> Any:
    """The words of the model, a text or parts."""
    said = answer.get("content")
    return step.get("model_output") if said is None else said


def _calls(step: Mapping[str, Any], answer: Mapping[str, Any]) -> Any:
    """The calls that the model wrote; those of a code agent are made of its text."""
    if answer.get("tool_calls"):
        return answer["tool_calls"]
    return [] if step.get("code_action") else step.get("tool_calls") or []


def _told_calls(text: str) -> list[Any] | None:
    try:
        calls = ast.literal_eval(text.removeprefix(CALLING).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
    return calls if isinstance(calls, list) else None


def _is_code(call: Any, text: str) -> bool:
    """Whether a call is the code that stands in the text of the answer."""
    arguments = object_or_empty(object_or_empty(call).get("function")).get("arguments")
    return isinstance(arguments, str) and arguments.strip() in text
