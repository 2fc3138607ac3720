"""Every row of TRAINERS keeps the same laws: exported flags, hostile rows, and readable masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.auditing.audit_files import AuditConfig, audit_files, make_trainer
from atlas.auditing.rows import BadTrainingRowError, RefusedRowError, read_training_row
from atlas.auditing.supervision import ASSISTANT, TEMPLATE
from atlas.auditing.trainers.atlas_runs import AtlasTrainer
from atlas.auditing.trainers.base import TRAINERS, Trainer
from atlas.exporting.dialects.base import DIALECTS
from atlas.exporting.export_rows import rows_of
from atlas.exporting.export_selection import ExportConfig, dialect_of
from atlas.kinds import Choice
from atlas.records import Problem, Trajectory
from atlas.rendering.colored_tokens import color_tokens
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from tests.conformance.test_dialects import RENDERERS, TOOLS, TRAJECTORIES, selection_of
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# The settings with which a trainer supervises what `atlas export` has written for it.
SETTINGS: dict[str, dict[str, Any]] = {
    "agenttraj": {"read_loss": True},
    "llamafactory": {"mask_history": True},
    "trl": {"max_length": None},
}
# A role header carries loss with its turn.
INEXACT = {"torchtune"}
FILES = sorted(name for name in TRAINERS if name != "atlas")
every_trainer = pytest.mark.parametrize("name", FILES)


def trainer(name: str, template: str = "chatml", **settings: Any) -> Trainer:
    config = AuditConfig(trainer=Choice(name, SETTINGS.get(name, {}) | settings))
    return make_trainer(config, RENDERERS[template])


def exported(name: str, trajectory: Trajectory, template: str, steps: list[int]) -> list[Any]:
    config = ExportConfig(dialect=Choice(name), tokenizer=template)
    dialect = dialect_of(config, RENDERERS[template])
    made = rows_of(dialect, trajectory, selection_of(trajectory, steps))
    return [] if isinstance(made, Problem) else json.loads(json.dumps(made))


def expected(trajectory: Trajectory, renderer: Renderer, steps: list[int]) -> list[int]:
    """The supervised tokens of the selection itself."""
    ids: list[int] = []
    for example in renderer.tokenize_trajectory(trajectory, None, steps):
        ids += example.token_ids[loss_mask(example, steps)].tolist()
    return ids


def test_each_dialect_has_a_trainer() -> None:
    assert set(DIALECTS) | {"atlas"} == set(TRAINERS)


@every_trainer
@pytest.mark.parametrize("template", ["chatml", "llama-3"])
@pytest.mark.parametrize("trajectory", TRAJECTORIES, ids=lambda one: one.id)
def test_the_mask_of_an_exported_file_is_that_of_the_selection(
    name: str, template: str, trajectory: Trajectory
) -> None:
    steps = [0, 1]
    model, found = trainer(name, template), []
    for row in exported(name, trajectory, template, steps):
        made = model.supervise(read_training_row(row))
        # What follows an end of turn, such as ChatML's newline, is reported by itself.
        is_after = (made.codes & 7 == TEMPLATE) if name != "trl" else np.zeros(len(made.mask), bool)
        found += made.token_ids[made.supervised & ~is_after].tolist()
    wanted = expected(trajectory, RENDERERS[template], steps)
    if name in INEXACT:
        assert len(found) > len(wanted)
    else:
        assert found == wanted


@every_trainer
def test_every_token_has_an_owner_and_only_responses_are_supervised(name: str) -> None:
    model = trainer(name)
    for row in exported(name, TRAJECTORIES[0], "chatml", [1, 3]):
        made = model.supervise(read_training_row(row))
        shapes = {len(part) for part in (made.mask, made.kept, made.codes, made.owners)}
        assert shapes == {len(made.token_ids)}
        assert set((made.codes[made.supervised] >> 3).tolist()) == {ASSISTANT}


CHAT = [
    {"role": "system", "content": "You are in a room."},
    {"role": "user", "content": "You see a door."},
    {"role": "assistant", "content": "Thought: I open it.\nAction: open door"},
    {"role": "user", "content": "It is open."},
    {"role": "assistant", "content": "Action: go"},
]
FLAG = {
    "axolotl": ("train", True, False),
    "ms-swift": ("loss", True, False),
    "openai": ("weight", 1, 0),
    "tinker": ("trainable", True, False),
    "torchtune": ("masked", False, True),
    "verl": ("loss_mask", 1, 0),
}


def golden_row(name: str) -> dict[str, Any]:
    """A conversation in which the first response carries loss, where the trainer reads a flag."""
    messages = [dict(message) for message in CHAT]
    if name in FLAG:
        flag, on, off = FLAG[name]
        for index, message in enumerate(messages):
            message[flag] = on if index == 2 else off
    row: dict[str, Any] = {"messages": messages}
    if name == "renderers":
        row["message_loss_mask"] = [index == 2 for index in range(5)]
    if name == "parquet":
        row["critical"] = [index == 2 for index in range(5)]
    if name == "llamafactory":
        return {"conversations": messages}
    return row


@every_trainer
def test_the_mask_of_a_trainer_is_as_in_its_golden_file(name: str) -> None:
    model = make_trainer(AuditConfig(trainer=Choice(name)), RENDERERS["chatml"])
    made = model.supervise(read_training_row(golden_row(name)))
    tokenizer = RENDERERS["chatml"].tokenizer
    text = color_tokens(tokenizer, made.token_ids, made.supervised).plain + "\n"
    file = GOLDEN / f"audit_{name}.txt"
    assert text == file.read_text(encoding="utf-8"), f"{file} differs:\n{text}"


HOSTILE_VALUES: list[Any] = [None, 7, -1.5, True, [], {}, [[]], "\x1b[31m\ud83d"[:4], "x" * 5000]


@every_trainer
def test_a_hostile_row_is_refused_with_a_reason_and_never_a_crash(name: str) -> None:
    model = trainer(name)
    rows: list[Any] = list(HOSTILE_VALUES)
    for key in ("messages", "conversations", "prompt", "text", "input_ids", "labels", "tools"):
        rows += [{key: value} for value in HOSTILE_VALUES]
        rows += [{**golden_row(name), key: value} for value in HOSTILE_VALUES]
    for key in ("role", "content", "tool_calls", "loss", "train", "reasoning_content", "name"):
        for value in HOSTILE_VALUES:
            row = golden_row(name)
            [messages] = [value for value in row.values() if len(value) and value[0] not in (0, 1)]
            messages[2][key] = value
            rows.append(row)
    from atlas.auditing.auditor import Auditor
    from atlas.trajectories.formats.rows import SourceRow

    given = [SourceRow("f", index, row, f"f row {index}") for index, row in enumerate(rows)]
    tally = Auditor(model, 3).audit_rows(given, 0)
    assert tally.num_rows == len(rows)
    reported = sum(found.num_rows for found in tally.found.values())
    assert reported > 0
    assert tally.num_sequences + sum(
        tally.found[kind].num_rows for kind in ("unreadable", "refused") if kind in tally.found
    ) == len(rows)


def test_the_runs_of_atlas_have_the_mask_of_training(tmp_path: Path) -> None:
    trajectories = [*TRAJECTORIES, TOOLS, make_trajectory(2, "last")]
    runs = tmp_path / "t", tmp_path / "s"
    write_trajectories(runs[0], trajectories)
    write_selections(runs[1], [selection_of(one, [0]) for one in trajectories], runs[0])
    config = AuditConfig(
        trainer=Choice("atlas"), paths=(str(runs[0]),), selection=str(runs[1]), tokenizer="x"
    )
    audit = audit_files(config, RENDERERS["chatml"])
    wanted = [expected(one, RENDERERS["chatml"], [0]) for one in trajectories]
    assert int(audit.tally.supervised.sum()) == sum(map(len, wanted))
    assert audit.tally.num_rows == len(trajectories)
    made = make_trainer(config, RENDERERS["chatml"])
    assert isinstance(made, AtlasTrainer)
    with pytest.raises(RefusedRowError):
        made.supervise(read_training_row(golden_row("openai")))
    with pytest.raises(BadTrainingRowError):
        read_training_row({"nothing": 1})
