"""One self-contained HTML file, with style and plots inside and without scripts.

`templates/page.html.j2` holds the style, and macros for sections, plots and tables. A template of
another package extends it.
"""

from __future__ import annotations

from typing import Any

from atlas.presenting.svg import FONT, for_page
from atlas.presenting.wording import MAX_TEXT
from atlas.terminal.visible_text import one_line

# Shapes of the marks in text, in a box of 16 units; the same as those of the plots.
MARK_PATHS: dict[str, str] = {
    "o": "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11z",
    "D": "M8 1.5L14.5 8L8 14.5L1.5 8z",
    "s": "M3 3H13V13H3z",
    "^": "M8 2L14.5 13.5H1.5z",
    "v": "M8 14L1.5 2.5H14.5z",
    "P": "M6 2H10V6H14V10H10V14H6V10H2V6H6z",
    "X": "M2 4.5L4.5 2L8 5.5L11.5 2L14 4.5L10.5 8L14 11.5L11.5 14L8 10.5L4.5 14L2 11.5L5.5 8z",
}


def render_page(package: str, template: str, **values: Any) -> str:
    """Render a template in `package`. Text from records is escaped and safe to show."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("atlas.presenting")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: one_line(value, MAX_TEXT) if type(value) is str else value,
    )
    # The labels of a plot were escaped when it was drawn.
    environment.filters["for_page"] = lambda svg: Markup(
        for_page(svg).replace("<svg ", '<svg class="plot" ', 1)
    )
    environment.globals.update(mark_paths=MARK_PATHS, font=FONT)
    return environment.get_template(template).render(**values) + "\n"
