"""Text of strangers is treated the same in terminal, errors, Markdown and HTML."""

from __future__ import annotations

import html
import io
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

import atlas
from atlas.cli.closing_lines import say
from atlas.models.endpoints.endpoint import Censor
from atlas.presenting.markdown import escape_markdown, markdown_table
from atlas.presenting.page import render_page
from atlas.presenting.table import terminal_table, text_table
from atlas.reporting.page.document import ReportSection
from atlas.terminal.visible_text import one_line, print_whole, shortened, visible, visible_line
from atlas.training.model_card import _code
from atlas.trajectories.import_report import _plain as plain

HOSTILE = (
    "\x00\x07\x1b\x7f\x85\x9b\u00ad\u034f\u061c\u115f\u180e\u200b\u200c\u200d\u200e\u202e\u2028"
    "\u2060\u2066\u3164\ud800\ue000\ufe0f\ufeff\uffa0\U000e0041\U000e007f\U000e0100\U000f0000"
)
# Letters and marks that show nothing.
BLANK = (
    ("\u1160", "\u1160"),
    ("\u17b4", "\u17b5"),
    ("\u180b", "\u180f"),
    ("\ufe00", "\ufe0f"),
    ("\U000e0000", "\U000e0fff"),
)
texts = st.text(
    alphabet=st.one_of(
        st.sampled_from(HOSTILE), st.sampled_from("ab|<>&`*_[]()#\n\t\r "), st.characters()
    ),
    max_size=30,
)


def hidden(text: str) -> set[str]:
    """Characters that a reader cannot see, by the categories of Unicode, apart from layout."""
    return {
        character
        for character in text
        if character not in "\n\t"
        and (
            unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
            or character in HOSTILE
            or any(first <= character <= last for first, last in BLANK)
        )
    }


def outputs(text: str) -> dict[str, str]:
    """The text as each kind of output shows it."""
    console = Console(file=io.StringIO(), width=120, highlight=False)
    print_whole(console, terminal_table(text_table("title", ("name",), [(text,)])))
    assert isinstance(console.file, io.StringIO)
    table = text_table(text, (text, "number"), [(text, text)])
    markdown = "\n".join(markdown_table(table))
    return {
        "terminal": visible(text),
        "line": visible_line(text),
        "one line": one_line(text),
        "shortened": shortened(text, 5, 200),
        "terminal table": console.file.getvalue(),
        "import report": plain(text).plain,
        "error of a server": Censor().quote(text),
        "model card": _code(text),
        "Markdown": markdown,
        "Markdown as HTML": MarkdownIt("commonmark").enable("table").render(markdown),
        "HTML": render_page(
            "atlas.presenting",
            "page.html.j2",
            title=text,
            sections=[ReportSection("id", text, text, (text,), (), (table,))],
            marks=[],
            highlighted=[],
        ),
    }


@settings(max_examples=60, deadline=None)
@given(texts)
def test_no_output_holds_a_character_that_cannot_be_seen(text: str) -> None:
    for name, shown in outputs(text).items():
        assert not hidden(shown), name


@pytest.mark.parametrize("character", HOSTILE, ids=lambda character: f"{ord(character):x}")
def test_each_hidden_character_has_the_same_escape_everywhere(character: str) -> None:
    escape = character.encode("unicode_escape").decode()
    for name, shown in outputs(f"a{character}b").items():
        read = re.sub(r"\\([\\`*_{}\[\]|~$])", r"\1", shown) if name == "Markdown" else shown
        assert f"a{escape}b" in html.unescape(read), name


def test_an_error_on_the_terminal_shows_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"error: a{HOSTILE}b", is_error=True)
    assert not hidden(capsys.readouterr().err)


@given(texts)
def test_what_is_visible_stays_as_it_is(text: str) -> None:
    assert visible(visible(text)) == visible(text)
    if not hidden(text):
        assert visible(text) == text


def test_letters_of_all_scripts_stay_and_no_break_spaces_keep_a_number_and_its_unit() -> None:
    assert visible("Zürich 東京 हिन्दी 🙂") == "Zürich 東京 हिन्दी 🙂"
    assert one_line("12\u202f% \n of\u00a0it") == "12\u202f% of\u00a0it"


def test_a_line_is_cut_with_an_ellipsis() -> None:
    assert one_line("abcdef", 4) == "abc…"
    assert escape_markdown("a\nb") == "a b"


def test_no_text_is_printed_past_the_sanitizer() -> None:
    """What reaches a console as a plain text is wrapped in `visible` on the same line."""
    source = Path(atlas.__file__).parent
    unsafe = re.compile(r"(typer\.echo\(|markup=False)(?!.*(visible\(|__version__))")
    found = [
        f"{path.relative_to(source)}: {line.strip()}"
        for path in sorted(source.rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if unsafe.search(line) and "visible(" not in line
    ]
    # The question of `atlas label` is our own text.
    assert found == ['viewing/terminal/keyboard.py: console.print(question, markup=False, end="")']
