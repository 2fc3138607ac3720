"""The trainer of docs/extending.md as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.auditing.audit_files import AuditConfig, audit_files
from atlas.auditing.audit_report import as_json
from atlas.kinds import Choice
from atlas.rendering.renderer import Renderer
from tests.conformance.test_trainers import CHAT, HOSTILE_VALUES
from tests.extending_rows import write_examples
from tests.templates import CHATML, tiny_tokenizer


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    assert "my_lab/opening.py" in write_examples(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(rows: list[Any], **settings: Any) -> dict[str, Any]:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        trainer = Choice("my_lab.opening:OpeningTrainer", settings)
        config = AuditConfig(trainer=trainer, paths=(str(file),))
        return as_json(audit_files(config, Renderer(tiny_tokenizer(CHATML), "chatml")))

    return make


def test_its_settings_say_how_many_responses_are_supervised(report: Any) -> None:
    found = [report([{"messages": CHAT}], turns=turns) for turns in (1, 2)]
    assert [one["supervised_turns"] for one in found] == [1, 2]
    assert [one["failed_on"] for one in found] == [[], []]
    assert found[0]["modeled"] == "my trainer 1.0"


def test_what_it_refuses_and_hostile_rows_are_findings(report: Any) -> None:
    rows = [{"messages": CHAT}, {"conversations": CHAT}, {"messages": CHAT[:2]}]
    found = report(rows)
    assert found["findings"]["refused"]["count"] == 2
    hostile = [{"messages": [{"role": value, "content": value}]} for value in HOSTILE_VALUES]
    found = report([{"messages": CHAT}, *hostile, *({"messages": one} for one in HOSTILE_VALUES)])
    assert found["rows"] == 1 + 2 * len(HOSTILE_VALUES)
    assert found["supervised_turns"] == 1
