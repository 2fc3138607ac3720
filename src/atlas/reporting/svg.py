"""A matplotlib figure -> SVG text that is the same bytes each time and follows the page's colours.

The drawing code paints with stand-in colours; here each becomes a CSS variable of the page (so that a plot turns dark
with it) or, in a file of its own, a fixed colour on a light card. Text stays text: it is selectable, and read aloud.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from atlas.errors import DependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# stand-in colour -> (CSS variable of the page, colour in a file of its own)
COLOURS: dict[str, tuple[str, str]] = {
    "#a0b0c1": ("--ink", "#1c2430"),
    "#a0b0c2": ("--muted", "#5c6673"),
    "#a0b0c3": ("--rule", "#d9dee5"),
    "#a0b0c4": ("--band", "#f3f5f8"),
    "#a0b0c5": ("--paper", "#ffffff"),
    "#a0b0d0": ("--arm-base", "#7d8794"),
    "#a0b0d1": ("--arm-reference", "#2b3442"),
    "#a0b0d2": ("--arm-focus", "#0067b8"),
    "#a0b0d3": ("--arm-control-1", "#c4500b"),
    "#a0b0d4": ("--arm-control-2", "#00836a"),
    "#a0b0d5": ("--arm-control-3", "#a94d93"),
    "#a0b0d6": ("--arm-control-4", "#8a6a00"),
    "#a0b0d7": ("--arm-control-5", "#5a55c9"),
}
INK, MUTED, RULE, BAND, PAPER = list(COLOURS)[:5]
BASE, REFERENCE, FOCUS, *CONTROLS = list(COLOURS)[5:]
CARD_MARGIN = 16
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, Roboto, 'Helvetica Neue', Arial, sans-serif"


@contextmanager
def drawing(name: str) -> Iterator[Any]:
    """matplotlib with the settings of the report's plots; `name` makes the ids of this plot its own.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise DependencyError("matplotlib", "report") from None
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"atlas {name}",
        "text.parse_math": False,  # a label from a record may hold a dollar sign
        "font.family": ["sans-serif"],
        "font.sans-serif": [
            "DejaVu Sans"
        ],  # ships with matplotlib: the layout is the same everywhere
        "font.size": 8.0,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # a label in any script: the browser has the glyph
        yield matplotlib


def write_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as SVG with a title and a description for those who cannot see it; colours are still stand-ins."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(
        r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, count=1, flags=re.DOTALL
    )  # it would style the whole page
    text = re.sub(
        r"<[^>]*>", lambda tag: _own_ids(tag.group(), name), text
    )  # tags only: a label is nobody's markup
    head, end, body = text.partition(">")
    head = head.replace(
        "<svg",
        f'<svg role="img" aria-labelledby="{name}-title {name}-desc" stroke-linejoin="round"',
        1,
    )
    told = f'\n <title id="{name}-title">{escape(title)}</title>\n <desc id="{name}-desc">{escape(description)}</desc>'
    return head + end + told + body


def _own_ids(tag: str, name: str) -> str:
    """A tag with ids that no other plot of the page has, and the page's font."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = tag.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    return tag.replace("'DejaVu Sans', sans-serif", "var(--plot-font)")


def for_page(svg: str) -> str:
    """The SVG inside the page: colours and font are the page's variables, the size is the page's business."""
    head, end, body = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    colours = {
        stand_in: f"var({variable}, {colour})" for stand_in, (variable, colour) in COLOURS.items()
    }
    return head + end + _recolour(body, colours)


def for_file(svg: str) -> str:
    """The SVG as a file of its own: fixed colours on a light card with a margin, legible wherever it is shown."""
    svg = _recolour(
        svg,
        {stand_in: colour for stand_in, (_, colour) in COLOURS.items()}
        | {"var(--plot-font)": FONT},
    )
    head, end, body = svg.partition(">")
    width, height = (
        float(number) + 2 * CARD_MARGIN
        for number in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)[0]
    )
    head = re.sub(r' (width|height|viewBox)="[^"]*"', "", head)
    head += f' width="{width:g}pt" height="{height:g}pt" viewBox="{-CARD_MARGIN} {-CARD_MARGIN} {width:g} {height:g}"'
    card = f'<rect x="{-CARD_MARGIN}" y="{-CARD_MARGIN}" width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>'
    return head + end + body.replace("</desc>", f"</desc>\n {card}", 1)


def _recolour(svg: str, replacements: dict[str, str]) -> str:
    pattern = re.compile("|".join(map(re.escape, replacements)))
    return re.sub(
        r"<[^>]*>",
        lambda tag: pattern.sub(lambda found: replacements[found.group()], tag.group()),
        svg,
    )
