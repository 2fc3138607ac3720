"""torchtune 0.6.1: after `data/_messages.py` and `models/qwen2_5/_tokenizer.py`.

- `masked` true leaves a message out of the loss. torchtune's own transforms for files of messages
  do not read it and mask by role; the transform that `atlas export --to torchtune` prints does.
- The mask of a message covers its header and what follows its end: the role header of a supervised
  turn carries loss too.
- The last response has no footer; one end-of-sequence token follows it, with its mask.
- A conversation needs two messages; a system message only stands first, two user messages never
  follow each other, and a response follows a user message only.
- `max_seq_len` cuts the end and puts an end-of-sequence token, without loss, in the last place.
  This takes the loss from the last end of turn of shorter rows, too.
"""

from __future__ import annotations

from pydantic import Field

from atlas.auditing.pieces import Pieces, Text
from atlas.auditing.rows import RefusedRowError, TrainingRow
from atlas.auditing.supervision import (
    ASSISTANT,
    END,
    HEADER,
    NO_MESSAGE,
    SYSTEM,
    TEMPLATE,
    USER,
    WORDS,
    Supervision,
    code_of,
    keep_start,
)
from atlas.auditing.trainers.base import LengthConfig, Trainer, TrainerContext, as_it_is, roles_of
from atlas.auditing.trainers.responses import response_texts, unread_parts
from atlas.auditing.turn_forms import read_turn_forms

_ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


class TorchtuneConfig(LengthConfig):
    """Settings of `torchtune`."""

    read_masked: bool = Field(
        default=True,
        description="whether the transform that atlas export prints reads `masked`; torchtune's "
        "own transforms do not",
    )
    train_on_input: bool = Field(
        default=False, description="supervise all roles, where `masked` is not read"
    )


class TorchtuneTrainer(Trainer):
    """Messages whose `masked` is not true, with their role header; by role without that flag."""

    Config = TorchtuneConfig
    version = "torchtune 0.6.1"
    columns = ("messages", "conversations", "input_ids")
    reads_system = False

    def __init__(self, config: TorchtuneConfig, context: TrainerContext) -> None:
        super().__init__(config, context)
        self._config = config
        self._forms = read_turn_forms(self.template)
        self.flag = "masked" if config.read_masked else None

    def supervise(self, row: TrainingRow) -> Supervision:
        if row.token_ids is not None:
            return as_it_is(self.template, row, self.max_length)
        _refuse(row)
        flags = self._flags(row)
        pieces = Pieces(self.template)
        pieces.add([Text(self._forms.prefix, NO_MESSAGE, TEMPLATE)], supervised=False)
        lost = []
        for index, message in enumerate(row.messages):
            lost += unread_parts(message, index)
            is_last = index == len(row.messages) - 1
            for texts in self._texts(message, index, is_last):
                pieces.add(texts, flags[index])
        kept = keep_start(len(pieces.ids), self.max_length)
        if self.max_length is not None and pieces.ids:
            last = min(self.max_length, len(pieces.ids)) - 1
            pieces.mask[last] = False
            pieces.ids[last] = self.template.ids(self._forms.end)[-1]
        pieces.mask[:1] = [False] * len(pieces.mask[:1])
        return pieces.supervision(kept, roles_of(row), lost)

    def _flags(self, row: TrainingRow) -> list[bool]:
        if self._config.read_masked and "masked" in row.flags:
            # A message without the field is not masked, of whatever role.
            return [not value for value in row.flags["masked"]]
        if self._config.read_masked:
            return [True] * len(row.messages)
        everything = self._config.train_on_input
        return [everything or message["role"] == "assistant" for message in row.messages]

    def _texts(self, message: dict[str, str], index: int, is_last: bool) -> list[list[Text]]:
        """Header, words and footer, which are encoded one by one."""
        forms, role = self._forms, _ROLES[message["role"]]
        header = {SYSTEM: forms.system[0], USER: forms.user[0], ASSISTANT: forms.header}[role]
        footer = {SYSTEM: forms.system[1], USER: forms.user[1]}.get(role, forms.end + forms.tail)
        if role == ASSISTANT and is_last:
            footer = forms.end
        words = (
            response_texts(message["content"], index)
            if role == ASSISTANT
            else [Text(message["content"], index, code_of(role, WORDS))]
        )
        ending = [Text(footer, index, code_of(role, END))]
        if footer.startswith(forms.end):
            rest = footer[len(forms.end) :]
            ending = [
                Text(forms.end, index, code_of(role, END)),
                Text(rest, index, code_of(role, TEMPLATE)),
            ]
        return [[Text(header, index, code_of(role, HEADER))], words, ending]


def _refuse(row: TrainingRow) -> None:
    """`validate_messages`.

    Raises:
        RefusedRowError: torchtune stops at the row.
    """
    if len(row.messages) < 2:
        raise RefusedRowError(f"{len(row.messages)} messages, and torchtune needs at least 2")
    before = "assistant"
    for index, message in enumerate(row.messages):
        role = message["role"]
        if role not in _ROLES or message.get("tool_calls"):
            raise RefusedRowError(f"message {index} ({role!r:.40}) has a call or a role of tools")
        if role == "assistant" and before != "user":
            raise RefusedRowError(f"message {index}: a response that follows no user message")
        if role == "user" and before == "user":
            raise RefusedRowError(f"message {index}: two user messages in a row")
        if role == "system" and index:
            raise RefusedRowError(f"message {index}: a system message in mid-conversation")
        before = role
