"""No command prints a character that cannot be seen, whatever the names in its files are."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import atlas as package
from atlas.records import CriticalStep, Selection, Trajectory
from atlas.terminal.console import SafeConsole
from tests.cli.in_process import Atlas, atlas_in_process
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.terminal.test_visible_text import HOSTILE, hidden

# A lone surrogate cannot be in a file of JSON.
EVIL = "e\x1b[31m\x07\u202e" + "".join(one for one in HOSTILE if not "\ud800" <= one <= "\udfff")
RUN = ["--trajectories", "{run}"]
BOTH = [*RUN, "--selection", "{selection}"]
MODEL = ["--tokenizer", "{model}"]
# Every command, and what it prints: tables, closing lines, errors about an item.
COMMANDS: dict[str, list[str]] = {
    "import": ["import", "{file}", "--out", "{out}"],
    "import of nothing": ["import", "{bad_file}", "--out", "{out}"],
    "show": ["show", "{run}"],
    "show with a selection": ["show", "{run}", "--selection", "{selection}"],
    "show one": ["show", "{run}", "--trajectory", "e", "--selection", "{selection}"],
    "show one with its tokens": ["show", "{run}", "--trajectory", "e", "--tokens", *MODEL],
    "show an ambiguous one": ["show", "{twice}", "--trajectory", "e"],
    "show none": ["show", "{run}", "--trajectory", "x{evil}"],
    "view": ["view", "{run}", "{selection}", "--static", "{out}.html"],
    "view none": ["view", "x{evil}", "--static", "{out}.html"],
    "label": ["label", "{run}", "--out", "{out}.jsonl", "--annotator", "{evil}"],
    "select": ["select", *RUN, "--selector", "random", "--out", "{out}"],
    "select by an unknown one": ["select", *RUN, "--selector", "x{evil}", "--out", "{out}"],
    "select with a setting": ["select", *RUN, "--selector", "random", "x{evil}=1", "--out", "o"],
    "select what was labeled": [
        *["select", *RUN, "--selector", "annotated", "labels={labels}", "--out", "{out}"]
    ],
    "select --dry-run": [
        *["select", *RUN, "--selector", "oracle", "model=openai/{evil}", "--dry-run"],
        *["--out", "{out}"],
    ],
    "select-train": ["select-train", *BOTH, "--out", "{out}"],
    "compare-selections": [
        *["compare-selections", "{selection}", "{other}", "plot=false", "--out", "{out}"]
    ],
    "export": ["export", "--to", "openai", *BOTH, "--out", "{out}.jsonl"],
    "export again to another": ["export", "--to", "axolotl", *BOTH, "--out", "{exported}"],
    "export --check": ["export", "--to", "trl", *BOTH, "--check", *MODEL, "--out", "{out}.jsonl"],
    "export --explain": ["export", "--to", "openai", "--explain", "--out", "{out}{evil}"],
    "train --dry-run": ["train", "--model", "{model}", *BOTH, "--dry-run", "--out", "{out}"],
    "train": ["train", "--model", "x{evil}/y", *BOTH, "--out", "{out}"],
    "evaluate": ["evaluate", "--model", "./x{evil}", "--out", "{out}"],
    "collect": ["collect", "--env", "babyai", "split=x{evil}", "episodes=1", "--out", "{out}"],
    "report": ["report", "{report}", "--out", "{out}"],
    "report of results": ["report", "--results", "x{evil}={file}", "--out", "{out}"],
    "plan": ["plan", "--pilot", "x{evil}"],
    "audit": ["audit", "{file}", "{bad_file}", "--as", "trl", "--tokenizer", "{model}"],
    "audit a missing file": ["audit", "x{evil}", "--as", "trl", "--tokenizer", "{model}"],
    "probe": ["probe", *BOTH, "--model", "{model}", "--out", "{out}"],
    "serve": ["serve", "--env", "x{evil}"],
    "run": ["run", "{recipe}", "--out", "{out}"],
    "settings": ["settings", "x{evil}"],
    "an unknown command": ["x{evil}"],
    "an unknown option": ["show", "--x{evil}"],
    "a missing run": ["show", "x{evil}"],
    "a changed run": ["show", "{changed}"],
}


def hostile_trajectory(name: str) -> Trajectory:
    plain = make_trajectory(3, name)
    content: dict[str, Any] = json.loads(plain.model_dump_json())
    content["task"] = {**content["task"], "id": f"task {EVIL}", "environment": f"env {EVIL}"}
    content["task"]["group"] = f"group {EVIL}"
    content["source"]["name"] = f"source {EVIL}"
    for step in content["steps"]:
        step["response"]["content"] += EVIL
    return Trajectory.model_validate(content)


@pytest.fixture
def places(tmp_path: Path, tiny_model_folder: Path) -> dict[str, str]:
    """Runs, files and recipes, all of whose names are hostile."""
    folder = tmp_path / EVIL.replace("\0", "")
    trajectories = [hostile_trajectory(f"e{EVIL}"), hostile_trajectory(f"f{EVIL}")]
    run = write_trajectories(folder / "run", trajectories)
    step = CriticalStep(index=1, reason=f"because {EVIL}", score=0.5)
    selections = [
        Selection(
            trajectory_id=one.id, selector="test", num_steps=3, budget=1, critical_steps=(step,)
        )
        for one in trajectories
    ]
    places = {
        "run": run,
        "twice": write_trajectories(
            folder / "twice", [make_trajectory(1, f"e{EVIL}{number}") for number in "12"]
        ),
        "selection": write_selections(folder / "selection", selections, run),
        "other": write_selections(folder / "other", selections, run),
        "changed": write_trajectories(folder / "changed", trajectories),
        "model": tiny_model_folder,
        "out": folder / "out",
        "evil": EVIL.replace("\0", ""),
    }
    (places["changed"] / "trajectories.jsonl").write_text("")  # type: ignore[operator]
    messages = [{"role": "user", "content": EVIL}, {"role": "assistant", "content": EVIL}]
    label = {"trajectory_id": f"x{EVIL}", "step": 1, "type": "none", "annotator": EVIL}
    arm = "arms: {{all: {{selector: all}}, {name}: {{selector: all}}}}\ntrain: {{model: m}}\n"
    files = {
        "file": json.dumps({"messages": messages, "id": EVIL}) + "\n{broken " + EVIL + "\n",
        "bad_file": json.dumps({"messages": [{"role": EVIL, "content": EVIL}], EVIL: EVIL}),
        "labels": json.dumps(label) + "\n",
        "report": f"arms: [{{name: {json.dumps(EVIL)}, runs: [{{evaluations: {{a: x}}}}]}}]\n",
        "recipe": arm.format(name=json.dumps(f"../{EVIL}")),
    }
    for name, text in files.items():
        ending = "yaml" if name in ("report", "recipe") else "jsonl"
        path = folder / f"{name}.{ending}"
        path.write_text(text, encoding="utf-8")
        places[name] = path
    exported = folder / "exported.jsonl"
    exported.write_text("{}\n")
    return {name: str(path) for name, path in places.items()} | {"exported": str(exported)}


@pytest.fixture
def atlas(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Atlas:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return atlas_in_process(monkeypatch, capfd)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_a_hidden_character(
    command: str, places: dict[str, str], atlas: Atlas
) -> None:
    code, out, err = atlas([argument.format(**places) for argument in COMMANDS[command]])
    assert out or err
    assert not hidden(out), ascii(out)
    assert not hidden(err), ascii(err)
    assert "Traceback" not in err
    assert code in (0, 1, 2), err


def test_every_command_is_tried() -> None:
    from typer.main import get_command

    from atlas.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert commands.keys() <= {arguments[0] for arguments in COMMANDS.values()}


def test_a_console_escapes_what_a_stage_forgot(capsys: pytest.CaptureFixture[str]) -> None:
    console = SafeConsole(file=sys.stdout, force_terminal=True, highlight=False)
    console.print(f"[bold]a[/bold]\u202e\x1b]0;title\x07{EVIL}", soft_wrap=True)
    shown = capsys.readouterr().out
    assert "\x1b[1ma\x1b[0m" in shown, "rich's own codes stay"
    assert not hidden(shown.replace("\x1b[1m", "").replace("\x1b[0m", ""))


def test_there_is_no_other_console() -> None:
    source = Path(package.__file__).parent
    found = [
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "SafeConsole" not in (text := path.read_text(encoding="utf-8"))
        and ("= Console(" in text or "return Console(" in text)
    ]
    assert not found
