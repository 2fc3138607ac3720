"""The page for those who cannot see it well: landmarks, headings of tables, contrast, marks."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from atlas.reporting.page.arm_styles import styled_arms
from atlas.reporting.report import Report
from tests.reporting.synthetic_runs import RunFolders

pytest.importorskip("matplotlib", reason="the plots need the extra `report`")


class _Structure(HTMLParser):
    """Elements with their attributes and how deep they are."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self._open)))
        if tag not in ("meta", "br", "path", "use", "rect"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass


def _page(folders: RunFolders) -> str:
    return (folders.root.parent / "report" / "report.html").read_text(encoding="utf-8")


def test_the_page_has_landmarks_and_every_section_a_heading(
    suite: RunFolders, suite_report: Report
) -> None:
    page = _Structure()
    page.feed(_page(suite))
    tags = [tag for tag, _, _ in page.elements]
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert tags.count(landmark) == 1, landmark
    inside = {tag: parents for tag, _, parents in page.elements}
    # Inside main, a header or a footer would be no landmark.
    assert "main" not in (*inside["header"], *inside["nav"], *inside["footer"])
    ids = {attributes.get("id") for _, attributes, _ in page.elements}
    for tag, attributes, _ in page.elements:
        if tag == "section":
            assert attributes["aria-labelledby"] in ids
        if tag == "nav":
            assert attributes["aria-label"]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("role") == "img"


def test_every_table_has_a_caption_and_every_heading_a_scope(
    suite: RunFolders, suite_report: Report
) -> None:
    page = _Structure()
    page.feed(_page(suite))
    tags = [tag for tag, _, _ in page.elements]
    assert tags.count("table") == tags.count("caption")
    scopes = {attributes.get("scope") for tag, attributes, _ in page.elements if tag == "th"}
    assert scopes <= {"col", "row", "rowgroup"}


def _luminance(color: str) -> float:
    def linear(part: str) -> float:
        value = int(part, 16) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(color[place : place + 2]) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_and_marks_have_contrast_in_both_themes(
    suite: RunFolders, suite_report: Report
) -> None:
    style = _page(suite).partition("<style>")[2].partition("</style>")[0]
    themes = re.findall(r":root \{([^}]*--accent[^}]*)\}", style)
    assert len(themes) == 2
    for theme in themes:
        colors = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for text in ("ink", "muted", "accent", "good", "bad", "caution"):
            for ground in ("page", "paper", "band"):
                assert _contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        for tone in ("good", "bad"):
            assert _contrast(colors[tone], colors[f"{tone}-soft"]) >= 4.5, tone
        for name, color in colors.items():
            if name.startswith("arm-"):
                assert _contrast(color, colors["paper"]) >= 3, name


@pytest.mark.parametrize("num_controls", [1, 5, 12, 20])
def test_no_two_arms_have_the_same_mark(suite_report: Report, num_controls: int) -> None:
    control = next(arm for arm in suite_report.arms if arm.role == "control")
    controls = tuple(
        control.model_copy(update={"name": f"arm-{number}"}) for number in range(num_controls)
    )
    report = suite_report.model_copy(update={"arms": controls})
    styles = [(style.color, style.mark, style.hollow) for _, style in styled_arms(report)]
    assert len(set(styles)) == num_controls
