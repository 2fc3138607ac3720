"""ms-swift 4.6.0: after `template/base.py` and `loss_scale/base.py`, agent template `hermes`.

- `loss` on an assistant message or a tool call overrides `loss_scale`: `default` supervises the
  assistant's turns, `last_round` those after the last question, `all` everything.
- Texts of equal loss are encoded together. The end of a supervised turn is supervised afterwards,
  where it follows the turn (`_add_dynamic_eos`), with what the template writes after it.
- The end of the last turn of a row counts as the assistant's, so it carries loss even where the
  turn has `loss` false.
- Neighbors of one role are joined. Fields of a message other than role, content, loss and tool
  calls are dropped without a warning, `reasoning_content` among them.
- Longer rows are left out (`truncation_strategy: delete`), or cut left or right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import Field

from atlas.auditing.pieces import Pieces, Text
from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.supervision import (
    ASSISTANT,
    CALLS,
    END,
    HEADER,
    NO_MESSAGE,
    REASONING,
    SYSTEM,
    TEMPLATE,
    TOOL,
    USER,
    WORDS,
    Supervision,
    Unwritten,
    code_of,
)
from atlas.auditing.trainers.base import Trainer, TrainerContext, as_it_is, kept_of, roles_of
from atlas.auditing.trainers.responses import response_texts, unread_parts, write_calls
from atlas.auditing.turn_forms import read_turn_forms, tools_in_system
from atlas.config import Config

_NO_THOUGHT = "<think>\n\n</think>\n\n"


class MsSwiftConfig(Config):
    """Settings of `ms-swift`, as its command-line arguments."""

    max_length: int | None = Field(
        default=None, ge=1, description="tokens of a row; see truncation_strategy"
    )
    truncation_strategy: Literal["delete", "left", "right"] = Field(
        default="delete", description="what becomes of longer rows"
    )
    loss_scale: Literal["default", "last_round", "all"] = Field(
        default="default", description="what is supervised where a message has no `loss`"
    )
    non_thinking_prefix: bool = Field(
        default=False,
        description="whether the template is one of a hybrid model, such as qwen3, which puts an "
        "empty block of thinking before responses without thinking",
    )


# A part of a turn: texts that carry the same loss.
_Part = tuple[list[Text], bool]


class MsSwiftTrainer(Trainer):
    """Assistant turns and tool calls by their `loss`, else by loss_scale; the last end always."""

    Config = MsSwiftConfig
    version = "ms-swift 4.6.0"
    flag = "loss"
    columns = ("messages", "conversations", "conversation", "input_ids")

    def __init__(self, config: MsSwiftConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self._config = config
        self._forms = read_turn_forms(self.template)

    def supervise(self, row: TrainingRow) -> Supervision:
        side = {"delete": "drop", "left": "end", "right": "start"}[self._config.truncation_strategy]
        if row.token_ids is not None:
            return as_it_is(self.template, row, self.max_length, side)
        if not row.messages:
            raise RefusedRowError("the row has no messages")
        turns, lost = _normalized(row)
        parts = self._parts(row, turns)
        pieces = Pieces(self.template)
        for texts, loss in _joined(parts):
            pieces.add(texts, loss)
        self._add_ends(pieces)
        pieces.mask[:1] = [False] * len(pieces.mask[:1])
        kept = kept_of(len(pieces.ids), self.max_length, side)
        dropped = None
        if side == "drop" and not kept.all():
            dropped = f"{len(pieces.ids):,} tokens, longer than {self.max_length:,}: left out"
        return pieces.supervision(kept, roles_of(row), lost, dropped)

    def run_settings(self) -> dict[str, Any]:
        return {**super().run_settings(), "default_system": self._forms.default_system}

    def _parts(self, row: TrainingRow, turns: list[_Turn]) -> list[_Part]:
        forms, everything = self._forms, self._config.loss_scale == "all"
        system, first = forms.default_system, NO_MESSAGE
        if turns and turns[0].role == "system":
            turn = turns.pop(0)
            system, first = turn.text, turn.index
        if not turns:
            raise RefusedRowError("the row has no turn but a system message")
        if turns[0].role == "assistant":
            turns.insert(0, _Turn("user", "", NO_MESSAGE, None))
        if row.tools:
            system = tools_in_system(self.template, forms, system, row.tools)
        parts: list[_Part] = [([Text(forms.prefix, NO_MESSAGE, TEMPLATE)], everything)]
        if system:
            parts.append(
                (
                    [
                        Text(forms.system[0], first, code_of(SYSTEM, HEADER)),
                        Text(system, first, code_of(SYSTEM, WORDS)),
                        Text(forms.system[1], first, code_of(SYSTEM, TEMPLATE)),
                    ],
                    everything,
                )
            )
        rounds = _rounds(turns)
        for number, (questions, answers) in enumerate(rounds):
            is_last = number == len(rounds) - 1
            follows_tool = not is_last and rounds[number + 1][0][0].role == "tool"
            parts.append((self._question(questions, answers), everything))
            parts += self._answer(answers, is_last)
            index = answers[-1].index
            ending = [
                Text(forms.end, index, code_of(ASSISTANT, END)),
                Text(forms.tail, index, code_of(ASSISTANT, TEMPLATE)),
            ]
            is_trained = everything or (is_last and self._config.loss_scale != "all")
            # What separates turns belongs to the next question, where that is a tool's.
            parts.append((ending, everything if follows_tool else is_trained))
        return parts

    def _question(self, questions: list[_Turn], answers: list[_Turn]) -> list[Text]:
        forms = self._forms
        role = TOOL if questions[0].role == "tool" else USER
        texts = [Text(forms.user[0], questions[0].index, code_of(role, HEADER))]
        for number, turn in enumerate(questions):
            text = turn.text
            if turn.role == "tool":
                text = ("\n" if number else "") + f"<tool_response>\n{text}\n</tool_response>"
            texts.append(Text(text, turn.index, code_of(role, WORDS)))
        return [
            *texts,
            Text(forms.user[1], questions[-1].index, code_of(role, END)),
            Text(forms.header, answers[0].index, code_of(ASSISTANT, HEADER)),
        ]

    def _answer(self, answers: list[_Turn], is_last: bool) -> list[_Part]:
        parts = []
        default = self._config.loss_scale != "last_round" or is_last
        for number, turn in enumerate(answers):
            loss = default if turn.loss is None else bool(turn.loss)
            if turn.is_call:
                texts = [Text(turn.text, turn.index, code_of(ASSISTANT, CALLS))]
            else:
                texts = response_texts(turn.text, turn.index)
            if not number and self._config.non_thinking_prefix and "<think>" not in turn.text:
                texts.insert(0, Text(_NO_THOUGHT, turn.index, code_of(ASSISTANT, REASONING)))
            parts.append((texts, loss))
        return parts

    def _add_ends(self, pieces: Pieces) -> None:
        """`_add_dynamic_eos`: supervise the end of a supervised turn."""
        ending = self.template.ids(self._forms.end + self._forms.tail)
        ids, mask = pieces.ids, pieces.mask
        size, start = len(mask), 0
        for place in range(1, size + 1):
            if mask[place - 1] and place < size and not mask[place]:
                start = place
            elif start > 0 and not mask[place - 1] and (place == size or mask[place]):
                stop = start + len(ending)
                if place - start >= len(ending) and ids[start:stop] == ending:
                    mask[start:stop] = [True] * len(ending)


class _Turn:
    """A message as ms-swift sees it after its own preparation."""

    def __init__(self, role: str, text: str, index: int, loss: Any, is_call: bool = False) -> None:
        self.role = role
        self.text = text
        self.index = index
        self.loss = loss
        self.is_call = is_call


def _normalized(row: TrainingRow) -> tuple[list[_Turn], list[Unwritten]]:
    """The turns of a row, and what is not written of them."""
    losses = row.flags.get("loss", (None,) * len(row.messages))
    turns: list[_Turn] = []
    lost: list[Unwritten] = []
    calls: list[tuple[Mapping[str, Any], int, Any]] = []

    def close_calls() -> None:
        if calls:
            text = write_calls([call for call, _, _ in calls])
            turns.append(_Turn("assistant", text, calls[0][1], calls[0][2], is_call=True))
            calls.clear()

    for index, (message, loss) in enumerate(zip(row.messages, losses, strict=True)):
        role, content = message["role"], message["content"]
        lost += unread_parts(message, index)
        if role == "tool_call":
            calls.append((_decoded(_as_call(content, index)), index, loss))
            continue
        close_calls()
        role = "tool" if role == "tool_response" else role
        if role not in ("system", "user", "assistant", "tool"):
            raise RefusedRowError(f"message {index} has the unknown role {role!r:.40}")
        if role == "system" and turns:
            raise RefusedRowError(f"message {index} is a system message in mid-conversation")
        its_calls = message.get("tool_calls") if role == "assistant" else None
        if content or not its_calls:
            turns.append(_Turn(role, content, index, loss))
        for call in its_calls or ():
            inner = call.get("function", call) if isinstance(call, dict) else call
            calls.append((_decoded(inner), index, loss))
    close_calls()
    return turns, lost


def _as_call(content: str, index: int) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise RefusedRowError(f"message {index} holds no call as JSON") from None


def _decoded(call: Any) -> dict[str, Any]:
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise RefusedRowError("a call without a name")
    arguments = call.get("arguments", call.get("parameters", {}))
    if isinstance(arguments, str):
        # A text that is not JSON is kept as it is.
        with suppress(ValueError, RecursionError):
            arguments = json.loads(arguments)
    return {"name": call["name"], "arguments": arguments}


def _rounds(turns: list[_Turn]) -> list[tuple[list[_Turn], list[_Turn]]]:
    """(questions, answers), with neighbors of one side joined."""
    rounds: list[tuple[list[_Turn], list[_Turn]]] = []
    for turn in turns:
        if turn.role == "assistant":
            rounds[-1][1].append(turn)
        elif rounds and not rounds[-1][1]:
            if rounds[-1][0][0].role != turn.role:
                raise RefusedRowError(
                    f"message {turn.index} ({turn.role}) follows a message of another kind that "
                    "has no answer"
                )
            rounds[-1][0].append(turn)
        else:
            rounds.append(([turn], []))
    if not rounds[-1][1]:
        # A question without an answer is not a pair, so it is not read.
        rounds.pop()
    if not rounds:
        raise RefusedRowError("the row has no response")
    return rounds


def _joined(parts: list[_Part]) -> list[_Part]:
    """Neighbors with the same loss, which are encoded together."""
    made: list[_Part] = []
    for texts, loss in parts:
        if made and made[-1][1] == loss:
            made[-1] = ([*made[-1][0], *texts], loss)
        else:
            made.append((texts, loss))
    return made
