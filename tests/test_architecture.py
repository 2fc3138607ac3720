"""The floors of docs/architecture.md, read from the imports. A failure names the offending line."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "atlas"
STAGES = (
    "trajectories",
    "selection",
    "exporting",
    "training",
    "evaluation",
    "reporting",
    "viewing",
)
# Highest first; a package may import packages of a lower floor and its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("experiments",),
    STAGES,
    ("environments",),
    ("models",),
    ("rendering", "presenting"),
    ("statistics", "workers"),
    ("store",),
    ("terminal",),
    ("kinds",),
    ("config",),
    ("lookup", "records"),
    ("errors",),
)
FLOOR_OF = {room: height for height, floor in enumerate(reversed(FLOORS)) for room in floor}
HEAVY = {
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "minigrid",
    "gymnasium",
    "matplotlib",
    "inspect_ai",
    "openai",
    "aiohttp",
    "sklearn",
    "scipy",
}
MAY_IMPORT_TORCH = ("models", "rendering", "training")


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """(line, module, whether it runs at import time) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write it out"
            yield node.lineno, node.module or "", id(node) in top


def room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "atlas" and len(parts) > 1 else None


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_point_down_only_and_wings_do_not_know_each_other(path: Path) -> None:
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if here in ("__init__", "__main__"):
        return
    assert here in FLOOR_OF, f"{path}: a new room; give it a floor in {__name__}"
    for line, module, _ in imports(path):
        there = room(module)
        if there is None or there == here:
            continue
        assert there in FLOOR_OF, f"{path}:{line} imports the unknown room '{there}'"
        assert FLOOR_OF[there] < FLOOR_OF[here], (
            f"{path}:{line}: '{here}' imports '{there}', which is not below it"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_torch_is_touched_in_its_rooms_only(path: Path) -> None:
    here = path.relative_to(SOURCE).parts[0]
    for line, module, _ in imports(path):
        if module.split(".")[0] in ("torch", "transformers", "peft"):
            assert here in MAY_IMPORT_TORCH, f"{path}:{line} imports {module}"


def test_importing_the_package_its_stages_and_the_command_loads_nothing_heavy() -> None:
    code = (
        "import sys, atlas.cli, atlas.experiments.plan_experiment, atlas.store.readers, atlas.selection.select_steps, atlas.environments.babyai.environment,"
        "atlas.trajectories.collect_experts, atlas.trajectories.import_trajectories, atlas.reporting.build_report,"
        "atlas.exporting.export_selection, atlas.exporting.check_export, atlas.exporting.explain, atlas.viewing.terminal.show,"
        "atlas.training.train_agent, atlas.evaluation.evaluate_agent, atlas.models.local.load;"
        f"print([name for name in {sorted(HEAVY)} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_atlas_takes_under_300_milliseconds() -> None:
    code = (
        "import time; start = time.perf_counter(); import atlas; print(time.perf_counter() - start)"
    )
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(5)
    ]
    assert min(times) < 0.3


def test_no_file_grows_past_400_lines() -> None:
    long = {
        path.relative_to(SOURCE).as_posix(): len(path.read_text().splitlines()) for path in FILES
    }
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
