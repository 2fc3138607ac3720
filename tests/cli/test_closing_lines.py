"""The three closing lines of a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.cli.closing_lines import tell
from atlas.store.run_folders import Manifest


@pytest.mark.parametrize(
    ("interval", "shown"),
    [
        ({"value": 0.5, "low": 0.25, "high": 0.75}, "rate 0.500 [0.250, 0.750]"),
        ({"value": 0.5, "low": None, "high": None}, "rate 0.500 [no interval]"),
        ({"value": None, "low": None, "high": None}, "rate unknown"),
    ],
)
def test_an_interval_is_shown_as_far_as_it_is_known(
    interval: dict[str, float | None],
    shown: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(Manifest(command="evaluate", config={}, summary={"rate": interval}), tmp_path)
    assert shown in capsys.readouterr().out


def test_a_usage_of_nothing_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usage = {"requests": 0, "input_tokens": 0}
    tell(
        Manifest(
            command="select", config={}, summary={"usage": usage, "paid": {**usage, "requests": 2}}
        ),
        tmp_path,
    )
    assert "paid (requests 2, input_tokens 0)" in (shown := capsys.readouterr().out)
    assert "usage (" not in shown


def test_a_kind_with_settings_is_shown_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"environment": {"name": "babyai", "max_steps": 20}, "split": "train"}
    tell(Manifest(command="collect", config=config), tmp_path)
    assert "in:        environment babyai, split train" in capsys.readouterr().out
