"""Document -> Markdown, with the plots as files beside it. Text from records is escaped: it can be no table, link or markup."""

from __future__ import annotations

import re

from atlas.reporting.document import Document
from atlas.reporting.tables import Table, cell_text
from atlas.reporting.wording import clean

PLOTS_FOLDER = "plots"


def write_markdown(document: Document) -> str:
    """The whole report; its plots are expected as `plots/<name>.svg`."""
    report = document.report
    lines = [
        f"# {escape(report.title)}",
        "",
        f"**{escape(report.headline)}**",
        "",
        escape(document.facts),
        "",
    ]
    lines += ["## Read this first", ""]
    lines += [
        f"- {'**Caution.** ' if note.level == 'caution' else ''}{escape(note.text)}"
        for note in report.notes
    ] + [""]
    if report.findings:
        lines += [
            "## The other comparisons",
            "",
            *(f"- {escape(finding)}" for finding in report.findings),
            "",
        ]
    for section in document.sections:
        lines += [f"## {escape(section.title)}", ""]
        lines += [escape(section.lead), ""]
        if section.items:
            lines += [f"- {escape(item)}" for item in section.items] + [""]
        for plot in section.plots:
            lines += [
                f"![{escape(plot.title)}]({PLOTS_FOLDER}/{plot.name}.svg)",
                "",
                f"*{escape(plot.caption)}*",
                "",
            ]
        for table in section.tables:
            lines += [f"**{escape(table.caption)}**", "", *_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """One line in which no character is markup: not HTML, not Markdown, no table border."""
    line = clean(text, 4000)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", line)
    line = re.sub(
        r"\\\[([−+\d., ]+)\\\](?![(:\[\\])", r"[\1]", line
    )  # an interval stays readable; it cannot be a link
    line = re.sub(r"(?i)\b(https?|ftp|mailto):", r"\1&#58;", line)  # no bare address becomes a link
    line = re.sub(r"(?i)\bwww\.", "www&#46;", line)
    return re.sub(
        r"^(#+|[-+=]|\d+[.)])(?=\s|$|[-=])",
        lambda marker: marker[1][:-1] + "\\" + marker[1][-1],
        line,
    )  # no list, no heading


def _table(table: Table) -> list[str]:
    """A header, then the rows; the heading of a group becomes a row of its own."""
    lines = [_line([escape(column) for column in table.columns])]
    lines.append(
        _line(
            [
                ":--" if index == 0 or index in table.text_columns else "--:"
                for index in range(len(table.columns))
            ]
        )
    )
    for group in table.groups:
        if group.title and group.rows:
            lines.append(_line([f"**{escape(group.title)}**"] + [""] * (len(table.columns) - 1)))
        lines += [_line([escape(cell_text(cell)) for cell in row.cells]) for row in group.rows]
    return lines


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
