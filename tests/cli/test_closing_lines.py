"""The closing lines of a command."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from atlas.cli.closing_lines import SHOWN, tell
from atlas.cli.exit_status import exit_if_nothing_worked
from atlas.evaluation.metrics import EpisodeMetrics, summarize_episodes
from atlas.records import Message, Outcome, OutcomeStatus, Problem, Source, Step, Task, Trajectory
from atlas.store.record_files import write_records
from atlas.store.run_folders import Input, Manifest


def played(status: OutcomeStatus) -> Trajectory:
    """An episode of four judged steps: two without an action, and one repeated."""
    steps = tuple(
        Step(
            observation=(Message(role="user", content="A door."),),
            response=Message(role="assistant", content="…"),
            action=action,
            is_invalid=False,
        )
        for action in ("open", "open", None, None)
    )
    return Trajectory(
        id=status,
        task=Task(id=status, environment="doors"),
        steps=steps,
        outcome=Outcome(status=status),
        source=Source(name="test"),
    )


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


def test_an_evaluation_ends_with_few_lines_and_its_success_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summarize_episodes([played("success"), played("truncated")]).model_dump(mode="json")
    model = Input(path="base/model")
    config = {"environment": {"name": "babyai"}, "split": "held_in_test", "episodes": 2}
    manifest = Manifest(command="evaluate", config=config, inputs={"model": model}, summary=summary)
    tell(manifest, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("base/model, environment babyai, split held_in_test, episodes 2")
    assert lines[1].startswith(f"out:       {tmp_path}: success rate 0.500 [")
    assert lines[2:] == [
        "episodes:  success 1, truncated 1",
        "turns:     actionless 50.0 %, repeated 25.0 %",
        "left out:  nothing",
    ]


def test_the_lines_of_an_evaluation_name_figures_that_it_has() -> None:
    keys = {key for line in SHOWN["evaluate"].values() for key in line}
    assert keys - {"limit", "limited"} <= EpisodeMetrics.model_fields.keys()


@pytest.mark.parametrize(
    ("summary", "is_failure"),
    [
        ({"episodes": 6, "steps": 0, "broken": 2}, True),
        ({"episodes": 6, "steps": 1, "broken": 2}, False),
        ({"episodes": 3, "steps": 0, "broken": 0}, False),
    ],
)
def test_a_probe_in_which_everything_broke_has_exit_status_1(
    summary: dict[str, int], is_failure: bool, tmp_path: Path
) -> None:
    write_records(tmp_path / "problems.jsonl", [Problem(where="probe", item="a", reason="refused")])
    manifest = SimpleNamespace(command="probe", summary=summary)
    if not is_failure:
        exit_if_nothing_worked([(manifest, tmp_path)])
        return
    with pytest.raises(SystemExit) as raised:
        exit_if_nothing_worked([(manifest, tmp_path)])
    assert raised.value.code == 1
