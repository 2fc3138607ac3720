"""Compares the model of a trainer with the trainer's own code, row by row and token by token.

The own code runs in a process of its own, so its environment may hold other packages than ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from atlas.auditing.audit_files import AuditConfig, found_files, make_trainer, rows_of_files
from atlas.auditing.findings import Finding
from atlas.auditing.rows import BadTrainingRowError, RefusedRowError, read_training_row
from atlas.auditing.run_trainer import ROW, TRAINERS
from atlas.auditing.supervision import Supervision
from atlas.auditing.tally import NUM_EXAMPLES, Tally
from atlas.auditing.trainers.base import Trainer, supervise_row
from atlas.errors import ConfigError, RunError
from atlas.models.local.load import load_renderer_named
from atlas.records import Problem
from atlas.rendering.renderer import Renderer
from atlas.terminal.visible_text import one_line
from atlas.trajectories.formats.rows import SourceRow

SCRIPT = Path(__file__).resolve().parent / "run_trainer.py"
IGNORED_LABEL = -100
LONGEST_DIFFERENCE = 300
PREDICTED, REFUSED, LEFT_OUT = "predicted", "refused", "left out"


@dataclass(slots=True)
class Execution:
    """What the trainer's own code made of the rows, beside what was predicted.

    Attributes:
        differences: (place of the row, what differs) of the first rows.
    """

    package: str
    version: str
    num_rows: int = 0
    num_same: int = 0
    num_tokens: int = 0
    num_differences: int = 0
    num_refused: int = 0
    differences: list[tuple[str, str]] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """The result for the terminal."""
        yield (
            f"executed:  {self.package} {self.version}: {self.num_same:,} of {self.num_rows:,} "
            f"rows as predicted, {self.num_tokens:,} tokens compared; {self.num_refused:,} rows "
            "refused by both"
        )
        for where, difference in self.differences:
            yield f"differs:   {where}: {difference}"
        if (left := self.num_differences - len(self.differences)) > 0:
            yield f"differs:   {left:,} more rows"

    def as_json(self) -> dict[str, Any]:
        """The result for the JSON report."""
        return {
            "package": self.package,
            "version": self.version,
            "rows": self.num_rows,
            "same": self.num_same,
            "refused_by_both": self.num_refused,
            "tokens": self.num_tokens,
            "differences": self.num_differences,
            "examples": [{"where": where, "difference": text} for where, text in self.differences],
        }


def execute_trainer(
    config: AuditConfig, tally: Tally, renderer: Renderer | None = None
) -> Execution:
    """Run the trainer's own code on the first rows; differences become findings of the tally.

    Raises:
        ConfigError: the trainer is one that cannot be run.
        RunError: it is not installed, or its code failed as a whole.
    """
    name = config.trainer.name
    if name not in TRAINERS:
        raise ConfigError(
            f"--execute runs {', '.join(TRAINERS)}; '{name}' has no code that reads a file here."
        )
    renderer = renderer or load_renderer_named(config.tokenizer, config.chat_template)
    assert renderer is not None
    trainer = make_trainer(config, renderer)
    with tempfile.TemporaryDirectory() as folder:
        files = found_files(config.paths, Path(folder))
        rows = [
            row
            for row in islice(rows_of_files(files), config.execute_rows)
            if not isinstance(row, Problem)
        ]
        found = _run(config, trainer, rows, Path(folder))
        header = json.loads(next(found))
        made = {line["row"]: line for line in map(json.loads, found)}
    execution = Execution(header["package"], header["version"])
    for number, row in enumerate(rows):
        execution.num_rows += 1
        difference = _compare(trainer, row, made.get(number), execution)
        if difference is None:
            execution.num_same += 1
            continue
        execution.num_differences += 1
        text = one_line(difference, LONGEST_DIFFERENCE)
        if len(execution.differences) < NUM_EXAMPLES:
            execution.differences.append((row.where, text))
        tally.add_finding(Finding("differs", 1, text), (0, row.index), row.where)
    return execution


def _run(
    config: AuditConfig, trainer: Trainer, rows: list[SourceRow], folder: Path
) -> Iterator[str]:
    """The lines that the trainer's process writes."""
    tokenizer = trainer.template.tokenizer
    tokenizer.save_pretrained(folder / "tokenizer")
    given, out, settings = folder / "rows.jsonl", folder / "out.jsonl", folder / "settings.json"
    with given.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            value = row.value if isinstance(row.value, dict) else {"messages": row.value}
            file.write(json.dumps({**value, ROW: number}) + "\n")
    settings.write_text(json.dumps(trainer.run_settings()), encoding="utf-8")
    python = config.python or sys.executable
    command = [python, str(SCRIPT), config.trainer.name, *map(str, (given, folder / "tokenizer"))]
    try:
        done = subprocess.run(
            [*command, str(settings), str(out)],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ConfigError(f"python={python} cannot be run: {error.strerror}.") from None
    if done.returncode:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise RunError(
            f"the code of {TRAINERS[config.trainer.name][0]} cannot be run with {python}: "
            f"{said[-1] if said else 'it ended without a message'}. Install the trainer there, or "
            "give python=PATH of an interpreter that has it."
        )
    return iter(out.read_text(encoding="utf-8").splitlines())


def _compare(
    trainer: Trainer, row: SourceRow, made: dict[str, Any] | None, execution: Execution
) -> str | None:
    """What differs between the row as predicted and as the trainer made it; None: nothing."""
    try:
        predicted: Supervision | None = supervise_row(trainer, read_training_row(row.value))[0]
        reason = ""
    except (BadTrainingRowError, RefusedRowError) as error:
        predicted, reason = None, str(error)
    is_left_out = predicted is not None and not predicted.supervised.any()
    if made is None or "refused" in made:
        theirs = "it leaves the row out" if made is None else f"it refuses it: {made['refused']}"
        if predicted is None or is_left_out:
            execution.num_refused += 1
            return None
        return f"{theirs}; {int(predicted.supervised.sum()):,} supervised tokens were predicted"
    labels = made["labels"]
    if predicted is None:
        return f"it takes the row, with {_count(labels):,} supervised tokens; predicted: {reason}"
    ids = predicted.token_ids[predicted.kept].tolist()
    ours = np.where(predicted.supervised, predicted.token_ids, IGNORED_LABEL)[predicted.kept]
    theirs_ids = made["ids"]
    # No position predicts the first token.
    labels[:1] = [IGNORED_LABEL] * len(labels[:1])
    execution.num_tokens += len(theirs_ids)
    if is_left_out and not _count(labels):
        return None
    if theirs_ids != ids:
        return f"its tokens differ {_where(trainer, theirs_ids, ids)}"
    if labels != ours.tolist():
        place = next(at for at, (a, b) in enumerate(zip(labels, ours, strict=True)) if a != b)
        verb = "supervises" if labels[place] != IGNORED_LABEL else "does not supervise"
        text = trainer.template.tokenizer.decode(theirs_ids[place : place + 6])
        return f"it {verb} token {place}, {text!r}, against the prediction"
    return None


def _where(trainer: Trainer, theirs: list[int], ours: list[int]) -> str:
    pairs = enumerate(zip(theirs, ours, strict=False))
    shorter = min(len(theirs), len(ours))
    place = next((at for at, (one, other) in pairs if one != other), shorter)
    decode = trainer.template.tokenizer.decode
    shown = [repr(str(decode(side[place : place + 8]))) for side in (theirs, ours)]
    return f"at token {place}: {shown[0]}, predicted {shown[1]}"


def _count(labels: list[int]) -> int:
    return sum(label != IGNORED_LABEL for label in labels)
