"""OpenAI messages with a flag per turn: `weight`, `train`, or a list `message_loss_mask`."""

from __future__ import annotations

from collections.abc import Iterator

from atlas.exporting.dialects.base import Change, Dialect, ExportRow, SupervisedChat
from atlas.exporting.dialects.changes import OF_FLAGS, has_reasoning
from atlas.exporting.dialects.chat import (
    flagged_messages,
    read_flagged,
    read_listed,
    tools_field,
    write_flagged,
)
from atlas.exporting.dialects.demands import (
    BROKEN_ARGUMENTS,
    CALLS_WITHOUT_ID,
    EMPTY_STEPS,
    MISSING_RESULTS,
    ORPHAN_RESULTS,
    REPEATED_IDS,
)
from atlas.records import Selection, Trajectory
from atlas.rendering.openai_messages import write_openai_message


class OpenAIDialect(Dialect):
    """`weight` 1 on critical turns, 0 on every other assistant turn."""

    notes = """\
Not run against OpenAI's service, which only takes uploads. It documents `weight` 0 or 1 on
assistant messages, 1 if absent. It does not know `reasoning_content`: strip it, or expect the
upload to be refused. Many open trainers read this shape but not `weight` (TRL, LLaMA-Factory and
torchtune train every assistant turn of it): use their own dialects."""
    changes = (
        *OF_FLAGS,
        Change(
            "reasoning is in `reasoning_content`, which OpenAI's service does not know",
            has_reasoning,
            name="reasoning_unknown",
        ),
    )
    demands = (MISSING_RESULTS, ORPHAN_RESULTS, REPEATED_IDS, CALLS_WITHOUT_ID)

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        messages = write_flagged(trajectory, selection, "weight", int)
        for message in messages:
            if message["role"] != "assistant":
                del message["weight"]
        yield {"messages": messages, **tools_field(trajectory)}

    def read(self, row: ExportRow) -> SupervisedChat:
        return read_flagged(row["messages"], "weight", default=True)


class AxolotlDialect(Dialect):
    """`train` true on critical turns, false on all others."""

    notes = """\
Run with axolotl 0.19.0 and, on Python 3.12, 0.21.0 (chat_template strategy and the stanza below).
0.21 reads tool calls only if the template's loop calls a message `message`.
`message_field_training` makes a turn's `train` override `roles_to_train`; without it every
assistant turn is trained. `train_on_eos: turn` trains the end of critical turns
only (`all`: of every turn, observations included). If turns do not end in the tokenizer's eos token
(Llama 3: <|eot_id|>), name their end in `eot_tokens`, or the model never learns to stop. Sequences
over `sequence_len` are dropped or cut, wherever the critical steps are. A turn without words and
calls is not found and not trained, and arguments that are not JSON stop it (read in its code). It
also reads `train_detail`, spans of characters, which is not written here."""
    stanza = """\
datasets:
  - path: {file}
    ds_type: json
    type: chat_template
    field_messages: messages
    message_property_mappings: {role: role, content: content, reasoning_content: reasoning_content}
    message_field_training: train
    roles_to_train: []
    train_on_eos: turn
chat_template: tokenizer_default"""
    changes = OF_FLAGS
    demands = (EMPTY_STEPS, BROKEN_ARGUMENTS)

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        messages = write_flagged(trajectory, selection, "train")
        yield {"messages": messages, **tools_field(trajectory)}

    def read(self, row: ExportRow) -> SupervisedChat:
        return read_flagged(row["messages"], "train", default=False, any_role=True)


class RenderersDialect(Dialect):
    """`message_loss_mask` beside `messages`: a boolean per message, for `build_training_sample`."""

    notes = """\
Run with renderers 0.1.12 (Qwen3Renderer and build_training_sample; an empty <think> block that
Qwen3 writes into the last turn is trained with it). The mask only narrows what the renderer calls
sampled: critical turns and their end of turn. Other turns stay as context. A renderer without a
sampled mask (DefaultRenderer) asks for `role_to_mask` and then trains role headers too: use the
model's own. Pass `ensure_final_stop=True` for templates that do not close the last turn."""
    stanza = """\
for row in map(json.loads, open("{file}")):
    sample = renderers.base.build_training_sample(
        renderer,
        row["messages"],
        tools=row.get("tools"),
        message_loss_mask=row["message_loss_mask"],
    )"""
    changes = OF_FLAGS

    def rows(self, trajectory: Trajectory, selection: Selection) -> Iterator[ExportRow]:
        flagged = list(flagged_messages(trajectory, selection))
        yield {
            "messages": [write_openai_message(message) for message, _ in flagged],
            "message_loss_mask": [critical for _, critical in flagged],
            **tools_field(trajectory),
        }

    def read(self, row: ExportRow) -> SupervisedChat:
        return read_listed(row["messages"], row["message_loss_mask"], "message_loss_mask")
