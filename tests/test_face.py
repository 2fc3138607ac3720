"""What `import atlas` offers: typed for type checkers, loaded when it is first used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import atlas

SCRIPT = """\
from pathlib import Path

import atlas
from atlas import Choice, SelectConfig, read_trajectories, select_steps

reveal_type(atlas.select_steps)
reveal_type(atlas.Choice)
config = SelectConfig(selector=Choice("rules"), ratio=0.2)
select_steps(config, Path("runs/trajectories"), Path("runs/rules"))
for trajectory in read_trajectories(Path("runs/trajectories")):
    reveal_type(trajectory.steps[0].response.content)
atlas.select_steps(3)
"""


def typed_imports() -> dict[str, str]:
    """Name -> module of the imports under TYPE_CHECKING."""
    tree = ast.parse(Path(atlas.__file__).read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                assert isinstance(line, ast.ImportFrom)
                for alias in line.names:
                    assert alias.asname == alias.name, f"{alias.name} is not exported"
                    found[alias.name] = line.module or ""
    return found


def test_the_lazy_table_and_the_typed_imports_name_the_same_things() -> None:
    assert typed_imports() == atlas._MODULE_OF
    assert sorted(atlas.__all__) == dir(atlas)


HEAVY = ("torch", "transformers", "numpy", "scipy", "sklearn", "matplotlib", "inspect_ai")


@pytest.mark.parametrize("name", sorted(atlas._MODULE_OF))
def test_every_name_of_the_face_can_be_imported_under_its_own_name(name: str) -> None:
    assert getattr(atlas, name).__name__ == name


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'select_step'"):
        _ = atlas.select_step  # type: ignore[attr-defined]


def test_a_type_checker_sees_the_signatures_in_a_users_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11"]
    where = ["--cache-dir", str(tmp_path / "cache"), "--config-file", str(tmp_path / "none.ini")]
    # Without the plugin of pydantic, which a user may not have. What other packages say of torch
    # and the like is not checked, and takes a minute.
    (tmp_path / "none.ini").write_text(
        "[mypy]\nfollow_imports = silent\nignore_missing_imports = true\n"
        f"[mypy-{','.join(f'{name}.*' for name in HEAVY)}]\nfollow_imports = skip\n"
    )
    done = subprocess.run(
        [*command, *where, str(script)], capture_output=True, text=True, cwd=tmp_path
    )
    notes = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    signature, choice, content, *errors = notes
    assert 'Revealed type is "def (config: atlas.selection.config.SelectConfig' in signature
    assert "trajectories: str | os.PathLike[str], out: str | os.PathLike[str])" in signature
    assert "-> atlas.kinds.Choice" in choice
    assert '"str"' in content or '"builtins.str"' in content, content
    assert len(errors) == 3, done.stdout
    assert all("error:" in line for line in errors[:2])


def test_a_default_of_a_setting_is_named_as_type_checkers_need_it() -> None:
    for path in Path(atlas.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Field":
                assert not node.args, f"{path}:{node.lineno}: write Field(default=…)"
