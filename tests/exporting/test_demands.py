"""Export names what a trainer or service would refuse, and what a chat template does not write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.cli import app
from atlas.errors import MismatchError
from atlas.exporting.check_export import check_export
from atlas.exporting.dialects.base import DIALECT, DIALECTS, DialectContext
from atlas.exporting.explain import describe_export
from atlas.exporting.export_selection import ExportConfig, export_selection
from atlas.kinds import Choice
from atlas.models.local.load import load_renderer_named
from atlas.records import CriticalStep, Message, Selection, Step, ToolCall, Trajectory
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories

USER = Message(role="user", content="Go.")


def call(number: int, id_: str | None = None, arguments: str = "{}") -> ToolCall:
    return ToolCall(id=f"c{number}" if id_ is None else id_, name="look", arguments=arguments)


def result(number: int) -> Message:
    return Message(role="tool", content="A door.", tool_call_id=f"c{number}")


def said(*calls: ToolCall, text: str = "I look.") -> Message:
    return Message(role="assistant", content=text, tool_calls=calls)


def steps(*turns: Any) -> tuple[Step, ...]:
    """Steps from messages; a response ends each."""
    made: list[Step] = []
    seen: list[Message] = []
    for message in turns:
        if message.role == "assistant":
            made.append(Step(observation=tuple(seen), response=message))
            seen = []
        else:
            seen.append(message)
    return tuple(made)


def made(*turns: Any) -> Trajectory:
    return make_trajectory(0).model_copy(update={"prompt": (), "steps": steps(*turns)})


def select_all(trajectory: Trajectory) -> Selection:
    num = len(trajectory.steps)
    return Selection(
        trajectory_id=trajectory.id,
        selector="test",
        num_steps=num,
        budget=num,
        critical_steps=tuple(CriticalStep(index=index) for index in range(num)),
    )


GOOD = made(USER, said(call(1), call(2)), result(1), result(2), said(text="Done."))
CASES = [
    ("openai", "missing_results", made(USER, said(call(1), call(2)), result(1), said())),
    ("openai", "missing_results", made(USER, said(call(1)), USER, result(1), said())),
    ("openai", "orphan_results", made(USER, said(), result(1), said())),
    ("openai", "orphan_results", made(USER, said(call(1)), result(2), said())),
    ("openai", "orphan_results", made(USER, said(call(1)), result(1), result(1), said())),
    (
        "openai",
        "repeated_ids",
        made(USER, said(call(1)), result(1), said(call(1)), result(1), said()),
    ),
    (
        "openai",
        "calls_without_id",
        made(USER, said(ToolCall(name="look")), Message(role="tool"), said()),
    ),
    ("axolotl", "empty_steps", made(USER, said(text=" \n"))),
    ("axolotl", "broken_arguments", made(USER, said(call(1, arguments="{at")), result(1), said())),
    ("axolotl", "broken_arguments", made(USER, said(call(1, arguments="[1]")), result(1), said())),
    ("ms-swift", "user_after_result", made(USER, said(call(1)), result(1), USER, said())),
    ("ms-swift", "system_in_between", made(USER, said(), Message(role="system"), said())),
]


@pytest.mark.parametrize(("name", "demand", "trajectory"), CASES)
def test_a_demand_that_is_not_met_is_named(name: str, demand: str, trajectory: Trajectory) -> None:
    dialect = DIALECT.make(Choice(name), DialectContext())
    assert demand in [one.name for one in dialect.refusals(trajectory, select_all(trajectory))]
    assert not dialect.refusals(GOOD, select_all(GOOD))


def test_every_demand_has_a_case() -> None:
    listed = {(name, one.name) for name in DIALECTS for one in DIALECT.find(name).demands}
    assert listed == {(name, demand) for name, demand, _ in CASES}


def exported(
    folder: Path, trajectories: list[Trajectory], name: str, model: Path | None = None
) -> tuple[ExportConfig, tuple[Path, Path], Path]:
    given = {"dialect": name, "tokenizer": None if model is None else str(model)}
    config = ExportConfig.model_validate(given)
    run = write_trajectories(folder / "t", trajectories)
    selection = write_selections(folder / "s", list(map(select_all, trajectories)), run)
    return config, (run, selection), folder / "rows.jsonl"


def test_demands_are_counted_in_the_notes(tmp_path: Path) -> None:
    bad = CASES[0][2].model_copy(update={"id": "bad"})
    config, runs, out = exported(tmp_path, [GOOD, bad], "openai")
    manifest = export_selection(config, *runs, out)
    text = describe_export(manifest, out, [], "nothing")
    assert "note:      1 trajectory: against OpenAI's rules for messages: calls" in text


@pytest.mark.parametrize("name", ["trl", "axolotl", "openai"])
def test_what_the_template_does_not_write_is_a_change_where_the_tokenizer_is_known(
    name: str, tiny_model_folder: Path, tmp_path: Path
) -> None:
    thinking = made(USER, Message(role="assistant", content="a", reasoning="because"))
    config, runs, out = exported(tmp_path, [thinking], name, tiny_model_folder)
    manifest = export_selection(config, *runs, out)
    [lost] = [text for text in manifest.summary["losses"] if text.startswith("thinking of a crit")]
    assert manifest.summary["losses"][lost] == 1
    assert f"changed:   1 × {lost}" in describe_export(manifest, out, [], "nothing")


def test_a_conversation_that_the_template_refuses_is_named_and_fails_the_check(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headless = made(said(), USER, said()).model_copy(update={"id": "headless"})
    config, runs, out = exported(tmp_path, [headless, GOOD], "openai", tiny_model_folder)
    renderer = load_renderer_named(config.tokenizer, None)
    manifest = export_selection(config, *runs, out, renderer)
    assert any("refuses 1 of 2 trajectories" in note for note in manifest.summary["notes"])
    with pytest.raises(MismatchError, match=r"1 of 2 rows were not compared.*\n.*headless"):
        check_export(config, *runs, out, renderer)
    command = ["export", "--to", "openai", "--trajectories", str(runs[0]), "--selection"]
    command += [str(runs[1]), "--out", str(out), "--check", "--tokenizer", str(tiny_model_folder)]
    with pytest.raises(SystemExit) as ended:
        app(command)
    assert ended.value.code == 1
    assert "headless" in capsys.readouterr().err
