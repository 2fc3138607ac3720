"""The command line as a user meets it: messages, exit codes, and what a mistake leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from atlas.cli import app

pytest.importorskip("minigrid", reason="the babyai extra is not installed")

ROOT = Path(__file__).resolve().parents[2]


def atlas(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "atlas", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "160"},
    )


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "trajectories"
    done = atlas("collect", "--env", "babyai", "split=train", "episodes=12", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["in", "out", "left out"]
    return out


def selecting(collected: Path, out: Path, selector: str) -> tuple[str, ...]:
    given = ("--trajectories", str(collected), "--out", str(out), "--selector", selector)
    return ("select", *given)


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_help_names_every_command() -> None:
    done = atlas("--help")
    assert done.returncode == 0
    for command in OPTIONS:
        assert command in done.stdout


# Paths and kinds are options, actions are flags; everything else is a key=value setting.
OPTIONS = {
    "collect": "--out --env --suite",
    "import": "--out --format --tokenizer",
    "show": "--trajectory --selection --full --tokens --tokenizer",
    "view": "--host --port --no-open --static --trajectory",
    "label": "--out --trajectory",
    "select": "--trajectories --out --selector --dry-run --pilot",
    "select-train": "--trajectories --selection --out",
    "compare-selections": "--out --tokenizer",
    "export": "--to --trajectories --selection --out --tokenizer --check --explain",
    "audit": "--as --tokenizer --selection --out --execute",
    "train": "--trajectories --selection --out --model --objective --dry-run",
    "evaluate": "--out --model --player --base-url --env --suite --skills",
    "probe": "--trajectories --selection --out --model --player --env --dry-run",
    "report": "--out --results --format",
    "plan": "--pilot",
    "run": "--out --dry-run --pilot",
    "serve": "--env",
    "settings": "",
}
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def test_there_is_no_other_command() -> None:
    assert set(COMMANDS) == set(OPTIONS)


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_has_exactly_these_options(command: str) -> None:
    options = [one for one in COMMANDS[command].params if one.param_type_name == "option"]
    assert {name for option in options for name in option.opts} == set(OPTIONS[command].split())


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_with_settings_says_where_they_are_listed(command: str) -> None:
    [argument] = [one for one in COMMANDS[command].params if one.param_type_name == "argument"]
    takes_settings = "KEY=VALUE" in (argument.metavar or "")
    assert takes_settings == (command != "settings")
    assert takes_settings == ("`atlas settings` lists all settings." in argument.help)


def test_select_ends_with_what_came_in_and_out(collected: Path, tmp_path: Path) -> None:
    done = atlas(*selecting(collected, tmp_path / "s", "annotated"))
    assert done.returncode == 0, done.stderr
    assert "selected steps" in done.stdout
    assert json.loads((tmp_path / "s" / "manifest.json").read_text())["config"]["ratio"] == 0.3


def test_an_unknown_key_is_named_with_the_nearest_right_one(
    collected: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "select.yaml"
    recipe.write_text("selectr: random\n")
    refused(
        atlas(
            "select", str(recipe), "--trajectories", str(collected), "--out", str(tmp_path / "s")
        ),
        "selectr",
        "'selector'",
        "select.yaml",
    )


@pytest.mark.parametrize("written", ["--episodes", "--episodes=3"])
def test_a_setting_that_is_written_as_an_option_is_shown_as_it_is_written(
    written: str, tmp_path: Path
) -> None:
    refused(atlas("collect", "--out", str(tmp_path / "c"), written, "3"), "write episodes=VALUE")


def test_a_missing_run_folder_says_how_to_make_one(tmp_path: Path) -> None:
    refused(
        atlas("select", "--trajectories", str(tmp_path / "no"), "--out", str(tmp_path / "s")),
        "does not exist",
        "atlas collect",
    )


def test_a_folder_made_with_other_settings_is_not_overwritten(collected: Path) -> None:
    before = (collected / "manifest.json").read_bytes()
    refused(atlas("collect", "episodes=13", "--out", str(collected)), "episodes: 12 there, 13 now")
    assert (collected / "manifest.json").read_bytes() == before


def test_a_recipe_that_is_no_yaml_or_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1")
    refused(atlas("collect", str(tmp_path / "bad.yaml"), "--out", str(tmp_path / "o")), "bad.yaml")
    refused(
        atlas("collect", str(tmp_path / "none.yaml"), "--out", str(tmp_path / "o")),
        "none.yaml",
        "does not exist",
    )


def test_an_oracle_without_key_or_endpoint_is_refused_before_anything_is_sent(
    collected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    refused(atlas(*selecting(collected, tmp_path / "s", "oracle")), "OPENAI_API_KEY")


def test_a_wrong_key_deep_in_the_demo_recipe_is_found_before_the_first_stage(
    tmp_path: Path,
) -> None:
    done = atlas(
        "run",
        str(ROOT / "recipes/demo/babyai.yaml"),
        "--out",
        str(tmp_path / "d"),
        "train.learning_rat=1",
        cwd=ROOT,
    )
    refused(done, "train", "learning_rat", "'learning_rate'")
    assert not (tmp_path / "d").exists()


def test_text_from_a_strangers_file_reaches_the_terminal_as_escapes(
    collected: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text(
        json.dumps({"trajectory_id": "x\x1b[2J", "step": 0, "annotator": "\x1b[31meve"}) + "\n",
        encoding="utf-8",
    )
    given = (*selecting(collected, tmp_path / "s", "annotated"), f"labels={labels}")
    refused(atlas(*given, "annotator=bob"), "has no label in", "Known: \\x1b[31meve")
    nothing = atlas(*given)
    refused(nothing, "selected no step of 12 trajectories", "trajectory 'x\\x1b[2J' is not among")
    assert "\x1b" not in nothing.stderr


def test_a_setting_that_the_selector_does_not_read_is_refused_in_one_sentence(
    collected: Path, tmp_path: Path
) -> None:
    given = selecting(collected, tmp_path / "s", "random")
    for option in (
        ("model=m",),
        ("endpoint.base_url=http://127.0.0.1:1",),
        ("max_cost_usd=3",),
        ("voting=weighted",),
        ("num_rollouts=2",),
    ):
        done = atlas(*given, *option)
        refused(done, "error: command line: ", "It is a setting of selector '", "; leave it out.")
        assert "{" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_run_without_a_recipe_names_one(tmp_path: Path) -> None:
    refused(atlas("run", cwd=tmp_path), "needs a recipe", "atlas run recipes/demo/babyai.yaml")


BLOCKED = """
import importlib.util, sys
blocked = sys.argv.pop(1)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, at=None: None if name == blocked else find(name, at)
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == blocked:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Blocker())
from atlas.cli import main
main()
"""


@pytest.mark.parametrize(
    ("package", "extra", "command"),
    [
        ("torch", "train", ("select", "--selector", "perplexity", "model=MODEL")),
        ("torch", "train", ("evaluate", "--env", "babyai", "--model", "MODEL", "episodes=2")),
        ("gymnasium", "babyai", ("evaluate", "--env", "babyai", "--model", "MODEL", "episodes=2")),
    ],
)
def test_a_package_that_another_one_of_its_extra_imports_is_named_with_the_extra(
    package: str,
    extra: str,
    command: tuple[str, ...],
    collected: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
) -> None:
    given = [part.replace("MODEL", str(tiny_model_folder)) for part in command]
    given += ["--out", str(tmp_path / "run")]
    if command[0] == "select":
        given += ["--trajectories", str(collected)]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, package, *given],
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done, f"'{package}' is not installed", f"atlas-tuning[{extra}]")
