"""A trajectory as a judge reads it: `trajectory + room -> parts`.

A trajectory is data that somebody else wrote. Each of its lines stands behind a bar, so that none
can pass for a marker or a heading written by atlas; control characters, look-alike markers and
special tokens of chat templates are disarmed.

Observations are shortened first, in the middle and marked; responses never. What does not fit then
is split into overlapping windows.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atlas.errors import DataError
from atlas.records import Message, Trajectory
from atlas.selection.text_features import message_text

BEGIN = "=====BEGIN TRAJECTORY====="
END = "=====END TRAJECTORY====="
# Characters. A shorter observation says too little to judge by.
SHORTEST_OBSERVATION = 200
# Characters that an observation gets where windows are laid out; more if there is room in the end.
WINDOW_OBSERVATION = 1_000
# Characters. The numbers in the request about one window may be longer than about another.
SLACK = 8
# The share of a window's steps that the next one shows again.
OVERLAP = 0.2

_LOOK_ALIKE = re.compile(r"\b(BEGIN|END)[^\S\n]+TRAJECTORY\b", re.IGNORECASE)
_SPECIAL_TOKEN = re.compile(
    r"<(?=\||/?s>|/?(start|end)_of_turn>|/?think>)|\[(?=/?INST\])|(?<=\|)(?=>)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive steps of a trajectory in words, the instructions before them."""

    steps: range
    text: str


def transcribe(trajectory: Trajectory, room: Callable[[range], int]) -> list[Part]:
    """The whole trajectory in one part if it can be made to fit, else in overlapping windows.

    Args:
        trajectory: one or more steps.
        room: how many characters a part that shows these steps may have; about the same for all
            windows.

    Raises:
        DataError: a single response is longer than that; responses are never shortened.
    """
    whole = range(len(trajectory.steps))
    if (fitted := _fit(trajectory, whole, room(whole))) is not None:
        return [Part(whole, fitted)]
    windows = _windows(trajectory, room)
    return [Part(steps, _fit_window(trajectory, steps, room(steps))) for steps in windows]


def disarm(text: str) -> str:
    """Lines behind bars, without control characters, look-alike markers or special tokens."""
    clean = text.removesuffix("\n")
    # A line break other than \n is not printable. Lines end at every one, as they may for whoever
    # reads the prompt.
    if not clean.replace("\n", "").isprintable():
        clean = "\n".join(_printable(line) for line in text.splitlines())
    # A search for words is many times faster than an expression that finds nothing.
    if "trajectory" in clean.lower():
        clean = _LOOK_ALIKE.sub("[marker removed]", clean)
    if "<" in clean or "[" in clean or "|>" in clean:
        clean = _SPECIAL_TOKEN.sub(lambda match: match[0] + " ", clean)
    return "| " + clean.replace("\n", "\n| ")


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        char
        for char in line
        if char == "\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )


def _windows(trajectory: Trajectory, room: Callable[[range], int]) -> list[range]:
    """As many steps in each as fit with short observations.

    Neighbors share some, so that no step is judged only at an edge.
    """
    num_steps = len(trajectory.steps)
    frame = _render(trajectory, range(0), SHORTEST_OBSERVATION)
    end = _render_end(trajectory, SHORTEST_OBSERVATION)
    space_in_one = room(range(num_steps - 1, num_steps)) - SLACK - len(frame) - len(end)
    shown = (_render_step(trajectory, index, WINDOW_OBSERVATION) for index in range(num_steps))
    lengths = [len(text) + 1 for text in shown]
    windows: list[range] = []
    start = 0
    while True:
        space = space_in_one
        stop = start
        while stop < num_steps and (stop == start or lengths[stop] <= space):
            space -= lengths[stop]
            stop += 1
        windows.append(range(start, stop))
        if stop == num_steps:
            return windows
        start = max(start + 1, stop - max(1, int(OVERLAP * (stop - start))))


def _fit_window(trajectory: Trajectory, steps: range, room: int) -> str:
    text = _fit(trajectory, steps, room)
    if text is None:
        needed = len(_render(trajectory, steps, SHORTEST_OBSERVATION))
        raise DataError(
            f"step {steps[0]} by itself needs {needed:,} characters with every observation cut to "
            f"{SHORTEST_OBSERVATION}, there is room for {room:,}. Raise max_prompt_chars if the "
            "model reads that much"
        )
    return text


def _fit(trajectory: Trajectory, steps: range, room: int) -> str | None:
    """These steps, the longest observations cut as little as fits; None if nothing fits."""
    text = _render(trajectory, steps, None)
    if len(text) <= room:
        return text
    low, high = SHORTEST_OBSERVATION, room
    if room < low or len(text := _render(trajectory, steps, low)) > room:
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if len(longer := _render(trajectory, steps, middle)) <= room:
            low, text = middle, longer
        else:
            high = middle - 1
    return text


def _render(trajectory: Trajectory, steps: range, longest: int | None) -> str:
    """Steps between the markers, no observation longer than `longest` characters.

    The end is shown with the last step.
    """
    parts = [BEGIN, *_parts("instructions", trajectory.prompt, longest)]
    parts += [_render_step(trajectory, index, longest) for index in steps]
    if steps and steps[-1] == len(trajectory.steps) - 1 and trajectory.final_observation:
        parts.append(_render_end(trajectory, longest))
    return "\n".join([*parts, END])


def _render_step(trajectory: Trajectory, index: int, longest: int | None) -> str:
    step = trajectory.steps[index]
    parts = _parts(f"step {index}, observation", step.observation, longest)
    parts += _parts(f"step {index}, response", (step.response,), None)
    return "\n".join(parts)


def _render_end(trajectory: Trajectory, longest: int | None) -> str:
    return "\n".join(_parts("after the last step", trajectory.final_observation, longest))


def _parts(heading: str, messages: Sequence[Message], longest: int | None) -> list[str]:
    return [
        f"## {heading}\n{disarm(_cut(message_text(message, 'tool call: '), longest))}"
        for message in messages
    ]


def _cut(text: str, longest: int | None) -> str:
    if longest is None or len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half:,} characters left out …]\n{text[-half:]}"
