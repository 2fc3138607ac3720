"""axolotl 0.21.0, `type: chat_template`: after `prompt_strategies/chat_template.py`.

- Whether a turn is trained: its flag, if `message_field_training` names it; else its role is in
  `roles_to_train`, or `train_on_inputs` is set. Without `message_field_training` no flag is read.
- The words of a turn are found by rendering the conversation twice more, each time with another
  placeholder in its place without reasoning and calls: where the texts differ is the turn.
- The end of a turn is not in this span. It is the first `eot_tokens` (the eos token, if none are
  given) within three tokens, trained as `train_on_eot` says, which is `train_on_eos` if not given.
  A template that ends turns otherwise leaves the end untrained.
- Of a message only role, content and (without `message_property_mappings`) `reasoning_content` are
  read, and fields that the template reads from a variable called `message`
  (`jinja_template_analyzer.py`): a template whose loop names it otherwise gets no calls.
- A tokenizer that does not encode the rendered text to the same tokens falls back to another
  search; that is not modeled.
- `sequence_len` drops longer rows; `excess_length_strategy: truncate` cuts their end.
"""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from atlas.auditing.rows import (
    CALL_KEYS,
    REASONING_KEYS,
    RefusedRowError,
    TrainingRow,
    holds_any,
    plain_role,
)
from atlas.auditing.supervision import CALLS, REASONING, Supervision, Unwritten
from atlas.auditing.template import LaidOut
from atlas.auditing.trainers.base import (
    Trainer,
    TrainerContext,
    as_it_is,
    as_supervision,
)
from atlas.config import Config
from atlas.rendering.text_prefix import num_common

Ends = Literal["all", "turn", "last", "none"]
_PLACEHOLDERS = ("[[dummy_message]]", "zzdummymessagezz")
# The end of a turn is looked for this far behind its words.
_PADDING = 3


class AxolotlConfig(Config):
    """Settings of `axolotl`, as in its YAML file."""

    max_length: int | None = Field(
        default=None, ge=1, description="sequence_len; see excess_length_strategy; none: no limit"
    )
    excess_length_strategy: Literal["drop", "truncate", "raise"] = Field(
        default="drop", description="what becomes of rows longer than max_length"
    )
    message_field_training: str | None = Field(
        default="train",
        description="the flag of a message; axolotl's own default is none, which reads no flag",
    )
    field_messages: str = Field(
        default="messages", description="the column of the messages, such as conversations"
    )
    read_from_value: bool = Field(
        default=False,
        description="whether message_property_mappings is {role: from, content: value}, as for "
        "rows of ShareGPT",
    )
    roles_to_train: tuple[str, ...] = Field(
        default=("assistant",), description="roles that are trained where a message has no flag"
    )
    train_on_inputs: bool = Field(default=False, description="train the turns of all roles")
    train_on_eos: Ends = Field(
        default="turn", description="of which turns the end-of-sequence token is trained"
    )
    train_on_eot: Ends | None = Field(
        default=None, description="of which turns the end of turn is trained; none: train_on_eos"
    )
    map_reasoning: bool = Field(
        default=True,
        description="whether reasoning_content is mapped, as without message_property_mappings",
    )
    eot_tokens: tuple[str, ...] | None = Field(
        default=None, description="tokens that end a turn; none: the end-of-sequence token"
    )


class AxolotlTrainer(Trainer):
    """Turns by the flag `train`, else by role; the end of turn only if it is known."""

    Config = AxolotlConfig
    version = "axolotl 0.21.0"

    def __init__(self, config: AxolotlConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self._config = config
        self.flag = config.message_field_training
        self.columns = config.field_messages, "input_ids"
        self.spellings = ("from",) if config.read_from_value else ("role",)
        tokenizer = self.template.tokenizer
        ends = config.eot_tokens
        if ends is None:
            ends = () if tokenizer.eos_token is None else (tokenizer.eos_token,)
        encoded = (self.template.ids(end) for end in ends)
        self._eot_ids = {ids[0] for ids in encoded if len(ids) == 1}
        self._eos_ids = set() if tokenizer.eos_token_id is None else {int(tokenizer.eos_token_id)}

    def supervise(self, row: TrainingRow) -> Supervision:
        side = {"drop": "drop", "truncate": "start", "raise": "drop"}[
            self._config.excess_length_strategy
        ]
        if row.token_ids is not None:
            return as_it_is(self.template, row, self.max_length, side)
        if not row.messages:
            raise RefusedRowError("the row has no messages: axolotl's chat_template needs them")
        chat = [_with_objects(self._read_fields(message)) for message in row.messages]
        laid = self.template.lay_out(chat, row.tools)
        mask = self._mask(row, chat, laid)
        made = as_supervision(laid, mask, row, self.max_length, side)
        return replace(made, unwritten=(*made.unwritten, *_dropped(row, chat)))

    @cached_property
    def _fields(self) -> set[str]:
        """The fields of a message that are read."""
        fields = {"role", "content", "reasoning_content"}
        if not self._config.map_reasoning:
            fields.remove("reasoning_content")
        return fields | self.template.fields_of("message")

    def _read_fields(self, message: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in message.items() if key in self._fields}

    def _mask(
        self, row: TrainingRow, chat: list[dict[str, Any]], laid: LaidOut
    ) -> NDArray[np.bool_]:
        config = self._config
        mask = np.zeros(len(laid.ids), dtype=np.bool_)
        ids = laid.ids.tolist()
        # The EOT token is looked for before the EOS token.
        options = [
            (self._eot_ids, config.train_on_eot or config.train_on_eos),
            (self._eos_ids, config.train_on_eos),
        ]
        last = [-1, -1]
        looks_at_all = "all" in (option for _, option in options)
        for index, trained in enumerate(self.trained(row)):
            if not trained and not looks_at_all:
                continue
            start, end = self._span(chat, row, laid, index)
            if trained and start >= 0:
                mask[start:end] = True
            for number, (wanted, option) in enumerate(options):
                place = next(
                    (one for one in range(max(end, 0), len(ids)) if ids[one] in wanted), -1
                )
                if place < 0 or abs(place - end) > _PADDING:
                    continue
                last[number] = place
                if option == "all" or (option == "turn" and trained):
                    mask[place] = True
        for place, (_, option) in zip(last, options, strict=True):
            if option == "last" and place >= 0:
                mask[place] = True
        return mask

    def trained(self, row: TrainingRow) -> list[bool]:
        """Whether each turn is trained."""
        config = self._config
        values = row.flags.get(config.message_field_training or "", (None,) * len(row.messages))
        roles = set(config.roles_to_train)
        return [
            bool(value) if value is not None else config.train_on_inputs or message["role"] in roles
            for value, message in zip(values, row.messages, strict=True)
        ]

    def _span(
        self, chat: list[dict[str, Any]], row: TrainingRow, laid: LaidOut, index: int
    ) -> tuple[int, int]:
        """The tokens of a turn, [start, end)."""
        message, text = chat[index], laid.text
        if not index and plain_role(message["role"]) == "system" and self._is_mistral:
            return -1, -1
        plain = self._plain_span(message, laid, index)
        if plain is None:
            starts, ends = [], []
            for placeholder in _PLACEHOLDERS:
                other = [
                    *chat[:index],
                    {"role": message["role"], "content": placeholder},
                    *chat[index + 1 :],
                ]
                there = self.template.render(other, row.tools)
                start = num_common(text, there)
                limit = min(len(text), len(there)) - start
                same = num_common(text[start:][::-1], there[start:][::-1])
                starts.append(start)
                ends.append(len(text) - min(same, limit))
            plain = min(starts), max(ends)
        start, end = plain
        if end <= start:
            return -1, -1
        first = bisect_right(laid.stops.tolist(), start)
        after = bisect_left(laid.starts.tolist(), end)
        return (first, after) if after > first else (-1, -1)

    def _plain_span(
        self, message: Mapping[str, Any], laid: LaidOut, index: int
    ) -> tuple[int, int] | None:
        """The characters of a turn of words only, which are where its marks are."""
        content = message["content"]
        is_plain = len(message) == 2 and content and content == content.strip()
        if not is_plain or "<think>" in content or "</think>" in content:
            return None
        places = np.flatnonzero(laid.layout.messages == index).tolist()
        for place in places:
            start = int(laid.layout.starts[place])
            if laid.text.startswith(content, start):
                return start, start + len(content)
        return None

    @property
    def _is_mistral(self) -> bool:
        return "mistral" in str(self.template.tokenizer.name_or_path).lower()

    def run_settings(self) -> dict[str, Any]:
        settings = super().run_settings()
        return {key: None if value == "none" else value for key, value in settings.items()}


def _dropped(row: TrainingRow, chat: list[dict[str, Any]]) -> list[Unwritten]:
    """The parts of messages that are not read."""
    parts = (CALL_KEYS, CALLS), (REASONING_KEYS, REASONING)
    return [
        Unwritten(index, part)
        for index, (message, read) in enumerate(zip(row.messages, chat, strict=True))
        for keys, part in parts
        if holds_any(message, keys) and not holds_any(read, keys)
    ]


def _with_objects(message: dict[str, Any]) -> dict[str, Any]:
    """The message with arguments of calls as objects, which axolotl decodes."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    made = []
    for call in calls:
        inner = call.get("function") if isinstance(call, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get("arguments"), str):
            try:
                arguments = json.loads(inner["arguments"])
            except (ValueError, RecursionError):
                raise RefusedRowError("arguments of a call are not JSON: axolotl stops") from None
            call = {**call, "function": {**inner, "arguments": arguments}}
        made.append(call)
    return {**message, "tool_calls": made}
