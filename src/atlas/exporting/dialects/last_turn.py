"""One conversation per critical step, ending in it: the form that every trainer understands, if it trains the last turn alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from atlas.exporting.dialects.base import Row, SupervisedChat
from atlas.exporting.dialects.chat import ChatDialect, tools_field
from atlas.records import Message, Selection, Trajectory
from atlas.rendering.openai_messages import read_openai_message, write_openai_message


class LastTurnDialect(ChatDialect):
    """`prompt` (everything before) and `completion` (the critical turn), as TRL and others read them."""

    notes = """\
Row after row the same history is written and encoded again: the file and the training grow with the square of a
trajectory's length. In return nothing depends on a flag, and a template that strips earlier thinking shows the
history as it is at inference. TRL trains the completion alone (`completion_only_loss`, its default for this shape).
Other trainers: join `prompt` and `completion` and switch on "last turn only"; one that trains every assistant turn of
a conversation would train the history too."""
    one_row_per_step = True

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[Row]:
        for history, response in conversations_to_steps(trajectory, selection):
            yield {
                "prompt": [write_openai_message(message) for message in history],
                "completion": [write_openai_message(response)],
                **tools_field(trajectory),
            }

    def read(self, row: Row) -> SupervisedChat:
        messages = [*row["prompt"], *row["completion"]]
        if len(row["completion"]) != 1 or messages[-1]["role"] != "assistant":
            raise ValueError("the completion is not one assistant message")
        return SupervisedChat(
            tuple(map(read_openai_message, messages)), (*[False] * (len(messages) - 1), True)
        )


def conversations_to_steps(
    trajectory: Trajectory, selection: Selection
) -> Iterator[tuple[Sequence[Message], Message]]:
    """(what stands before it, the response) of each critical step, in order."""
    history: list[Message] = []
    for message, step in trajectory.owned_messages():
        if step in selection.indices:
            yield tuple(history), message
        history.append(message)
