"""LLaMA-Factory 0.9.5: after `data/converter.py`, `data/template.py` and `data/processor/`.

- Conversations alternate between the user's side (user, observation) and the assistant's
  (assistant, function call); others are skipped with a warning in the log only. So are odd
  numbers of turns.
- Each turn is encoded on its own. A response carries loss with its end of turn and what its
  template writes after it (ChatML: a newline). No flag is read.
- `mask_history` supervises the last turn only; `train_on_prompt` all turns.
- `cutoff_len` (2,048) cuts inside of turns: with `mask_history` the beginning of the row goes
  first.
- A reasoning template (Qwen3) puts an empty block of thinking, with loss, before a response without
  one, and with `mask_history` it strips thinking from earlier turns.
- Rows with `messages` count as the format `openai`. It writes tool calls without the words beside
  them, and adds "detailed thinking off" to the system text of rows without tools.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
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
from atlas.auditing.trainers.base import Trainer, TrainerContext, as_it_is, roles_of
from atlas.auditing.trainers.responses import (
    cut_thinking,
    response_texts,
    unread_parts,
    write_calls,
)
from atlas.auditing.turn_forms import read_turn_forms, tools_in_system
from atlas.config import Config

# Role in the row -> side of the conversation and role in the template.
_SIDES = {
    "user": "user",
    "tool": "observation",
    "observation": "observation",
    "assistant": "assistant",
    "function_call": "function",
}
_NEXT_RESULT = "\n</tool_response>\n<tool_response>\n"
_THINKING = "detailed thinking"
_NO_THINKING = f"{_THINKING} off"
_EMPTY_THOUGHT = "<think>\n\n</think>\n\n"


# (role, text, message).
_Turn = tuple[str, str, int]


class LlamaFactoryConfig(Config):
    """Settings of `llamafactory`, as in its YAML file."""

    max_length: int = Field(default=2048, ge=1, description="cutoff_len")
    mask_history: bool = Field(default=False, description="supervise the last turn only")
    train_on_prompt: bool = Field(default=False, description="supervise the user's turns too")
    reasoning_template: bool | None = Field(
        default=None,
        description="whether the template is one for reasoning, such as qwen3; none: if the chat "
        "template writes <think> into a response without thinking",
    )
    observations: Literal["tool_response", "user"] = Field(
        default="tool_response",
        description="how its template writes a tool result: in <tool_response> tags (qwen), or as "
        "the user's text (parsed from the tokenizer)",
    )


class LlamaFactoryTrainer(Trainer):
    """Every response with its end of turn, or the last one (mask_history); no flag is read."""

    Config = LlamaFactoryConfig
    version = "llamafactory 0.9.5"
    columns = ("messages", "conversations", "input_ids")

    def __init__(self, config: LlamaFactoryConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self._config = config
        self._forms = read_turn_forms(self.template)
        self._reasons = config.reasoning_template
        if self._reasons is None:
            asked = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
            self._reasons = "<think>" in self.template.render(asked)

    def supervise(self, row: TrainingRow) -> Supervision:
        if row.token_ids is not None:
            return as_it_is(self.template, row, self._config.max_length)
        turns, system, lost = self._turns(row)
        pieces = Pieces(self.template)
        sizes = []
        for number in range(0, len(turns), 2):
            is_last = number == len(turns) - 2
            opening = self._opening(row, system) if not number else []
            size = sum(pieces.add(texts, self._config.train_on_prompt) for texts in opening)
            size += pieces.add(self._question(turns[number]), self._config.train_on_prompt)
            trained = is_last or not self._config.mask_history
            texts = self._answer(turns[number + 1], is_last)
            sizes.append((size, pieces.add(texts, trained)))
        kept = _cut(sizes, self._config.max_length, from_end=self._config.mask_history)
        return pieces.supervision(kept, roles_of(row), lost)

    def _turns(self, row: TrainingRow) -> tuple[list[_Turn], str, list[Unwritten]]:
        """The turns, the system text, and what is not written."""
        messages = list(enumerate(row.messages))
        system = ""
        if messages and messages[0][1]["role"] == "system":
            system = messages.pop(0)[1]["content"]
        if isinstance(row.raw, dict) and "conversations" not in row.raw:
            system = _openai_system(system, bool(row.tools))
        turns: list[_Turn] = []
        results: list[str] = []
        lost: list[Unwritten] = []
        for index, message in messages:
            role, content = self._said(message, index, lost)
            if role == "observation" and message["role"] == "tool":
                results.append(content)
                continue
            if results:
                turns.append(("observation", _NEXT_RESULT.join(results), index - 1))
                results = []
            turns.append((role, content, index))
        _refuse(turns)
        return turns, system, lost

    def _said(self, message: dict[str, Any], index: int, lost: list[Unwritten]) -> tuple[str, str]:
        """Role and text of a message; what they lack of it is added to `lost`."""
        role, content = _SIDES.get(message["role"]), message["content"]
        if role is None:
            raise RefusedRowError(f"the role {message['role']!r:.40} is unknown: row skipped")
        lost += unread_parts(message, index)
        calls = message.get("tool_calls")
        if not calls:
            return role, content
        if content.strip():
            lost.append(Unwritten(index, WORDS))
        named = [call.get("function", call) for call in calls if isinstance(call, dict)]
        return "function", json.dumps(named, ensure_ascii=False)

    def _opening(self, row: TrainingRow, system: str) -> list[list[Text]]:
        forms = self._forms
        system = system or forms.default_system
        opening = [[Text(forms.prefix, NO_MESSAGE, TEMPLATE)]]
        if row.tools:
            system = tools_in_system(self.template, forms, system, row.tools)
        if system:
            index = 0 if row.messages[0]["role"] == "system" else NO_MESSAGE
            role = SYSTEM if index == 0 else 0
            opening.append(
                [
                    Text(forms.system[0], index, code_of(role, HEADER)),
                    Text(system, index, code_of(SYSTEM, WORDS)),
                    Text(forms.system[1], index, code_of(role, TEMPLATE)),
                ]
            )
        return opening

    def _question(self, turn: tuple[str, str, int]) -> list[Text]:
        role, content, index = turn
        forms = self._forms
        who = TOOL if role == "observation" else USER
        before, after = "", ""
        if role == "observation" and self._config.observations == "tool_response":
            before, after = "<tool_response>\n", "\n</tool_response>"
        return [
            Text(forms.user[0] + before, index, code_of(who, HEADER)),
            Text(content, index, code_of(who, WORDS)),
            Text(after + forms.user[1], index, code_of(who, END)),
            Text(forms.header, index + 1, code_of(ASSISTANT, HEADER)),
        ]

    def _answer(self, turn: tuple[str, str, int], is_last: bool) -> list[Text]:
        role, content, index = turn
        forms = self._forms
        discards = self._config.mask_history
        if self._reasons and discards and not is_last:
            content = cut_thinking(content)
        if role == "function":
            texts = _function_texts(content, index)
        else:
            texts = response_texts(content, index)
        lacks_thought = "<think>" not in content and "</think>" not in content
        if self._reasons and lacks_thought and (is_last or not discards):
            texts.insert(0, Text(_EMPTY_THOUGHT, index, code_of(ASSISTANT, REASONING)))
        return [
            *texts,
            Text(forms.end, index, code_of(ASSISTANT, END)),
            Text(forms.tail, index, code_of(ASSISTANT, TEMPLATE)),
        ]

    def run_settings(self) -> dict[str, Any]:
        template = "qwen3" if self._reasons else "qwen"
        default = self._forms.default_system
        return {**super().run_settings(), "template": template, "default_system": default}


def _openai_system(system: str, has_tools: bool) -> str:
    """The system text that the converter for the format `openai` makes."""
    if has_tools:
        return f"{system}\n" if system else ""
    if not system:
        return _NO_THINKING
    is_said = f"{_THINKING} on" in system or _NO_THINKING in system
    return system if is_said else f"{system}\n{_NO_THINKING}"


def _refuse(turns: list[_Turn]) -> None:
    """Refuse turns that do not alternate.

    Raises:
        RefusedRowError: the trainer skips the row.
    """
    for number, (role, _, index) in enumerate(turns):
        sides = (("user", "observation"), ("assistant", "function"))[number % 2]
        if role not in sides:
            raise RefusedRowError(
                f"message {index} ({role}) stands where {' or '.join(sides)} was expected: row "
                "skipped"
            )
    if not turns or len(turns) % 2:
        raise RefusedRowError(f"{len(turns)} turns, expected an even number: row skipped")


def _function_texts(content: str, index: int) -> list[Text]:
    """A turn of calls, with thinking before it."""
    thinking, closing, rest = content.rpartition("</think>")
    text = rest if closing else content
    try:
        calls = json.loads(text)
        written = write_calls(calls if isinstance(calls, list) else [calls])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RefusedRowError(
            f"message {index} holds no calls as JSON: the trainer stops"
        ) from None
    made = [Text(thinking + closing, index, code_of(ASSISTANT, REASONING))] if closing else []
    return [*made, Text(written, index, code_of(ASSISTANT, CALLS))]


def _cut(sizes: list[tuple[int, int]], limit: int, *, from_end: bool) -> Any:
    """What is kept of pairs of question and answer, given the numbers of their tokens."""
    kept: list[Any] = []
    total = 0
    for question, answer in reversed(sizes) if from_end else sizes:
        rest = limit - total
        first, second = (0, 0) if rest <= 0 else _lengths(question, answer, rest)
        total += first + second
        pair = np.concatenate(
            [np.arange(question) < first, np.arange(answer) < second], dtype=np.bool_
        )
        kept.append(pair)
    return np.concatenate(kept[::-1] if from_end else kept)


def _lengths(question: int, answer: int, limit: int) -> tuple[int, int]:
    """`infer_seqlen`: how many tokens of each are kept."""
    if answer * 2 < limit:
        longest = limit
    elif question * 2 < limit:
        longest = limit - question
    else:
        longest = int(limit * (answer / (question + answer)))
    second = min(longest, answer)
    return min(max(limit - second, 0), question), second
