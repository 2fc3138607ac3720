"""Training flags of chats: `message or row -> how much of each turn is trained`.

A flag stands on the message (`weight`, `loss_mask`, `train`, torchtune's inverted `masked`), on
parts of it (axolotl's `train_detail`, its flags on parts of the content), or beside the messages as
a list with an entry per message. LLaMA-Factory's `mask_history` trains the last turn only. 0 means
that a turn is not trained, 1 that it is; anything between is the trained share of the turn, or the
weight of its loss.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.trajectories.formats.conventions import is_number
from atlas.trajectories.formats.rows import BadRowError
from atlas.trajectories.react_turns import Remark

# On a message: true, false or a number; a list has one for each token.
FLAG_KEYS = (
    "weight",
    "loss",
    "train",
    "trainable",
    "train_on_turn",
    "loss_mask",
    "loss_weight",
    "loss_scale",
)
INVERTED_KEYS = ("masked",)
# Spans of characters, both ends included.
SPANS_KEY = "train_detail"
PART_KEYS = ("train", "weight")
# Beside the messages; the other keys are lists of flags only where their length says so.
LIST_KEY = "message_loss_mask"
LAST_TURN_KEY = "mask_history"
# Fields of a row that hold its flags.
ROW_KEYS = frozenset((LIST_KEY, LAST_TURN_KEY, *FLAG_KEYS, *INVERTED_KEYS))
_TRUTH = {"true": 1.0, "false": 0.0}
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,18})?")
METADATA = tuple(f"*.{key}" for key in (*ROW_KEYS, SPANS_KEY))
TOKENS_ONLY = (
    "the row holds token ids and no messages. Only the tokenizer that made them knows their words, "
    "and nothing says where turns begin. Import the data that they were made from (the manifest "
    "beside a file of 'atlas export' names the run), or export with --to parquet, which comes back"
)
IN_PART = "trained in part or with a weight: the score of the annotation says how much"
NOT_THE_AGENTS = "the source also trains turns that are not the agent's: annotations mark steps"


def is_token_row(row: Any) -> bool:
    """Whether a row is tokenized (`input_ids`, perhaps with labels or masks), without messages."""
    return isinstance(row, dict) and isinstance(row.get("input_ids"), list)


def read_flag(given: Mapping[str, Any], content: Any, index: int) -> float | None:
    """How much of a message is trained (false, true or a share); None if it has no flag.

    Raises:
        BadRowError: a flag is not what its name says.
    """
    found = [_share(given[key], key, index) for key in FLAG_KEYS if given.get(key) is not None]
    found += [
        1.0 - min(1.0, _share(given[key], key, index))
        for key in INVERTED_KEYS
        if given.get(key) is not None
    ]
    spans = given.get(SPANS_KEY)
    if spans or (spans is not None and not found):
        found.append(_share_of_spans(spans, content, index))
    found += _shares_of_parts(content, index)
    if not found:
        return None
    flag = math.prod(found)
    return bool(flag) if flag in (0, 1) else flag


def flag_remarks(flags: Sequence[float | None]) -> list[Remark]:
    """Remarks on the steps that are trained in part."""
    return [
        (step, IN_PART)
        for step, flag in enumerate(flags)
        if flag is not None and flag not in (0, 1)
    ]


def with_row_flags(row: Any, messages: Sequence[Any]) -> Sequence[Any]:
    """The messages of a row, each with the flag that stands for it beside the messages.

    Raises:
        BadRowError: a list of flags does not fit the messages.
    """
    if not isinstance(row, dict) or row.keys().isdisjoint(ROW_KEYS):
        return messages
    given = row.get(LIST_KEY)
    if given is not None and (not isinstance(given, list) or len(given) != len(messages)):
        found = f"{len(given)} entries" if isinstance(given, list) else repr(given)[:60]
        raise BadRowError(
            f"{LIST_KEY} is {found}, expected a list with one for each of the {len(messages)} "
            "messages"
        )
    lists = {"loss_mask": given} if given is not None else {}
    lists |= {
        key: row[key]
        for key in (*FLAG_KEYS, *INVERTED_KEYS)
        if isinstance(row.get(key), list) and len(row[key]) == len(messages)
    }
    if messages and _is_true(row.get(LAST_TURN_KEY)):
        lists["train"] = [*[False] * (len(messages) - 1), True]
    for key, flags in lists.items():
        messages = [
            {**message, key: flag} if isinstance(message, dict) and key not in message else message
            for message, flag in zip(messages, flags, strict=True)
        ]
    return messages


def row_flag_remarks(row: Any, num_messages: int) -> list[Remark]:
    """Remarks on lists of flags beside the messages that have another length, so are not read."""
    if not isinstance(row, dict) or row.keys().isdisjoint(ROW_KEYS):
        return []
    return [
        (
            -1,
            f"{key} beside the messages has {len(row[key])} entries, not one for each message: "
            "not read as flags",
        )
        for key in (*FLAG_KEYS, *INVERTED_KEYS)
        if isinstance(row.get(key), list) and len(row[key]) != num_messages
    ]


def _share(value: Any, key: str, index: int) -> float:
    flags = [_number(flag) for flag in (value if isinstance(value, list) else [value])]
    numbers = [max(0.0, flag) for flag in flags if flag is not None]
    if not flags or len(numbers) < len(flags):
        raise BadRowError(f"{key} is {value!r:.60}, expected true, false or a number", index)
    return sum(numbers) / len(numbers)


def _number(value: Any) -> float | None:
    """A flag as a number; tables may hold it as a text. None if it is something else."""
    if isinstance(value, str):
        text = value.strip().lower()
        if text in _TRUTH:
            return _TRUTH[text]
        value = float(text) if _NUMBER.fullmatch(text) else None
    return float(value) if isinstance(value, bool) or is_number(value) else None


def _is_true(value: Any) -> bool:
    return _number(value) == 1


def _share_of_spans(spans: Any, content: Any, index: int) -> float:
    """The share of the characters that lie in trained spans."""
    length = len(content) if isinstance(content, str) else 0
    num_trained = reached = 0
    for start, end in sorted(_trained_spans(spans, index)):
        start, end = max(start, reached), min(end + 1, length)
        if start < end:
            num_trained += end - start
            reached = end
    return num_trained / length if length else 0.0


def _trained_spans(spans: Any, index: int) -> Iterator[tuple[int, int]]:
    for span in spans if isinstance(spans, list) else [spans]:
        fields = span if isinstance(span, dict) else {}
        start, end, flag = (fields.get(key) for key in ("begin_offset", "end_offset", "train"))
        if type(start) is not int or type(end) is not int or not isinstance(flag, bool):
            raise BadRowError(
                f"{SPANS_KEY} has {span!r:.60}, expected objects with 'begin_offset', "
                "'end_offset' and 'train'",
                index,
            )
        if flag:
            yield start, end


def _shares_of_parts(content: Any, index: int) -> Iterator[float]:
    """The trained share of the characters of a list of parts, if one of them has a flag."""
    parts = (
        [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    )
    if all(part.get(key) is None for part in parts for key in PART_KEYS):
        return
    num_trained = num_characters = 0.0
    for part in parts:
        text = next((part[key] for key in ("text", "content", "value") if part.get(key)), "")
        flags = [_share(part[key], key, index) for key in PART_KEYS if part.get(key) is not None]
        length = len(text) if isinstance(text, str) else 0
        num_characters += length
        num_trained += length * (flags[0] if flags else 1.0)
    yield num_trained / num_characters if num_characters else 0.0
