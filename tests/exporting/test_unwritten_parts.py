"""Exports under a template that drops calls, and under one that is given in its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DataError, MismatchError
from atlas.exporting.check_export import check_export
from atlas.exporting.explain import describe_export
from atlas.exporting.export_selection import ExportConfig, export_selection
from atlas.models.local.load import load_renderer_named
from atlas.store.manifests import Manifest, parse_manifest, write_manifest
from tests.tool_runs import call_runs, tools_file


def config_of(model: Path, dialect: str, **settings: Any) -> ExportConfig:
    given = {"dialect": dialect, "tokenizer": str(model)} | settings
    return ExportConfig.model_validate(given)


def export(config: ExportConfig, runs: tuple[Path, Path], out: Path) -> Manifest:
    renderer = load_renderer_named(config.tokenizer, config.chat_template)
    return export_selection(config, *runs, out, renderer)


def check(config: ExportConfig, runs: tuple[Path, Path], file: Path) -> tuple[str, ...]:
    renderer = load_renderer_named(config.tokenizer, config.chat_template)
    assert renderer is not None
    return check_export(config, *runs, file, renderer).notes


def test_rows_of_tokens_without_words_are_not_written_unless_allowed(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs, out = call_runs(tmp_path, 1), tmp_path / "rows.jsonl"
    with pytest.raises(DataError, match="chat_template=chatml-calls"):
        export(config_of(tiny_model_folder, "trl"), runs, out)
    assert not out.exists()
    allowed = config_of(tiny_model_folder, "trl", allow_empty_steps=True)
    manifest = export(allowed, runs, out)
    [note] = manifest.summary["notes"]
    assert "the tool calls of 4 of 4 critical steps" in note
    assert f"note:      {note}" in describe_export(manifest, out, [], "nothing")


def test_a_check_fails_where_a_trainer_would_learn_to_say_nothing(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs, out = call_runs(tmp_path, 1), tmp_path / "rows.jsonl"
    export(config_of(tiny_model_folder, "openai"), runs, out)
    with pytest.raises(MismatchError, match="4 of 4 critical steps are rendered as an end of turn"):
        check(config_of(tiny_model_folder, "openai"), runs, out)
    [note] = check(config_of(tiny_model_folder, "openai", allow_empty_steps=True), runs, out)
    assert "does not write the tool calls of 4 of 4 critical steps" in note
    given = config_of(tiny_model_folder, "openai", chat_template="text-calls")
    assert check(given, runs, out) == ()


def test_a_check_counts_what_is_lost_beside_words(tiny_model_folder: Path, tmp_path: Path) -> None:
    runs, out = call_runs(tmp_path, 0), tmp_path / "rows.jsonl"
    export(config_of(tiny_model_folder, "openai"), runs, out)
    [note] = check(config_of(tiny_model_folder, "openai"), runs, out)
    assert "the tool calls of 4 of 4 critical steps" in note


@pytest.mark.parametrize("dialect", ["openai", "trl", "ms-swift", "last-turn"])
def test_a_given_template_and_schemas_hold_for_rows_and_check(
    tiny_model_folder: Path, tmp_path: Path, dialect: str
) -> None:
    runs, out = call_runs(tmp_path, 0, 1), tmp_path / "rows.jsonl"
    config = config_of(
        tiny_model_folder, dialect, chat_template="chatml-calls", tools=tools_file(tmp_path)
    )
    manifest = export(config, runs, out)
    assert manifest.inputs["chat_template"].path == "chatml-calls"
    assert manifest.inputs["tools"].digest
    assert check(config, runs, out) == ()
    if dialect == "openai":
        assert json.loads(out.read_text().splitlines()[0])["tools"]


def test_a_template_needs_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="needs --tokenizer"):
        ExportConfig.model_validate({"dialect": "openai", "chat_template": "chatml-calls"})


def test_an_export_from_before_a_setting_existed_is_the_same_export(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    runs, out = call_runs(tmp_path, 0), tmp_path / "rows.jsonl"
    config = config_of(tiny_model_folder, "openai")
    export(config, runs, out)
    path = tmp_path / "rows.jsonl.manifest.json"
    earlier = parse_manifest(path)
    added = ("chat_template", "tools", "allow_empty_steps")
    settings = {name: value for name, value in earlier.config.items() if name not in added}
    write_manifest(path, earlier.model_copy(update={"config": settings}))
    assert export(config, runs, out).inputs == earlier.inputs


def test_settings_that_are_not_known_are_refused() -> None:
    with pytest.raises((ConfigError, ValueError)):
        ExportConfig.model_validate({"dialect": "openai", "chat_templat": "x"})
