"""Writes a trajectory for a judge: `trajectory + room -> parts`.

The text of a trajectory is untrusted. Each line starts with a bar, so that no line looks like a
marker or a heading written by atlas. Control characters, look-alike markers and special tokens of
chat templates are escaped.

If a trajectory is too long, the middle of observations is replaced by a mark; responses are never
shortened. If it still does not fit, it is split into overlapping windows.
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
# Minimum characters of a shortened observation. A judge could not use a shorter one.
SHORTEST_OBSERVATION = 200
# Characters per observation when windows are planned; more if there is room afterwards.
WINDOW_OBSERVATION = 1_000
# Reserved characters, because the numbers in a request have different lengths.
SLACK = 8
# The share of a window's steps that the next window repeats.
OVERLAP = 0.2

_LOOK_ALIKE = re.compile(r"\b(BEGIN|END)[^\S\n]+TRAJECTORY\b", re.IGNORECASE)
# Special tokens of chat templates are names in brackets, or have brackets and signs that no text
# has. So all such forms get a blank, not only the tokens that are known today. A reader still sees
# what was written.
_BAR = "|\uff5c\u2502\u2758\uffe8\u2223\u01c0"
SPECIAL_TOKEN = (
    # <s>, </think>, <start_of_turn>, <|im_end|>, <<SYS>>, <unused7>; also tags of HTML.
    rf"[<\uff1c\ufe64](?=[{_BAR}]|[^\s<>\uff1c\uff1e]{{1,100}}[>\uff1e\ufe65])"
    rf"|(?<=[{_BAR}])(?=[>\uff1e\ufe65])"
    # [INST], [/TOOL_CALLS], [gMASK], [UNUSED_TOKEN_1], [|user|], [unused3]: names with capitals.
    rf"|[\[\uff3b](?=[{_BAR}]|[^\s\[\]]{{0,40}}?[A-Z_]{{2}}[^\s\[\]]{{0,100}}[\]\uff3d]|unused)"
    rf"|(?<=[{_BAR}])(?=[\]\uff3d])"
    # [start_header_id], [control_8]: names with an underscore.
    r"|[\[\uff3b](?=[a-z]{1,40}_[a-z0-9_]{1,60}[\]\uff3d])"
    # ]~b], ]~!b[, [e~[, ]!p~[, ]<]image[>[
    r"|\](?=[~!<][!~\w\]])|(?<=[~>])(?=\[)"
    # |||EMAIL_ADDRESS|||, >>TITLE<<
    r"|(?<=\|\|)(?=\|)|(?<=>)(?=>[A-Z]+<<)"
)
_SPECIAL_TOKEN = re.compile(SPECIAL_TOKEN)
# A text without these characters holds no special token.
_SIGNS = re.compile("[<>\uff1c\ufe64\\[\\]\uff3b|]")


@dataclass(frozen=True, slots=True)
class Part:
    """The text of consecutive steps of a trajectory, after the instructions."""

    steps: range
    text: str


def transcribe(trajectory: Trajectory, room: Callable[[range], int]) -> list[Part]:
    """The whole trajectory as one part if that fits, otherwise as overlapping windows.

    Args:
        trajectory: one or more steps.
        room: maximum characters of a part with these steps; about the same for all windows.

    Raises:
        DataError: a single response is longer than that; responses are never shortened.
    """
    whole = range(len(trajectory.steps))
    if (fitted := _fit(trajectory, whole, room(whole))) is not None:
        return [Part(whole, fitted)]
    windows = _windows(trajectory, room)
    return [Part(steps, _fit_window(trajectory, steps, room(steps))) for steps in windows]


def disarm(text: str) -> str:
    """Lines with bars, without control characters, look-alike markers or special tokens."""
    clean = text.removesuffix("\n")
    # Line breaks other than \n are not printable. Every kind ends a line, as it may for a model.
    if not clean.replace("\n", "").isprintable():
        clean = "\n".join(_printable(line) for line in text.splitlines())
    # A search for words is many times faster than a regular expression that does not match.
    if "trajectory" in clean.lower():
        clean = _LOOK_ALIKE.sub("[marker removed]", clean)
    return "| " + disarm_tokens(clean).replace("\n", "\n| ")


def disarm_tokens(text: str) -> str:
    """The text with a blank in whatever may be a special token of a chat template.

    >>> disarm_tokens("<|im_end|> [INST] a[0] <b>")
    '< |im_end| > [ INST] a[0] < b>'
    """
    if not _SIGNS.search(text):
        return text
    return _SPECIAL_TOKEN.sub(lambda match: match[0] + " ", text)


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        char
        for char in line
        if char == "\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn")
    )


def _windows(trajectory: Trajectory, room: Callable[[range], int]) -> list[range]:
    """Windows with as many steps as fit.

    Neighboring windows share steps, so that no step is only at an edge.
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
    """The text of these steps, with long observations shortened as needed; None if impossible."""
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
    """Steps between the markers, with at most `longest` characters per observation.

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
