"""Reads answers that a model gave elsewhere: `file -> the answer about each trajectory`.

A line of the file has the id of a trajectory and an answer in the form that the prompt of `oracle`
asks for: `{"id": "…", "answer": {"plan": "…", "critical_steps": […]}}`. The answer may also be a
text, as a model wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from atlas.errors import ConfigError, DataError
from atlas.records import CriticalStep, Problem, Trajectory
from atlas.selection.judging.answer import AnswerError, read_answer
from atlas.store.run_folders import Input

ID, ANSWER = "id", "answer"


class RecordedAnswers:
    """The answers of a file, by trajectory.

    Raises:
        ConfigError: the file cannot be read.
        DataError: a line is not an answer, two differ for one trajectory, or there is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"answers {path} cannot be read ({error.strerror}). Give answers=FILE, JSON Lines."
            ) from None
        self.input = Input(path=path.name, digest=hashlib.sha256(content).hexdigest())
        self._path = path
        self._texts: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        for number, line in enumerate(content.splitlines(), start=1):
            if line.strip():
                self._add(number, line)
        if not self._texts:
            raise DataError(f"answers {path} has no answer, expected one a line.")

    def find(self, trajectory: Trajectory, budget: int) -> list[CriticalStep] | str:
        """The steps that the answer names, or why there are none."""
        text = self._texts.get(trajectory.id)
        if text is None:
            return f"no answer in {self._path.name}"
        try:
            return read_answer(text, range(len(trajectory.steps)), budget)
        except AnswerError as error:
            line = self._lines[trajectory.id]
            return f"unusable answer in {self._path.name} line {line}: {error}"

    def check(self, num_steps: Mapping[str, int]) -> Sequence[Problem]:
        """A problem for each answer about a trajectory that is not selected from."""
        return [
            Problem(
                where=f"{self._path.name} line {self._lines[id_]}",
                reason=f"trajectory '{id_:.200}' is not among those that are selected from "
                "('atlas show' lists their ids)",
                item=id_,
            )
            for id_ in self._texts
            if id_ not in num_steps
        ]

    def _add(self, number: int, line: bytes) -> None:
        where = f"answers {self._path} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{where} is not JSON. {EXPECTED}") from None
        id_ = row.get(ID) if isinstance(row, dict) else None
        answer = row.get(ANSWER) if isinstance(row, dict) else None
        if not isinstance(id_, str) or not isinstance(answer, str | dict):
            raise DataError(
                f"{where} has not both the id of a trajectory and an answer. {EXPECTED}"
            )
        text = answer if isinstance(answer, str) else json.dumps(answer)
        if self._texts.get(id_, text) != text:
            raise DataError(
                f"{where} has another answer about '{id_:.200}' than line {self._lines[id_]}. Keep "
                "one of them, or put the answers of each reader into a file."
            )
        self._texts[id_], self._lines[id_] = text, number


EXPECTED = 'Expected a line such as {"id": "…", "answer": {"plan": "…", "critical_steps": []}}.'
