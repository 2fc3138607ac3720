"""A run is continued only if the files and runs that its settings name are the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from atlas.config import Config
from atlas.environments.instruction import TextOrFile
from atlas.errors import RunError
from atlas.store.named_files import named_inputs
from atlas.store.run_folders import start_run


class Inner(Config):
    instruction: TextOrFile | None = None


class Outer(Config):
    inner: Inner = Inner()
    entries: dict[str, Inner] = Field(default_factory=dict)
    name: str = "x"


def test_a_changed_file_is_another_run(tmp_path: Path) -> None:
    file, out = tmp_path / "text.txt", tmp_path / "run"
    config = Outer(inner=Inner(instruction=str(file)))
    file.write_text("Be quick.")
    with start_run(out, "evaluate", config, {}):
        (out / "episodes.jsonl").write_text("{}\n")
    with start_run(out, "evaluate", config, {}):
        pass
    file.write_text("Be slow.")
    with pytest.raises(RunError, match=r"input inner\.instruction: content .* now"):
        start_run(out, "evaluate", config, {})


def test_the_files_of_all_sections_are_found_and_texts_are_not(tmp_path: Path) -> None:
    file, run = tmp_path / "text.txt", tmp_path / "run"
    file.write_text("Be quick.")
    start_run(run, "import", Outer(), {}).close()
    config = Outer(
        inner=Inner(instruction=str(run)),
        entries={"a": Inner(instruction=str(file)), "b": Inner(instruction="A text. " * 90)},
        name=str(file),
    )
    assert sorted(named_inputs(config, tmp_path / "out")) == [
        "entries.a.instruction",
        "inner.instruction",
    ]
