"""A matplotlib figure -> SVG text that is reproducible byte by byte and uses the page's colors.

The drawing code uses stand-in colors. Here each one is replaced: on the page by a CSS variable, so
that plots follow a dark theme; in a separate file by a fixed color on a light background. Text in
plots can be selected and read aloud.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from atlas.errors import DependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# stand-in color -> (CSS variable of the page, color in a separate file)
COLORS: dict[str, tuple[str, str]] = {
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
INK, MUTED, RULE, BAND, PAPER = list(COLORS)[:5]
BASE, REFERENCE, FOCUS, *CONTROLS = list(COLORS)[5:]
CARD_MARGIN = 16
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot and a description of it; `svg` still has stand-in colors."""

    name: str
    title: str
    caption: str
    svg: str


def require_matplotlib() -> Any:
    """The package matplotlib, or a DependencyError that says how to install it."""
    try:
        import matplotlib
    except ImportError:
        raise DependencyError("matplotlib", "report") from None
    return matplotlib


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Use matplotlib with the settings of all plots; `name` makes the ids of this plot unique."""
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": f"atlas {name}",
        # A label from a record may hold a dollar sign.
        "text.parse_math": False,
        "font.family": ["sans-serif"],
        # This font ships with matplotlib, so the layout is the same everywhere.
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 8.0,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "xtick.color": MUTED,
        "ytick.color": MUTED,
    }
    with require_matplotlib().rc_context(settings), warnings.catch_warnings():
        # A label may be in any script; the browser has the font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def finish_plot(figure: Figure, name: str, title: str, caption: str, description: str) -> Plot:
    """The figure as SVG with a title and a description for screen readers."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # This style would apply to the whole page.
    style = r"<defs>\s*<style.*?</style>\s*</defs>\s*"
    text = re.sub(style, "", text, count=1, flags=re.DOTALL)
    # Only tags: a label is not markup.
    text = re.sub(r"<[^>]*>", lambda tag: _with_unique_ids(tag.group(), name), text)
    head, end, body = text.partition(">")
    labels = f'aria-labelledby="{name}-title {name}-desc"'
    head = head.replace("<svg", f'<svg role="img" {labels} stroke-linejoin="round"', 1)
    words = (
        f'\n <title id="{name}-title">{escape(title)}</title>'
        f'\n <desc id="{name}-desc">{escape(description)}</desc>'
    )
    return Plot(name, title, caption, head + end + words + body)


def for_page(svg: str) -> str:
    """The SVG inside the page, which sets its colors, font and size."""
    head, end, body = svg.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    colors = {name: f"var({variable}, {color})" for name, (variable, color) in COLORS.items()}
    return head + end + _recolor(body, colors)


def for_file(svg: str) -> str:
    """The SVG as a separate file: fixed colors on a light card with a margin."""
    colors = {name: color for name, (_, color) in COLORS.items()} | {"var(--plot-font)": FONT}
    head, end, body = _recolor(svg, colors).partition(">")
    sizes = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head)[0]
    width, height = (f"{float(size) + 2 * CARD_MARGIN:g}" for size in sizes)
    head = re.sub(r' (width|height|viewBox)="[^"]*"', "", head)
    head += f' width="{width}pt" height="{height}pt"'
    head += f' viewBox="{-CARD_MARGIN} {-CARD_MARGIN} {width} {height}"'
    corner = f'x="{-CARD_MARGIN}" y="{-CARD_MARGIN}"'
    card = f'<rect {corner} width="{width}" height="{height}" rx="8" fill="#ffffff"/>'
    return head + end + body.replace("</desc>", f"</desc>\n {card}", 1)


def _with_unique_ids(tag: str, name: str) -> str:
    """A tag with ids that no other plot of the page has, and with the page's font."""
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = tag.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    return tag.replace("'DejaVu Sans', sans-serif", "var(--plot-font)")


def _recolor(svg: str, replacements: dict[str, str]) -> str:
    pattern = re.compile("|".join(map(re.escape, replacements)))

    def recolor(tag: re.Match[str]) -> str:
        return pattern.sub(lambda found: replacements[found[0]], tag[0])

    return re.sub(r"<[^>]*>", recolor, svg)
