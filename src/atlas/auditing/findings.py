"""What an audit can find: `supervision of a row -> findings`, each a row of the table below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from atlas.auditing.rows import INVERTED_FLAGS, TrainingRow, plain_role
from atlas.auditing.supervision import (
    ASSISTANT,
    END,
    HEADER,
    NUM_CODES,
    PARTS,
    REASONING,
    TEMPLATE,
    Supervision,
    name_of,
)

FindingName = Literal[
    "unreadable",
    "refused",
    "nothing-supervised",
    "end-of-turn",
    "end-only",
    "headers",
    "observations",
    "thinking-lost",
    "thinking-stripped",
    "content-lost",
    "truncated",
    "all-truncated",
    "double-bos",
    "stop-inside",
    "unread-flags",
    "missing-flags",
    "after-end",
    "differs",
]


@dataclass(frozen=True, slots=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        unit: what its count counts.
        sentence: what is wrong, for the terminal and the docs.
        fails: whether the exit status is 1 by default.
    """

    unit: str
    sentence: str
    fails: bool = True


FINDINGS: dict[FindingName, FindingKind] = {
    "unreadable": FindingKind("rows", "are not training rows, or not JSON"),
    "refused": FindingKind("rows", "are refused or left out by the trainer or the chat template"),
    "nothing-supervised": FindingKind("rows", "have no supervised token"),
    "end-of-turn": FindingKind(
        "turns", "are supervised without their end of turn, so the model never learns to stop there"
    ),
    "end-only": FindingKind(
        "turns", "carry loss on their end of turn only, though their words carry none"
    ),
    "headers": FindingKind("tokens", "of role headers are supervised"),
    "observations": FindingKind("tokens", "of system, user or tool messages are supervised"),
    "thinking-lost": FindingKind("turns", "are supervised without the thinking that the row holds"),
    "thinking-stripped": FindingKind(
        "turns",
        "in the context lack the thinking that the row holds, as perhaps at inference",
        fails=False,
    ),
    "content-lost": FindingKind("messages", "have words, calls or results that are not written"),
    "truncated": FindingKind(
        "turns", "with loss are cut by the maximum length, in whole or in part"
    ),
    "all-truncated": FindingKind("rows", "lose all supervised tokens by the maximum length"),
    "double-bos": FindingKind("rows", "have the token that begins a sequence twice"),
    "stop-inside": FindingKind(
        "turns", "are supervised with a token that ends a turn among their words"
    ),
    "unread-flags": FindingKind("rows", "have flags on messages that the trainer does not read"),
    "missing-flags": FindingKind(
        "rows", "lack flags that other messages or rows have, so the trainer's default decides"
    ),
    "after-end": FindingKind(
        "tokens", "after an end of turn are supervised, such as a newline", fails=False
    ),
    "differs": FindingKind(
        "rows", "are tokenized or supervised otherwise by the trainer's own code"
    ),
}
assert set(FINDINGS) == set(get_args(FindingName))
DEFAULT_FAILS: tuple[FindingName, ...] = tuple(
    name for name, kind in FINDINGS.items() if kind.fails
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding in one row: how many units, and the first of them in words."""

    name: FindingName
    count: int
    detail: str


def find_in_tokens(
    row: Supervision, bos: int | None, stop_ids: frozenset[int] = frozenset()
) -> Iterator[Finding]:
    """The findings in the tokens of a row."""
    supervised, parts, roles = row.supervised, row.codes & 7, row.codes >> 3
    if not row.mask.any():
        yield Finding("nothing-supervised", 1, f"{len(row.mask):,} tokens without loss")
    elif not supervised.any():
        yield Finding("all-truncated", 1, row.dropped or f"{len(row.mask):,} tokens before the cut")
    yield from _turns(row)
    headers = supervised & (parts == HEADER)
    if headers.any():
        yield Finding("headers", int(headers.sum()), _first_message(row, headers))
    others = supervised & (roles != ASSISTANT) & (parts != HEADER) & (roles != 0)
    if others.any():
        yield Finding("observations", int(others.sum()), _first_message(row, others))
    after = supervised & (parts == TEMPLATE) & (roles != 0) & (roles == ASSISTANT)
    after |= supervised & (roles == 0) & (parts == TEMPLATE)
    if after.any() and not others.any():
        yield Finding("after-end", int(after.sum()), _first_message(row, after))
    yield from _lost(row)
    is_inside = supervised & (roles == ASSISTANT) & (parts != END) & (parts != TEMPLATE)
    is_inside &= np.isin(row.token_ids, list(stop_ids)) & (parts != HEADER)
    if is_inside.any():
        turns = np.unique(row.owners[is_inside])
        yield Finding("stop-inside", len(turns), _first_message(row, is_inside))
    begins = (row.token_ids[:-1] == bos) & (row.token_ids[1:] == bos) if bos is not None else None
    if begins is not None and begins.any():
        yield Finding("double-bos", 1, f"at tokens {int(begins.argmax())} and the next")


def _turns(row: Supervision) -> Iterator[Finding]:
    """Turns that are cut, and turns that lack their end."""
    supervised, parts = row.supervised, row.codes & 7
    is_said = (
        (parts != END) & (parts != HEADER) & (parts != TEMPLATE) & (row.codes >> 3 == ASSISTANT)
    )
    num_messages = len(row.roles)
    if not num_messages or not row.mask.any():
        return

    def messages(tokens: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> set[int]:
        return set(np.unique(row.owners[tokens]).tolist()) - {-1}

    cut = messages(row.mask & ~row.kept & (row.codes >> 3 == ASSISTANT) & (parts != TEMPLATE))
    if cut:
        yield Finding("truncated", len(cut), f"message {min(cut)}")
    ended = messages(supervised & (parts == END))
    said = messages(supervised & is_said)
    responses = {index for index, role in enumerate(row.roles) if plain_role(role) == "assistant"}
    if bare := (ended & responses) - said - cut:
        yield Finding("end-only", len(bare), f"message {min(bare)}")
    lacking = said - ended - cut
    if lacking:
        first = min(lacking)
        has_end = bool(((row.owners == first) & (parts == END)).any())
        reason = "its end carries no loss" if has_end else "the text has no end of turn"
        yield Finding("end-of-turn", len(lacking), f"message {first}: {reason}")


def _lost(row: Supervision) -> Iterator[Finding]:
    """What the text lacks of supervised turns, and of others."""
    trained = set(np.unique(row.owners[row.mask]).tolist())
    lost: dict[FindingName, list[str]] = {}
    for name in ("thinking-lost", "thinking-stripped", "content-lost"):
        seen = {
            (one.message, one.part): None
            for one in row.unwritten
            if _name_of_lost(one.message, one.part, trained) == name
        }
        messages = dict.fromkeys(message for message, _ in seen)
        if messages:
            message, part = next(iter(seen))
            lost[name] = [f"message {message}: {PARTS[part]}"] * len(messages)
    for name, details in lost.items():
        yield Finding(name, len(details), details[0])


def _name_of_lost(message: int, part: int, trained: set[int]) -> FindingName:
    if part != REASONING:
        return "content-lost"
    return "thinking-lost" if message in trained else "thinking-stripped"


def find_in_flags(row: TrainingRow, flag: str | None) -> Iterator[Finding]:
    """Flags of a row that the trainer does not read, or that are missing.

    Args:
        flag: the flag that the trainer reads.
    """
    responses = [
        index for index, one in enumerate(row.messages) if plain_role(one["role"]) == "assistant"
    ]
    for name, values in row.flags.items():
        if name == flag:
            continue
        given = [values[index] for index in responses if values[index] is not None]
        # A flag that all responses carry changes nothing where all are trained.
        if any(bool(value) == (name in INVERTED_FLAGS) for value in given):
            yield Finding("unread-flags", 1, f"{name} on {len(given)} responses")
            break
    if flag in row.flags:
        values = row.flags[flag]
        missing = [index for index in responses if values[index] is None]
        if missing:
            yield Finding(
                "missing-flags", 1, f"{flag} is missing on message {missing[0]}, not on others"
            )


def _first_message(
    row: Supervision, tokens: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> str:
    place = int(tokens.argmax())
    owner = int(row.owners[place])
    what = name_of(int(row.codes[place]))
    return f"token {place} ({what})" if owner < 0 else f"message {owner}: {what}"


def count_codes(
    row: Supervision,
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int64]], ...]:
    """Tokens and supervised tokens by what they are, shape [NUM_CODES] each."""
    kept = row.codes[row.kept]
    return (
        np.bincount(kept, minlength=NUM_CODES).astype(np.int64),
        np.bincount(row.codes[row.supervised], minlength=NUM_CODES).astype(np.int64),
    )
