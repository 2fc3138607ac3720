"""Training under a template that drops calls, and under one that is given in its place."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from atlas.errors import ConfigError, DataError, RunError
from atlas.models.local.load import load_renderer, locate_model
from atlas.rendering.chat_templates.stock import stock_text
from atlas.store.readers import read_selected
from atlas.training.dry_run import print_training_plan
from atlas.training.examples import build_examples
from atlas.training.train_agent import train_agent
from tests.tool_runs import call_runs, tools_file
from tests.training.small_runs import quick

LOST = (
    "does not write the tool calls of 4 of 4 selected steps; the tool calls in the context of 4 of "
    "4 trajectories"
)


def test_a_selected_step_that_renders_empty_stops_the_run_before_the_model_is_loaded(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = call_runs(tmp_path, 1)
    monkeypatch.setattr(
        "atlas.training.tune_model.load_model", lambda *_: pytest.fail("the model was loaded")
    )
    with pytest.raises(DataError, match="chat_template=chatml-calls writes tool calls") as error:
        train_agent(quick(tiny_model_folder), *runs, tmp_path / "run")
    assert "4 of 4 selected steps are rendered as an end of turn only" in str(error.value)
    assert "step 1 of trajectory t0" in str(error.value)
    assert "allow_empty_steps=true" in str(error.value)
    problems = (tmp_path / "run" / "problems.jsonl").read_text().splitlines()
    reasons = [json.loads(line)["reason"] for line in problems]
    assert "the chat template does not write the tool calls of 1 of 1 selected steps" in reasons
    assert "1 of 1 selected steps are an end of turn only" in reasons


def test_allowed_empty_steps_are_trained_and_counted_and_said(
    tiny_model_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = quick(tiny_model_folder, allow_empty_steps=True, epochs=1)
    manifest = train_agent(config, *call_runs(tmp_path, 1), tmp_path / "run")
    assert manifest.summary["num_unwritten"] == {
        "calls_of_steps": 4,
        "calls_in_contexts": 4,
        "empty_steps": 4,
    }
    assert LOST in capfd.readouterr().err


def test_words_that_remain_of_a_step_do_not_stop_the_run(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = call_runs(tmp_path, 0, 2)
    manifest = train_agent(quick(tiny_model_folder, epochs=1), *runs, tmp_path / "run")
    # The calls of step 1, which is not selected, are missing in the context.
    assert manifest.summary["num_unwritten"] == {"calls_of_steps": 4, "calls_in_contexts": 4}


def test_a_dry_run_says_the_same_and_stops_at_the_same_place(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = call_runs(tmp_path, 1)

    def plan(**settings: object) -> str:
        console = Console(record=True, width=400, file=io.StringIO())
        try:
            print_training_plan(console, quick(tiny_model_folder, **settings), *runs)
        except DataError as error:
            return f"{console.export_text()} STOPPED {error}"
        return console.export_text()

    assert LOST in plan()
    assert "STOPPED 4 of 4 selected steps" in plan()
    assert "STOPPED" not in plan(allow_empty_steps=True)
    written = plan(chat_template="chatml-calls")
    assert "does not write" not in written
    assert '{"name": "open", "arguments": {"door": 1}}' in written


def test_a_given_template_and_schemas_are_inputs_by_content_and_saved_with_the_checkpoint(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs, tools = call_runs(tmp_path, 1), tools_file(tmp_path)
    file = tmp_path / "own.jinja"
    file.write_text(stock_text("chatml-calls"), encoding="utf-8")

    def settings(template: object) -> dict[str, object]:
        return {"chat_template": str(template), "tools": tools, "epochs": 1}

    manifest = train_agent(quick(tiny_model_folder, **settings(file)), *runs, tmp_path / "run")
    assert "num_unwritten" not in manifest.summary
    assert manifest.inputs["chat_template"].digest
    assert manifest.inputs["tools"].digest
    saved = load_renderer(locate_model(str(tmp_path / "run")))
    assert saved.tokenizer.chat_template == stock_text("chatml-calls")
    # The same content under another name is the same run.
    again = train_agent(
        quick(tiny_model_folder, **settings("chatml-calls")), *runs, tmp_path / "run"
    )
    assert again.summary == manifest.summary
    file.write_text(stock_text("chatml-calls") + " ", encoding="utf-8")
    with pytest.raises(RunError, match="input chat_template"):
        train_agent(quick(tiny_model_folder, **settings(file)), *runs, tmp_path / "run")


def test_schemas_from_a_file_are_written_where_the_log_has_none(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs = call_runs(tmp_path, 1)
    texts = []
    for tools in (None, tools_file(tmp_path)):
        config = quick(tiny_model_folder, chat_template="chatml-calls", tools=tools)
        renderer = load_renderer(locate_model(config.model), config.chat_template)
        built = build_examples(read_selected(runs[1], runs[0]), renderer, config)
        assert not built.problems
        texts.append(renderer.tokenizer.decode(built.examples[0].input_ids.tolist()))
    assert "Open a door." not in texts[0]
    assert "Open a door." in texts[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"chat_template": "chatml-cals"}, "Did you mean 'chatml-calls'"),
        ({"chat_template": "bad.jinja"}, "bad.jinja line 1"),
        ({"chat_template": "."}, "cannot be read"),
        ({"tools": "none.json"}, "does not exist"),
        ({"tools": "bad.jinja"}, "cannot be read"),
        ({"tools": "empty.json"}, "holds no list of schemas"),
        ({"tools": "names.json"}, "entry 0 has no name"),
    ],
)
def test_a_template_or_schemas_that_cannot_be_used_are_named(
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    words: str,
) -> None:
    runs = call_runs(tmp_path, 1)
    monkeypatch.chdir(tmp_path)
    Path("bad.jinja").write_text("{% for m in messages %}{{ m.content }}")
    Path("empty.json").write_text("[]")
    Path("names.json").write_text('[{"type": "function"}]')
    with pytest.raises(ConfigError, match=words):
        train_agent(quick(tiny_model_folder, **settings), *runs, tmp_path / "run")
