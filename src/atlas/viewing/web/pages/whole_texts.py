"""The whole texts of a trajectory by their places: what a page cuts can be read in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from atlas.records import Message, Trajectory

PROMPT, STEP, FINAL = "prompt", "step", "final"


def find_text(trajectory: Trajectory, place: str) -> str | None:
    """The whole text that a `TextView` with this place shows; None if there is none."""
    return next((text for name, text in _all_texts(trajectory) if name == place), None)


def _all_texts(trajectory: Trajectory) -> Iterator[tuple[str, str]]:
    """Every text with its place, such as `step.3.observation.0` or `step.3.call.0`."""

    def of_message(message: Message, place: str) -> Iterator[tuple[str, str]]:
        yield place, message.content
        if message.reasoning is not None:
            yield f"{place}.reasoning", message.reasoning
        for number, call in enumerate(message.tool_calls):
            yield f"{place}.call.{number}", call.arguments

    def of_messages(messages: Iterable[Message], place: str) -> Iterator[tuple[str, str]]:
        for number, message in enumerate(messages):
            yield from of_message(message, f"{place}.{number}")

    yield from of_messages(trajectory.prompt, PROMPT)
    for index, step in enumerate(trajectory.steps):
        yield from of_messages(step.observation, f"{STEP}.{index}.observation")
        yield from of_message(step.response, f"{STEP}.{index}.response")
        if step.action is not None:
            yield f"{STEP}.{index}.action", step.action
    yield from of_messages(trajectory.final_observation, FINAL)
