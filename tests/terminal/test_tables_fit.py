"""Tables on narrow and wide terminals: no line is wider, no cell is cut."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import atlas
from atlas.reporting.selections.selection_tables import print_comparison
from atlas.terminal.visible_text import print_whole
from atlas.trajectories.import_report import print_import

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "recipes" / "demo" / "trajectories.jsonl"
WIDTHS = (40, 80, 200)


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def piped(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, highlight=False)


@given(
    st.sampled_from(WIDTHS),
    st.lists(st.integers(1, 90), min_size=1, max_size=4),
    st.integers(1, 14),
    st.integers(1, 2),
    st.booleans(),
)
def test_every_cell_of_any_table_is_shown_within_the_width(
    width: int, name_lengths: list[int], num_numbers: int, num_names: int, has_box: bool
) -> None:
    table = Table(title="t", box=box.SIMPLE_HEAD if has_box else None)
    for index in range(num_names):
        table.add_column(f"name{index}")
    for index in range(num_numbers):
        table.add_column(Text(f"n{index:02}"), justify="right")
    for row, length in enumerate(name_lengths):
        names = [chr(ord("a") + row) * length for _ in range(num_names)]
        table.add_row(*names, *(f"{row}{index:02}.5 [1.0, 2.0]" for index in range(num_numbers)))
    console = piped(width)
    print_whole(console, table, num_names)
    lines = lines_of(console)
    assert all(len(line) <= width for line in lines)
    shown = "".join(lines)
    for row, length in enumerate(name_lengths):
        assert shown.count(chr(ord("a") + row)) >= length
        for index in range(num_numbers):
            assert f"{row}{index:02}.5 [1.0, 2.0]" in shown


@pytest.mark.parametrize("width", WIDTHS)
def test_the_tables_of_commands_fit(width: int, tmp_path: Path) -> None:
    manifest = atlas.import_trajectories(atlas.ImportConfig(paths=(str(SAMPLE),)), tmp_path / "t")
    console = piped(width)
    print_import(manifest, Path("t"), console)
    closing = [line for line in lines_of(console) if line.startswith(("in:", "out:", "left out:"))]
    # Closing lines are not wrapped, so that they can be searched in a pipe.
    assert all(len(line) <= width or line in closing for line in lines_of(console))
    runs = []
    for selector in ("rules", "random"):
        runs.append(tmp_path / f"a selection by {selector}, which has a long name")
        config = atlas.SelectConfig(selector=atlas.Choice(selector))
        atlas.select_steps(config, tmp_path / "t", runs[-1])
    compare = atlas.CompareConfig(selections=tuple(runs), plot=False)
    atlas.compare_selections(compare, tmp_path / "c")
    console = piped(width)
    print_comparison(console, atlas.read_comparison(tmp_path / "c"))
    assert all(len(line) <= width for line in lines_of(console))
    assert "beyond chance" in " ".join(lines_of(console))
