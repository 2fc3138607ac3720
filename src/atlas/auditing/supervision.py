"""What a trainer makes of one row: tokens, which of them carry loss, and what each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a token is: a role and a part of it, as one number.
ROLES = ("none", "system", "user", "assistant", "tool")
PARTS = ("template", "header", "words", "reasoning", "calls", "end")
NONE, SYSTEM, USER, ASSISTANT, TOOL = range(len(ROLES))
TEMPLATE, HEADER, WORDS, REASONING, CALLS, END = range(len(PARTS))
NUM_CODES = len(ROLES) * 8
NO_MESSAGE = -1


def code_of(role: int, part: int) -> int:
    """The number of a role and a part."""
    return role * 8 + part


def name_of(code: int) -> str:
    """A role and a part in words, such as `assistant words`."""
    role, part = divmod(code, 8)
    return f"{ROLES[role]} {PARTS[part]}" if role else PARTS[part]


@dataclass(frozen=True, slots=True)
class Unwritten:
    """A part of a message that the trainer's text lacks, such as its reasoning."""

    message: int
    part: int


@dataclass(frozen=True, slots=True)
class Supervision:
    """The tokens of one training sequence, shape [T] each.

    Attributes:
        mask: the tokens with loss, before the sequence is cut.
        kept: the tokens that are left after the sequence is cut to the trainer's length.
        codes: what each token is (`code_of`).
        owners: the message that each token belongs to, or -1.
        roles: the role of each message.
        unwritten: what the text lacks.
        dropped: why the trainer leaves the whole sequence out, if it does.
    """

    token_ids: NDArray[np.int32]
    mask: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    codes: NDArray[np.uint8]
    owners: NDArray[np.int32]
    roles: tuple[str, ...] = ()
    unwritten: tuple[Unwritten, ...] = ()
    dropped: str | None = None

    @property
    def supervised(self) -> NDArray[np.bool_]:
        """The tokens that carry loss in the end."""
        return self.mask & self.kept


def whole(num_tokens: int) -> NDArray[np.bool_]:
    """A mask in which no token is cut."""
    return np.ones(num_tokens, dtype=np.bool_)


def keep_start(num_tokens: int, max_length: int | None) -> NDArray[np.bool_]:
    """A mask that cuts the end of a longer sequence."""
    kept = whole(num_tokens)
    if max_length is not None:
        kept[max_length:] = False
    return kept


def keep_end(num_tokens: int, max_length: int | None) -> NDArray[np.bool_]:
    """A mask that cuts the beginning of a longer sequence."""
    kept = whole(num_tokens)
    if max_length is not None and num_tokens > max_length:
        kept[: num_tokens - max_length] = False
    return kept


def array(values: Any, kind: Any) -> Any:
    """A sequence as an array of one kind of numbers."""
    return np.asarray(values, dtype=kind)
