"""One table in three forms: the page, Markdown and the terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console

from atlas.presenting.markdown import markdown_list, markdown_plot, markdown_table
from atlas.presenting.table import Cell, RowGroup, Table, TableRow, terminal_table, text_table
from atlas.presenting.wording import join_words, percent, percent_interval, signed
from atlas.statistics.estimate import Estimate

TABLE = Table(
    "Caption",
    ("Arm", "Rate", "Verdict"),
    (
        RowGroup("held-in", (TableRow((Cell("a|b"), Cell("1.5", "[1.0, 2.0]"), Cell("better"))),)),
        RowGroup("empty", ()),
    ),
    text_columns=frozenset({2}),
)


def test_terminal_and_markdown_show_the_same_cells() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal_table(TABLE))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    written = "\n".join(markdown_table(TABLE)).replace("\\", "")
    for text in ("Caption", "Arm", "held-in", "a|b", "1.5 [1.0, 2.0]", "better"):
        assert text in shown
        assert text in written
    assert "empty" not in shown + written


def test_a_markdown_table_has_as_many_cells_in_each_line_as_columns() -> None:
    lines = [line for line in markdown_table(TABLE) if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}
    assert lines[1] == "| :-- | --: | :-- |"


def test_names_are_flush_left_and_numbers_flush_right() -> None:
    table = text_table("t", ("name", "kind", "number"), [("a", "b", "1")])
    assert [table.is_text(column) for column in range(3)] == [True, True, False]
    assert text_table("t", ("name",), []).is_empty


def test_what_is_known_of_no_row_makes_no_column_and_no_table() -> None:
    rows = [("a", "–", "1", "–"), ("b", "–", "–", "–")]
    table = text_table("t", ("name", "kind", "number", "other"), rows)
    assert not table.is_empty
    shown = table.without_unknown_columns()
    assert shown.columns == ("name", "kind", "number")
    assert [cell.text for cell in shown.groups[0].rows[0].cells] == ["a", "–", "1"]
    assert shown.text_columns == {1}
    noted = Table(
        "t", ("a", "b", "c"), (RowGroup("", (TableRow((Cell("a"), Cell(""), Cell("–", "x"))),)),)
    )
    assert noted.without_unknown_columns() == noted
    assert text_table("t", ("name", "kind"), [("a", "–")]).is_empty


def test_a_long_table_and_one_of_details_are_folded() -> None:
    assert not text_table("t", ("name", "kind"), [("a", "b")] * 24).is_folded
    assert text_table("t", ("name", "kind"), [("a", "b")] * 25).is_folded


def test_a_note_gets_parentheses_unless_it_is_an_interval() -> None:
    assert Cell("5", "3 seeds").plain == "5 (3 seeds)"
    assert Cell("5", "[1, 9]").plain == "5 [1, 9]"
    assert Cell("5").plain == "5"


def test_what_is_unknown_is_a_dash_without_an_interval() -> None:
    assert (percent(Estimate()), percent_interval(Estimate())) == ("–", "")
    rate = Estimate(value=0.5, low=0.25, high=0.75)
    assert (percent(rate), percent_interval(rate)) == ("50.0\u202f%", "[25.0, 75.0]")


def test_words_are_joined_and_a_zero_has_no_sign() -> None:
    assert [join_words(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert (signed(-0.04, 1), signed(-1.25, 1), signed(2.0, 1)) == ("0.0", "−1.2", "+2.0")


def test_a_list_and_a_plot_hold_no_markup_of_strangers() -> None:
    assert markdown_list(["# a", "[b](c)"]) == ["- \\# a", "- \\[b\\](c)", ""]
    assert markdown_plot("t]", "c*", "plots/p.svg")[0] == "![t\\]](plots/p.svg)"
