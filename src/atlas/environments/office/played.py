"""A request that is being carried out: calls in, messages out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from atlas.environments.office.tasks import make_task
from atlas.environments.office.tools import FINISH, TOOLS, ToolError, call_tool
from atlas.environments.react import NO_ACTION, action_lines, user
from atlas.records import Message, Task, ToolCall

MAX_CALLS = 10


class PlayedRequest:
    """One request. `results` holds what the last calls returned, None for an error."""

    def __init__(self, task: Task, max_steps: int) -> None:
        self.task = task
        self.made = make_task(task.group, task.seed)
        self.state = self.made.state
        self.turns_left = max_steps
        self.is_finished = False
        self.results: list[Any] = []

    @property
    def is_over(self) -> bool:
        """Whether the task was finished, or no turn is left."""
        return self.is_finished or self.turns_left <= 0

    @property
    def score(self) -> float:
        """The share of what was asked that is done."""
        return self.made.goal.score(self.state)

    def first_text(self) -> str:
        """The first observation."""
        return f"Today is {self.made.today}. {self.made.request}"

    def act(self, response: Message, reads_text: bool) -> tuple[tuple[Message, ...], bool]:
        """The observation after one turn, and whether a call could not be carried out."""
        self.turns_left -= 1
        self.results = []
        if response.tool_calls:
            answers = [self._answer(call, place) for place, call in enumerate(response.tool_calls)]
            observation = tuple(
                Message(role="tool", content=text, tool_call_id=call.id, name=call.name)
                for call, (text, _) in zip(response.tool_calls, answers, strict=True)
            )
            return observation, any(is_wrong for _, is_wrong in answers)
        call = read_call(response.content)
        if call is None:
            return user(NO_ACTION if reads_text else NO_CALL), True
        text, is_wrong = self._answer(call, 0)
        return user(text), is_wrong

    def _answer(self, call: ToolCall, place: int) -> tuple[str, bool]:
        try:
            if self.is_finished:
                raise ToolError("the task is finished already")
            if place >= MAX_CALLS:
                raise ToolError(f"only {MAX_CALLS} calls of one response are carried out")
            arguments = read_arguments(call.arguments) if call.name in TOOLS else {}
            result = call_tool(self.state, call.name, arguments)
        except ToolError as error:
            self.results.append(None)
            return f"Error: {error}.", True
        self.is_finished = call.name == FINISH
        self.results.append(result)
        return result if isinstance(result, str) else json.dumps(result), False


NO_CALL = "No call found. Call a tool, or say 'Action:' and a tool with its arguments as JSON."


def read_arguments(text: str) -> Any:
    """The arguments of a call.

    Raises:
        ToolError: they are not JSON.
    """
    try:
        arguments = json.loads(text or "{}")
        json.dumps(arguments, ensure_ascii=False, allow_nan=False).encode()
    # Too deep, too large, not a number, or half of a surrogate pair.
    except (ValueError, RecursionError) as error:
        raise ToolError(f"the arguments are not JSON ({str(error)[:80]})") from None
    return arguments


def read_call(response: str) -> ToolCall | None:
    """The call in ReAct text: a tool, then its arguments as JSON, also on several lines."""
    lines = [line for line in action_lines(response) if not line.startswith("```")]
    text = " ".join(lines).strip()
    name, _, rest = text.partition(" ")
    head, brace, tail = name.partition("{")
    if brace:
        name, rest = head, f"{brace}{tail} {rest}"
    return ToolCall(name=name, arguments=_first_object(rest)) if name.isidentifier() else None


def _first_object(text: str) -> str:
    """The JSON object at the start of a text, without what follows; the text if there is none."""
    try:
        _, end = json.JSONDecoder().raw_decode(text.strip())
    except (ValueError, RecursionError):
        return text.strip() or "{}"
    return text.strip()[:end]


def action_of(response: Message) -> str | None:
    """The calls of a response as one text; None without a call."""
    calls: Sequence[ToolCall] = response.tool_calls
    if not calls:
        call = read_call(response.content)
        calls = () if call is None else (call,)
    return "; ".join(f"{call.name} {call.arguments}" for call in calls) or None
