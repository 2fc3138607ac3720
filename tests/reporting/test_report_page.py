"""The page, the Markdown file, the plots and the terminal table."""

from __future__ import annotations

import html
import io
import re
import xml.etree.ElementTree
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from atlas.reporting.page.tables import format_main_table
from atlas.reporting.report import Report
from tests.reporting.synthetic_runs import RunFolders, read_built

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


HOSTILE = '<script>alert("x")</script> | `a` [b](http://evil) $x$\n# \u202e\x1b[31m#a0b0c1'


class _Page(HTMLParser):
    """What a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"{tag} has a handler {name}"
            if name in ("src", "href", "xlink:href", "data", "srcset", "action"):
                self.references.append(value or "")


def test_the_page_loads_nothing_and_runs_nothing(folders: RunFolders, report: Report) -> None:
    text = (folders.root.parent / "report" / "report.html").read_text()
    page = _Page()
    page.feed(text)
    assert not {"script", "iframe", "link", "img", "object", "embed", "form"} & set(page.tags)
    assert all(reference.startswith("#") for reference in page.references)
    assert all(found.startswith("#") for found in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text
    # A browser refuses to load or run anything but the style inside.
    policy = """content="default-src 'none'; style-src 'unsafe-inline'">"""
    assert f'<meta http-equiv="Content-Security-Policy" {policy}' in text


def test_ids_of_the_page_are_unique_and_every_reference_has_its_target(
    folders: RunFolders, report: Report
) -> None:
    text = (folders.root.parent / "report" / "report.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) | set(
        re.findall(r"url\(#([^)]+)\)", text)
    ) <= set(ids)


def test_hostile_names_are_text_in_the_page_the_markdown_and_the_plots(
    make_runs: Callable[..., RunFolders],
) -> None:
    folders = make_runs(
        arms=("all", "critical"), num_tasks=8, labels={"critical": HOSTILE}, group_name=HOSTILE
    )
    read_built(folders, title=HOSTILE)
    out = folders.root.parent / "report"
    page, markdown = (out / "report.html").read_text(), (out / "report.md").read_text()
    parser = _Page()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "&lt;script&gt;" in page
    for text in (page, markdown):
        assert "<script" not in text
        assert not set(text) & {"\x1b", "\u202e", "\u2028"}
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    parser = _Page()
    parser.feed(rendered)
    assert set(parser.tags) == {
        "h1",
        "h2",
        "p",
        "strong",
        "em",
        "ul",
        "li",
        "img",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert {reference.partition("/")[0] for reference in parser.references} == {"plots"}
    assert rendered.count("<h1>") == 1
    shown = r'<script>alert("x")</script> | `a` [b](http://evil) $x$ # \u202e\x1b[31m#a0b0c1'
    assert rendered.count(f"{html.escape(shown)}</td>") >= 4
    plots = list((out / "plots").glob("*.svg"))
    assert len(plots) >= 6
    for plot in plots:
        # Well-formed, whatever the labels hold.
        root = xml.etree.ElementTree.parse(plot).getroot()
        assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
            "svg",
            "title",
            "desc",
            "rect",
            "g",
            "path",
            "text",
            "use",
            "defs",
            "clipPath",
        }
    # A label that looks like a stand-in color stays as it is.
    assert "#a0b0c1" in page


def test_terminal_table_fits_80_columns_and_shows_labels_as_they_are(
    make_runs: Callable[..., RunFolders],
) -> None:
    report = read_built(
        make_runs(num_tasks=16, labels={"critical": "[bold]Critical[/bold]", "all": "All steps"})
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(format_main_table(report))
    text = console.export_text()
    assert "[bold]Critical[/bold]" in text
    assert "held-out test" in text
    assert max(map(len, text.splitlines())) <= 80
