"""Training flags of chats: `message or row -> how much of each turn is trained`.

A flag stands on the message (`weight`, `loss_mask`, `train`, torchtune's inverted `masked`), on
parts of it (axolotl's `train_detail`, its flags on parts of the content), or beside the messages as
a list with an entry per message, or per message of the agent. LLaMA-Factory's `mask_history` trains
the last turn only. 0 means that a turn is not trained, 1 that it is; anything between is the
trained share of the turn, or the weight of its loss.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from atlas.trajectories.formats.calls import decode_nested
from atlas.trajectories.formats.conventions import TRUTH, is_number
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
_SPEAKER_KEYS = ("role", "from")
_AGENTS = ("assistant", "gpt", "model", "ai", "bot", "agent")
# Fields of a row that hold its flags.
ROW_KEYS = frozenset((LIST_KEY, LAST_TURN_KEY, *FLAG_KEYS, *INVERTED_KEYS))
_NUMBER = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,18})?")
METADATA = tuple(f"*.{key}" for key in (*ROW_KEYS, SPANS_KEY))
TOKENS_ONLY = (
    "the row holds token ids and no messages. Only the tokenizer that made them knows their words, "
    "and nothing says where turns begin. Import the data that they were made from (the manifest "
    "beside a file of 'atlas export' names the run), or export with --to parquet, which comes back"
)
IN_PART = "trained in part or with a weight: the score of the annotation says how much"
FLAGS_LEFT_OUT = (
    "training flags beside the messages are left out: there is not one for each message, nor one "
    "for each of the agent's"
)
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
    given = decode_nested(row.get(LIST_KEY))
    if given is not None and (not isinstance(given, list) or len(given) != len(messages)):
        found = f"{len(given)} entries" if isinstance(given, list) else repr(given)[:60]
        raise BadRowError(
            f"{LIST_KEY} is {found}, expected a list with one for each of the {len(messages)} "
            "messages"
        )
    lists: dict[str, Sequence[Any]] = {"loss_mask": given} if given is not None else {}
    for key, found_flags in _lists_of_flags(row):
        if (flags := _flag_per_message(found_flags, messages)) is not None:
            lists[key] = flags
    if messages and _truth(row.get(LAST_TURN_KEY)) == 1:
        lists["train"] = [*[False] * (len(messages) - 1), True]
    for key, flags in lists.items():
        messages = [
            {**message, key: flag} if isinstance(message, dict) and key not in message else message
            for message, flag in zip(messages, flags, strict=True)
        ]
    return messages


def row_flag_remarks(row: Any, messages: Sequence[Any]) -> list[Remark]:
    """A remark if flags beside the messages are left out, since nothing says whose they are."""
    if not isinstance(row, dict) or row.keys().isdisjoint(ROW_KEYS) or is_token_row(row):
        return []
    lists = (flags for _, flags in _lists_of_flags(row))
    if all(_flag_per_message(flags, messages) is not None for flags in lists):
        return []
    return [(-1, FLAGS_LEFT_OUT)]


def _lists_of_flags(row: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    for key in (*FLAG_KEYS, *INVERTED_KEYS):
        flags = decode_nested(row.get(key))
        if isinstance(flags, list) and flags:
            yield key, flags


def _flag_per_message(flags: list[Any], messages: Sequence[Any]) -> Sequence[Any] | None:
    """The flags of all messages, from those of all or of the agent's; None for anything else."""
    if len(flags) == len(messages):
        return flags
    speakers = [
        str(next((message[key] for key in _SPEAKER_KEYS if key in message), "")).lower()
        if isinstance(message, dict)
        else ""
        for message in messages
    ]
    answers = [index for index, who in enumerate(speakers) if who in _AGENTS]
    # Other numbers may be the losses of a training.
    if len(answers) != len(flags) or not all(_truth(flag) in (None, 0, 1) for flag in flags):
        return None
    by_place = dict(zip(answers, flags, strict=True))
    return [by_place.get(index) for index in range(len(messages))]


def _truth(value: Any) -> Any:
    """A flag that was written as a text, as its value."""
    text = value.strip().lower() if isinstance(value, str) else None
    if text in TRUTH:
        return TRUTH[text]
    return decode_nested(text) if text is not None and _NUMBER.fullmatch(text) else value


def _share(given: Any, key: str, index: int) -> float:
    value = _truth(given)
    if isinstance(value, bool) or is_number(value):
        return max(0.0, float(value))
    if isinstance(value, list) and value:
        flags = [_truth(flag) for flag in value]
        if all(isinstance(flag, bool) or is_number(flag) for flag in flags):
            return sum(max(0.0, float(flag)) for flag in flags) / len(flags)
    raise BadRowError(f"{key} is {value!r:.60}, expected true, false or a number", index)


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
