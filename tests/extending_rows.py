"""The examples of docs/extending.md as rows of their tables: a pytest plugin.

`pytest -p tests.extending_rows tests/conformance` tests them like the classes of the package.
The tables are changed in that process only.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

EXTENDING = Path(__file__).resolve().parents[1] / "docs" / "extending.md"
ROWS = {
    "longest": ("atlas.selection.selectors.base", "SELECTORS", "my_lab.longest:LongestSelector"),
    "turns": ("atlas.trajectories.formats.base", "FORMATS", "my_lab.turns:TurnsFormat"),
    "flags": ("atlas.exporting.dialects.base", "DIALECTS", "my_lab.flags:FlagDialect"),
    "focal": ("atlas.training.objectives.base", "OBJECTIVES", "my_lab.focal:FocalObjective"),
    "constant": ("atlas.models.players", "PLAYERS", "my_lab.constant:ConstantPlayer"),
    "drawers": ("atlas.environments.base", "ENVIRONMENTS", "my_lab.drawers:DrawersEnvironment"),
    "corridor": ("atlas.environments.base", "ENVIRONMENTS", "my_lab.corridor:CorridorEnvironment"),
}
# A good row of each format among the examples, for tests/conformance/test_formats.py.
FORMAT_EXAMPLES: dict[str, Any] = {}


def turns_row(exchanges: list[tuple[str, str]], number: int) -> dict[str, Any]:
    turns = [{"saw": seen, "did": said} for seen, said in exchanges]
    return {"episode": f"e{number}", "turns": turns}


def write_examples(folder: Path) -> list[str]:
    """Every Python example that begins with the name of its file, as that file."""
    text = EXTENDING.read_text(encoding="utf-8")
    found = re.findall(r"```python\n# (my_lab/\w+\.py)\n(.*?)```", text, flags=re.DOTALL)
    for name, code in found:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return [name for name, _ in found]


def pytest_configure() -> None:
    from importlib import import_module

    folder = Path(tempfile.mkdtemp(prefix="docs_examples"))
    write_examples(folder)
    sys.path.insert(0, str(folder))
    for name, (module, table, target) in ROWS.items():
        getattr(import_module(module), table)[name] = target
    FORMAT_EXAMPLES["turns"] = turns_row
