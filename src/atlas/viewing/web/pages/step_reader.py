"""Reads messages and steps for a page: `Step -> StepView`, with calls and results linked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atlas.records import CUT_STEPS, Message, Step, ToolCall, Trajectory
from atlas.terminal.visible_text import one_line
from atlas.viewing.web.pages.paired_calls import CallPlace, ResultPlace, pair_calls
from atlas.viewing.web.pages.pretty_json import indent_json, read_arguments
from atlas.viewing.web.pages.response_parts import split_response
from atlas.viewing.web.pages.step_marks import MarkView, sort_kinds
from atlas.viewing.web.pages.text_view import TextView, limit_of_texts, view_text
from atlas.viewing.web.pages.trajectory_view import ArgumentView, CallView, MessageView, StepView
from atlas.viewing.web.pages.whole_texts import FINAL, PROMPT, STEP

MAX_NAME = 120
# An argument that is longer than this stands below its name.
LONGEST_INLINE = 100


class StepReader:
    """Reads the steps of one trajectory. `prefix` stands before every anchor."""

    def __init__(self, trajectory: Trajectory, prefix: str = "") -> None:
        self._trajectory = trajectory
        self._prefix = prefix
        self._pairs = pair_calls(trajectory)
        observed = [message for step in trajectory.steps for message in step.observation]
        self._limit = limit_of_texts(2 * len(trajectory.steps) + len(observed))
        cut = trajectory.source.details.get(CUT_STEPS)
        self._cut_steps = frozenset(cut) if isinstance(cut, list) else frozenset()

    def prompt(self) -> tuple[MessageView, ...]:
        """The messages before the first step."""
        return tuple(self._messages(self._trajectory.prompt, PROMPT, -1))

    def final(self) -> tuple[MessageView, ...]:
        """The messages after the last step."""
        num_steps = len(self._trajectory.steps)
        return tuple(self._messages(self._trajectory.final_observation, FINAL, num_steps))

    def step(self, index: int, marks: tuple[MarkView, ...], disagreement: str) -> StepView:
        """The step at an index."""
        step = self._trajectory.steps[index]
        response, place = step.response, f"{STEP}.{index}.response"
        parts = split_response(response.content, step.action, calls=bool(response.tool_calls))
        carried_out = (step.action or "").strip()
        is_shown = bool(response.tool_calls) or carried_out == parts.action
        reasonings = [
            view
            for text, where in (
                (response.reasoning, f"{place}.reasoning"),
                (parts.reasoning, place),
            )
            if (view := self._text(text, where))
        ]
        return StepView(
            index=index,
            anchor=f"{self._prefix}step-{index}",
            observation=tuple(
                self._messages(step.observation, f"{STEP}.{index}.observation", index)
            ),
            reasoning=tuple(reasonings),
            thought=self._text(parts.thought, place),
            action=self._text(parts.action, place),
            after=self._text(parts.after, place),
            carried_out=None if is_shown else self._text(step.action, f"{STEP}.{index}.action"),
            calls=tuple(self._calls(response.tool_calls, place, index)),
            is_message=parts.is_message,
            is_critical=any(mark.is_critical for mark in marks),
            kinds=sort_kinds(kind for mark in marks for kind in mark.kinds),
            marks=marks,
            disagreement=disagreement,
            remarks=tuple(self._remarks(index, step)),
            reward="" if step.reward is None else f"{step.reward:.4g}",
            is_invalid=step.is_invalid is True,
        )

    def _remarks(self, index: int, step: Step) -> Iterator[str]:
        if step.is_invalid:
            yield "not carried out"
        if index in self._cut_steps:
            yield "cut at the token limit"
        response = step.response
        if not response.content.strip() and not response.tool_calls:
            yield "empty response"

    def _messages(
        self, messages: Iterable[Message], place: str, step: int
    ) -> Iterator[MessageView]:
        for number, message in enumerate(messages):
            call = self._pairs.calls.get(ResultPlace(step, number)) if step >= 0 else None
            name = message.name or ""
            if call is not None:
                called = self._trajectory.steps[call.step].response.tool_calls[call.number]
                name = name or called.name
            is_result = message.role == "tool"
            title = "result" if is_result else message.role
            where = f"{place}.{number}"
            text = indent_json(message.content) if is_result else message.content
            yield MessageView(
                anchor=f"{self._prefix}result-{step}-{number}" if is_result else "",
                role=message.role,
                title=title,
                name=one_line(name, MAX_NAME),
                text=view_text(text, where, self._limit),
                reasoning=self._text(message.reasoning, f"{where}.reasoning"),
                calls=tuple(self._calls(message.tool_calls, where, None)),
                call="" if call is None else self._call_anchor(call),
                call_step=None if call is None else call.step,
            )

    def _calls(self, calls: Iterable[ToolCall], place: str, step: int | None) -> Iterator[CallView]:
        for number, call in enumerate(calls):
            where = f"{place}.call.{number}"
            arguments = read_arguments(call.arguments)
            result = None
            if step is not None:
                result = self._pairs.results.get(CallPlace(step, number))
            yield CallView(
                anchor="" if step is None else self._call_anchor(CallPlace(step, number)),
                name=one_line(call.name, MAX_NAME),
                arguments=tuple(
                    ArgumentView(
                        one_line(name, MAX_NAME),
                        view_text(value, where, self._limit),
                        "\n" in value or len(value) > LONGEST_INLINE,
                    )
                    for name, value in arguments or ()
                ),
                raw=None if arguments is not None else self._text(call.arguments, where),
                result=""
                if result is None
                else f"{self._prefix}result-{result.step}-{result.number}",
                has_no_result=step is not None and result is None,
            )

    def _call_anchor(self, call: CallPlace) -> str:
        return f"{self._prefix}call-{call.step}-{call.number}"

    def _text(self, text: str | None, place: str) -> TextView | None:
        return view_text(text, place, self._limit) if text and text.strip() else None
