"""A row that holds a chat -> its trajectory.

A chat whose messages have only a role and a text is written directly as a line (`plain_chats`).
Other chats are converted to a record first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlas.records import Trajectory
from atlas.trajectories.formats.answers import REJECTED, REJECTED_KEYS, read_answer, with_answer
from atlas.trajectories.formats.calls import has_content
from atlas.trajectories.formats.chat_forms import (
    CHAT_KEYS,
    CHAT_METADATA,
    ChatForm,
    fields_of_row,
    system_of,
)
from atlas.trajectories.formats.conversations import (
    prompt_length,
    split_conversation,
    with_default_flags,
    with_system,
)
from atlas.trajectories.formats.messages import Turn, read_turns
from atlas.trajectories.formats.plain_chats import plain_chat
from atlas.trajectories.formats.rows import Reading, SourceRow
from atlas.trajectories.formats.training_flags import row_flag_remarks, with_row_flags
from atlas.trajectories.react_turns import Remark
from atlas.trajectories.trajectory_lines import TrajectoryLine

# Readers of formats need them with chats.
__all__ = ["CHAT_KEYS", "CHAT_METADATA", "ChatForm", "chat_trajectory", "read_chat"]


def read_chat(
    row: SourceRow, messages: Sequence[Any], form: ChatForm
) -> Trajectory | TrajectoryLine | Reading:
    """The trajectory of a row that holds a chat, and perhaps the answer beside it.

    Task, tools, outcome and details come from the other fields of the row.

    Raises:
        BadRowError: something is not a message, or a field does not hold what its name says.
    """
    remarks = row_flag_remarks(row.value, messages)
    messages = with_row_flags(row.value, messages)
    plain = None if remarks else plain_chat(row, messages, form)
    return plain or chat_trajectory(row, read_turns(messages, form.keys), form, remarks)


def chat_trajectory(
    row: SourceRow,
    turns: Sequence[Turn],
    form: ChatForm,
    remarks: Sequence[Remark] = (),
    *,
    is_prompt: bool = False,
) -> Trajectory | Reading:
    """The trajectory of a row whose messages were read.

    Args:
        remarks: on the row.
        is_prompt: whether the messages are what the model was given, so that the answer beside them
            is a turn of its own, also if it says the same as the last of them.

    Raises:
        BadRowError: the chat has no step, or a field does not hold what its name says.
    """
    fields = row.value if isinstance(row.value, dict) else {}
    answer, answer_key = read_answer(fields, turns, form.keys, may_be_copy=not is_prompt)
    if answer and any(turn.is_trained is False for turn in turns):
        answer = with_default_flags(answer, True)
    turns = with_answer(turns, answer) if answer else turns
    turns = with_system(turns, system_of(fields))
    rejected = [(-1, REJECTED) for key in REJECTED_KEYS if has_content(fields.get(key))]
    conversation = split_conversation(turns, prompt_length(turns))
    rest = fields_of_row(row, form, (answer_key or REJECTED_KEYS[0], *REJECTED_KEYS))
    source = rest["source"]
    rest["source"] = source.model_copy(
        update={"details": conversation.add_cut_steps(source.details)}
    )
    trajectory = Trajectory(
        prompt=conversation.prompt,
        steps=conversation.steps,
        final_observation=conversation.final_observation,
        **rest,
    )
    remarks = [*remarks, *rejected, *conversation.remarks]
    return Reading(trajectory, remarks) if remarks else trajectory
