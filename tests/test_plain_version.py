"""The method in one file (docs/plain_version.py): it runs, and its mask equals the package's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from atlas.records import Message, Outcome, Source, Step, Task, Trajectory
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.renderer import Renderer
from atlas.selection.selectors.base import SELECTORS
from atlas.trajectories.formats.base import FORMATS
from tests.scripts import load_script
from tests.templates import CHATML, GEMMA, LLAMA_3, tiny_tokenizer

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "docs" / "plain_version.py"
CHATS = ROOT / "recipes" / "demo" / "trajectories.jsonl"


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    return load_script(SCRIPT)


def as_trajectory(messages: list[dict[str, Any]]) -> Trajectory:
    prompt, *turns = [Message.model_validate(message) for message in messages]
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return Trajectory(
        id="chat",
        task=Task(id="chat", environment="test"),
        prompt=(prompt,),
        steps=tuple(Step(observation=(seen,), response=said) for seen, said in pairs),
        outcome=Outcome(status="unknown"),
        source=Source(name="test"),
    )


@pytest.mark.parametrize("template", [CHATML, LLAMA_3, GEMMA], ids=["chatml", "llama-3", "gemma"])
def test_its_mask_equals_ours_token_by_token(plain: ModuleType, template: str) -> None:
    tokenizer = tiny_tokenizer(template)
    for _, messages in plain.read_chats(CHATS):
        steps = plain.choose_steps(messages)
        token_ids, mask = plain.tokenize(tokenizer, messages, steps)
        (example,) = Renderer(tokenizer).tokenize_trajectory(as_trajectory(messages))
        assert token_ids == example.token_ids.tolist()
        assert mask == loss_mask(example, steps).tolist()
        assert any(mask)


def test_it_stays_within_the_budget_and_prefers_plans_and_corrections(plain: ModuleType) -> None:
    chats = dict(plain.read_chats(CHATS))
    chosen = {name: plain.choose_steps(messages) for name, messages in chats.items()}
    assert chosen["kitchen-1"] == {0, 4}
    for name, steps in chosen.items():
        assert 1 <= len(steps) <= max(1, int(0.3 * len(plain.places_of_steps(chats[name]))))


def test_it_trains_a_model_on_rules_or_on_the_labels_of_people(
    plain: ModuleType,
    tiny_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = tmp_path / "labels.jsonl"
    rows = [
        {"trajectory_id": "kitchen-1", "step": 4, "type": "self_correction"},
        {"trajectory_id": "office-1", "step": 0, "type": "none"},
    ]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rules, people = tmp_path / "rules", tmp_path / "people"
    command = [str(SCRIPT), str(CHATS), str(tiny_model_folder)]
    done = subprocess.run([sys.executable, *command, str(rules)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(sys, "argv", [*command, str(people), "--labels", str(labels)])
    plain.main()
    for out, printed in ((rules, done.stdout), (people, capsys.readouterr().out)):
        assert "step 1/1: loss" in printed
        assert (out / "model.safetensors").exists()


def test_it_has_at_most_150_lines() -> None:
    assert len(SCRIPT.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_page_counts_the_selectors_and_formats_of_the_package() -> None:
    page = SCRIPT.with_name("plain-version.md").read_text(encoding="utf-8")
    assert f"{len(SELECTORS)} selectors" in page
    assert f"{len(FORMATS)} formats" in page
