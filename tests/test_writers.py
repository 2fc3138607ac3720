"""What the package writes is written whole or under a lock: no second way to write a file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import atlas

SOURCE = Path(atlas.__file__).parent
WRITERS = {"write_text", "write_bytes", "savefig", "save_pretrained", "copyfileobj", "symlink_to"}
# Where something else than store/record_files.py writes, and why two processes cannot mix there.
ALLOWED = {
    "store/record_files.py": "the one writer: a name of its own, then renamed",
    "store/record_log.py": "in a run folder that is locked",
    "training/checkpoint.py": "in a run folder that is locked",
    "trajectories/find_files.py": "standard input, in a temporary folder of this process",
    "models/endpoints/batches/ledger.py": "a name of its own, then renamed",
    "viewing/terminal/label_book.py": "under the lock of the file of labels",
    "viewing/web/labels/people_selection.py": "an empty file that reserves a name",
    "presenting/svg.py": "into memory",
    "auditing/own_code.py": "for the trainer's process, in a temporary folder of this process",
    "auditing/run_trainer.py": "by the trainer's process, in that temporary folder",
}


def writes(path: Path) -> Iterator[tuple[int, str]]:
    """Calls in a module that write a file without `written_whole`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "atlas.store.record_files"
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in own and isinstance(function, ast.Name):
            continue
        modes = [
            argument.value
            for argument in (*node.args, *(word.value for word in node.keywords))
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        opens = name in ("open", "fdopen") and any(
            len(mode) <= 3 and set(mode) & set("wax+") for mode in modes
        )
        if opens or name in WRITERS:
            yield node.lineno, name


def test_the_search_finds_every_way_to_write(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        "p.open('wb')\nopen(p, 'a')\np.write_text('x')\nopen(p)\np.open('rb')\np.open(mode='x+b')\n"
    )
    assert [line for line, _ in writes(tmp_path / "x.py")] == [1, 2, 3, 6]


def test_every_file_is_written_whole() -> None:
    found = {
        path.relative_to(SOURCE).as_posix(): list(writes(path)) for path in SOURCE.rglob("*.py")
    }
    assert not {name: calls for name, calls in found.items() if calls and name not in ALLOWED}


def test_no_exception_is_left_over() -> None:
    unused = [name for name in ALLOWED if not list(writes(SOURCE / name))]
    assert not unused
