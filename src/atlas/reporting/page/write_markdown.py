"""Document -> Markdown, with the plots as files beside it."""

from __future__ import annotations

from atlas.presenting.markdown import escape_markdown, markdown_list, markdown_plot, markdown_table
from atlas.reporting.page.document import Document

PLOTS_FOLDER = "plots"


def write_markdown(document: Document) -> str:
    """The whole report; its plots are expected as `plots/<name>.svg`."""
    report = document.report
    lines = [f"# {escape_markdown(report.title)}", "", f"**{escape_markdown(report.headline)}**"]
    lines += ["", escape_markdown(document.facts), "", "## Read this first", ""]
    for note in report.notes:
        caution = "**Caution.** " if note.level == "caution" else ""
        lines.append(f"- {caution}{escape_markdown(note.text)}")
    lines.append("")
    if report.findings:
        lines += ["## The other comparisons", "", *markdown_list(report.findings)]
    for section in document.sections:
        lines += [f"## {escape_markdown(section.title)}", "", escape_markdown(section.lead), ""]
        lines += markdown_list(section.items)
        for plot in section.plots:
            lines += markdown_plot(plot.title, plot.caption, f"{PLOTS_FOLDER}/{plot.name}.svg")
        for table in section.tables:
            lines += markdown_table(table)
    return "\n".join(lines).rstrip() + "\n"
