"""Rendered texts of chat templates -> turns, where there is exactly one way to take them apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from atlas.records import Role
from atlas.trajectories.formats.messages import ROLES
from atlas.trajectories.formats.rows import BadRowError

SpokenTurn = tuple[Role, str]


@dataclass(frozen=True, slots=True)
class Markers:
    """How a family of chat templates marks a turn.

    Attributes:
        opening: begins a turn, the role in group `role`.
        closing: ends one.
        start: what may stand before the first turn.
    """

    opening: re.Pattern[str]
    closing: str
    start: tuple[str, ...] = ()

    def turns(self, text: str) -> list[SpokenTurn]:
        """The turns of a text that begins with an opening marker.

        Raises:
            BadRowError: something stands between turns, or a role is not known.
        """
        found = [*self.opening.finditer(text)]
        turns: list[SpokenTurn] = []
        for index, match in enumerate(found):
            end = found[index + 1].start() if index + 1 < len(found) else len(text)
            body, closing, rest = text[match.end() : end].partition(self.closing)
            role = ROLES.get(match["role"].strip().lower())
            if role is None:
                raise BadRowError(f"a turn of role {match['role']!r:.60}, which is not known")
            if rest.strip():
                raise BadRowError(f"the text {rest.strip()!r:.60} stands outside of any turn")
            if not closing and index + 1 < len(found):
                raise BadRowError(f"turn {index} has no end, expected {self.closing!r}")
            turns.append((role, body))
        return turns


MARKERS: dict[str, Markers] = {
    "chatml": Markers(re.compile(r"<\|im_start\|>(?P<role>\w+)\n"), "<|im_end|>"),
    "llama3": Markers(
        re.compile(r"<\|start_header_id\|>(?P<role>\w+)<\|end_header_id\|>\n\n"),
        "<|eot_id|>",
        ("<|begin_of_text|>",),
    ),
    "gemma": Markers(re.compile(r"<start_of_turn>(?P<role>\w+)\n"), "<end_of_turn>", ("<bos>",)),
}
PADDING = ("<|endoftext|>", "<|end_of_text|>", "<pad>", "<eos>")
# A line of a ChatML text that was written without its special tokens.
_ROLE_LINE = re.compile(r"^(?:system|user|assistant|tool)$", re.MULTILINE)
_RESULTS = re.compile(r"<tool_response>\n.*\n</tool_response>", re.DOTALL)
_NEXT_TURN = re.compile(r"\nuser\n(<tool_response>\n.*?\n</tool_response>)\nassistant\n", re.DOTALL)
_INPUT_WITHOUT_MARKERS = re.compile(
    r"(?:system\n(?P<system>.*?)\n)?user\n(?P<user>.*)\nassistant\n(?P<begun>(?:<think>\s*)?)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Spoken:
    """The turns of the prompt, those from the model's first answer on, and whether that ends."""

    given: list[SpokenTurn]
    made: list[SpokenTurn]
    is_cut: bool = False


def turns_of_rollout(seen: str, said: str) -> Spoken:
    """The turns of a prompt and of what followed it.

    Raises:
        BadRowError: the texts cannot be taken apart in exactly one way.
    """
    for markers in MARKERS.values():
        prompt, answer = _without(seen, markers.start), said
        if not markers.opening.match(prompt):
            continue
        *given, (role, _) = markers.turns(prompt)
        last = [*markers.opening.finditer(prompt)][-1]
        if role != "assistant" or markers.closing in prompt[last.end() :]:
            raise BadRowError("the input does not end with an open turn of the assistant")
        made = prompt[last.start() :] + _without_padding(answer)
        is_cut = markers.closing not in made[[*markers.opening.finditer(made)][-1].end() :]
        return Spoken(given, markers.turns(made), is_cut)
    return _without_markers(seen, said)


def _without(text: str, starts: tuple[str, ...]) -> str:
    for start in (*PADDING, *starts):
        while text.startswith(start):
            text = text.removeprefix(start)
    return text


def _without_padding(text: str) -> str:
    """The text without the tokens that fill a batch, after its end."""
    for padding in PADDING:
        while text.endswith(padding):
            text = text.removesuffix(padding)
    return text


def _without_markers(seen: str, said: str) -> Spoken:
    """Turns of a ChatML text of which the special tokens were left out, as verl does by default.

    Lines that hold only a role are the sole traces. There is one way to read them if each role
    stands in the input once, and in the output only around results in their tags.
    """
    match = _INPUT_WITHOUT_MARKERS.fullmatch(seen)
    if match is None:
        raise BadRowError(
            "the input has no turn markers of a known chat template, so its turns are not known. "
            "Dump the texts with special tokens, or give messages"
        )
    contents = [text for name in ("system", "user") if (text := match[name]) is not None]
    pieces = _NEXT_TURN.split(said)
    if any(map(_ROLE_LINE.search, [*contents, *pieces])):
        raise BadRowError(
            "the texts were written without special tokens, and a line that holds only a role may "
            "be a turn or a part of one. Dump them with special tokens"
        )
    given: list[SpokenTurn] = [("user", match["user"])]
    if match["system"] is not None:
        given.insert(0, ("system", match["system"]))
    made: list[SpokenTurn] = [("assistant", match["begun"] + pieces[0])]
    for result, answer in zip(pieces[1::2], pieces[2::2], strict=True):
        if _RESULTS.fullmatch(result) is None:
            raise BadRowError("a turn of results does not end where its tag does")
        made += [("user", result), ("assistant", answer)]
    return Spoken(given, made)
