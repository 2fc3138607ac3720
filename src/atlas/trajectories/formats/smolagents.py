"""Memory of smolagents: `agent.memory.get_full_steps()`, a run's full result, or its messages.

A row is one step (a file of steps is one run), a list of steps, or an object with them under
`steps` or `intermediate_steps`. An action of the model is a step. What a code agent writes is text,
so it has no tool calls; the code is the executed action. Full steps hold the input of the model:
from there come the system prompt and the observations as the model saw them.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.config import Config
from atlas.records import Message, Outcome, Role, Task
from atlas.trajectories.formats.agent_logs import build_trajectory
from atlas.trajectories.formats.conventions import (
    ID_KEYS,
    details_of_row,
    outcome_of_row,
    task_of_row,
)
from atlas.trajectories.formats.conversations import OUTCOME_KEYS, num_leading_system
from atlas.trajectories.formats.convert_rows import convert_rows
from atlas.trajectories.formats.fields import object_or_empty, read_one_message, text_or_none
from atlas.trajectories.formats.gathered_rows import gathered
from atlas.trajectories.formats.messages import Turn, decode_nested
from atlas.trajectories.formats.rows import BadRowError, Item, Reading, SourceRow
from atlas.trajectories.formats.source_file import SourceFile

STEPS_KEYS = ("steps", "intermediate_steps")
ACTION_KEYS = ("model_output", "model_output_message", "observations")
OF_PLANNING = "the plan was asked for in a prompt of its own, which is left out"
OF_LAST_ANSWER = "the last answer was asked for in a prompt of its own, which is left out"
CALLING = "Calling tools:\n"


class SmolagentsFormat:
    """Reads the memory of smolagents."""

    # Copies of the conversation, and what the program measured.
    metadata = (
        "*.model_input_messages",
        "*.plan",
        "*.timing",
        "*.raw",
        "*.step_number",
        "*.action_output",
        "*.is_final_answer",
        "*.observations_images",
        "*.task_images",
        "*.error.type",
        "*.tool_calls.function.name",
        "output",
        "state",
    )

    def __init__(self, config: Config) -> None:
        self.config = config

    def matches(self, row: Any) -> bool:
        return _is_step(row) or bool(_steps_of(row)) or bool(_messages_of(row))

    def read(self, source: SourceFile) -> Iterator[Item]:
        rows = gathered(source.rows(), _is_step, lambda value: isinstance(value, dict))
        return convert_rows(rows, self.convert, self.metadata, source.ignored, accounted=_accounted)

    def convert(self, row: SourceRow) -> Reading:
        """The trajectory of a row that holds the memory of an agent."""
        fields = row.value if isinstance(row.value, dict) else {}
        run = _Run()
        if messages := _messages_of(row.value):
            for index, message in enumerate(messages):
                run.add_message(message, index)
        elif steps := _steps_of(row.value):
            for index, step in enumerate(steps):
                run.add_step(step, index)
        else:
            raise BadRowError(
                "no memory of smolagents, expected steps with 'task', 'model_output' or 'plan'"
            )
        run.close()
        digest = row.content_hash
        used = {*STEPS_KEYS, *OUTCOME_KEYS, *ID_KEYS}
        trajectory = build_trajectory(
            run.turns,
            num_leading_system(run.turns),
            task=_task(fields, digest, run.goal),
            digest=digest,
            outcome=_outcome(fields),
            source=row.source("smolagents", details_of_row(fields, used)),
        )
        made = tuple(
            step if action is None else step.model_copy(update={"action": action})
            for step, action in zip(trajectory.steps, run.actions, strict=True)
        )
        return Reading(trajectory.model_copy(update={"steps": made}), run.remarks)


class _Run:
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


def _is_step(value: Any) -> bool:
    """Whether a decoded value is a step of a memory."""
    if not isinstance(value, dict):
        return False
    keys = value.keys()
    return (
        {"task", "task_images"} == keys
        or ({"plan", "model_output_message"} <= keys)
        or ("step_number" in keys and any(key in keys for key in ACTION_KEYS))
    )


def _steps_of(row: Any) -> list[Any]:
    found = row
    if isinstance(row, dict):
        if "schema_version" in row:
            return []
        found = next((v for key in STEPS_KEYS if (v := decode_nested(row.get(key)))), None)
    steps = found if isinstance(found, list) else []
    return steps if any(map(_is_step, steps[:2])) else []


def _messages_of(row: Any) -> list[Any]:
    """The messages of a memory, which say in words which tools were called."""
    given = decode_nested(row.get("intermediate_steps")) if isinstance(row, dict) else None
    messages = given if isinstance(given, list) else []
    return messages if messages and "role" in object_or_empty(messages[0]) else []


def _accounted(row: SourceRow) -> SourceRow:
    """The row without the words that tell calls, each of which was read or is code in the text."""
    messages = _messages_of(row.value)
    if not messages:
        return row
    others = [one for one in messages if object_or_empty(one).get("role") != "tool-call"]
    return row.part({**row.value, "intermediate_steps": others})


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


def _task(fields: Mapping[str, Any], digest: str, goal: str | None) -> Task:
    return task_of_row(fields, otherwise=f"smolagents-{digest}").model_copy(update={"goal": goal})


def _outcome(fields: Mapping[str, Any]) -> Outcome:
    """A run that ends says nothing about whether its answer is right."""
    outcome = outcome_of_row(fields)
    if outcome.status == "unknown" and fields.get("state") == "max_steps_error":
        return outcome.model_copy(update={"status": "truncated", "reason": "max_steps_error"})
    return outcome
