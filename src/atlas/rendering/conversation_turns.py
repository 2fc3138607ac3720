"""Finds the text of each turn of a conversation without rendering every prefix of it.

A turn is the text that a response follows (`context`) and the response. The text of the turn at
step k is the difference of two renderings. Rendering all messages before it would cost a time that
grows with the square of the steps. So a turn is rendered in a *window*: the messages before the
first response, the previous response, the observation and the response.

A template can look at any message, so the text from a window may be wrong. A run of turns is
accepted only if their joined text equals the template's own rendering of all messages up to the
last turn of the run, and up to the turns at a half, a quarter, … of it. The joined text has each
response as the template writes it in the last message; the rendering has it as an earlier message.
If both are equal, no response was rewritten, unless the template would undo the change later. If
they differ, the window grows: first to the true beginning of the conversation, then to all messages
before the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atlas.errors import ModelError
from atlas.records import Message

# What the messages before the first response are shortened to in the smallest window.
_STAND_IN = "x"
_LONG = 100


@dataclass(frozen=True, slots=True)
class TurnText:
    """One step of a conversation as text.

    Attributes:
        context: the text between the end of the previous response and this one, with the header
            that the model answers.
        response: the response with its end of turn.
        tail: what the template writes after it if no message follows.
    """

    step: int
    context: str
    response: str
    tail: str


@dataclass(frozen=True, slots=True)
class Writer:
    """How a template writes conversations.

    Attributes:
        opened: (messages, tools) -> the text up to the model's answer.
        answered: (opened text, messages, tools) -> the text up to the end of turn of the last of
            the messages, which begins with the opened text; and what is written after it.
    """

    opened: Callable[[Sequence[Message], Sequence[Mapping[str, Any]]], str]
    answered: Callable[[str, Sequence[Message], Sequence[Mapping[str, Any]]], tuple[str, str]]

    def response(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        """The text of the last of `messages`, a response, with its end of turn."""
        opened = self.opened(messages[:-1], tools)
        return self.answered(opened, messages, tools)[0][len(opened) :]


class ConversationTurns:
    """The turns of one conversation.

    Args:
        positions: the index of each step's response in `messages`, ascending.
    """

    def __init__(
        self,
        writer: Writer,
        messages: Sequence[Message],
        positions: Sequence[int],
        tools: Sequence[Mapping[str, Any]],
    ) -> None:
        self._writer = writer
        self._messages = messages
        self._positions = positions
        self._tools = tools
        self._windows: dict[int, TurnText | None] = {}
        # 0: the shortened beginning, 1: the true beginning, 2: all messages before.
        self._width = 0

    def first(self, step: int) -> TurnText:
        """The turn at `step` with everything before it as its context, from all messages.

        Raises:
            ModelError: the template places the response where it cannot be located.
        """
        position = self._positions[step]
        opened = self._writer.opened(self._messages[:position], self._tools)
        return self._turn(step, opened, opened, self._messages[: position + 1], self._tools)

    def following(self, step: int) -> TurnText | None:
        """The turn at `step` after the turn before it, or None if it rewrites what came before."""
        if step not in self._windows:
            self._windows[step] = self._in_window(step)
        return self._windows[step]

    def continues(self, step: int) -> bool:
        """Whether the prompt of `step` begins with the turn before it, from all messages."""
        before = self._through(step - 1)
        opened = self._writer.opened(self._messages[: self._positions[step]], self._tools)
        return opened.startswith(before)

    def holds(self, start: int, text: str, ends: Mapping[int, int]) -> bool:
        """Whether the joined text of turns from `start` is what the template writes.

        Args:
            ends: the length of the text at the end of each turn.
        """
        last = max(ends)
        probes = {last}
        while (last := start + (last - start) // 2) > start:
            probes.add(last)
        return all(self._through(step) == text[: ends[step]] for step in sorted(probes))

    def widen(self) -> bool:
        """Use a larger window from now on; False if it was the largest."""
        if self._width == 2:
            return False
        self._width += 1
        self._windows.clear()
        return True

    def before(self, step: int) -> Sequence[Message]:
        """The messages at the beginning, and the turn before the response at `step`."""
        first, position = self._positions[0], self._positions[step]
        if not step:
            return self._messages[:first]
        return [*self._messages[:first], *self._messages[self._positions[step - 1] : position]]

    def _through(self, step: int) -> str:
        """The text through the response at `step`, from all messages."""
        position = self._positions[step]
        opened = self._writer.opened(self._messages[:position], self._tools)
        return self._writer.answered(opened, self._messages[: position + 1], self._tools)[0]

    def _in_window(self, step: int) -> TurnText | None:
        before, position = self._positions[step - 1], self._positions[step]
        while True:
            head, tools = self._head(before)
            shown = [*head, *self._messages[before : position + 1]]
            asked, answered = shown[: len(head)], shown[: len(head) + 1]
            try:
                previous, _ = self._writer.answered(
                    self._writer.opened(asked, tools), answered, tools
                )
                opened = self._writer.opened(shown[:-1], tools)
                if not opened.startswith(previous):
                    return None
                return self._turn(step, opened, opened[len(previous) :], shown, tools)
            except ModelError:
                if not self.widen():
                    raise

    def _head(self, before: int) -> tuple[Sequence[Message], Sequence[Mapping[str, Any]]]:
        """The messages at the beginning of a window, and its tool schemas."""
        if self._width == 2:
            return self._messages[:before], self._tools
        head = self._messages[: self._positions[0]]
        if self._width == 1:
            return head, self._tools
        short = [
            message.model_copy(update={"content": _STAND_IN})
            if len(message.content) > _LONG
            else message
            for message in head
        ]
        return short, ()

    def _turn(
        self,
        step: int,
        opened: str,
        context: str,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
    ) -> TurnText:
        text, tail = self._writer.answered(opened, messages, tools)
        return TurnText(step, context, text[len(opened) :], tail)
