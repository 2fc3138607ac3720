"""A console that prints no hidden character and none that controls the terminal.

Stages pass text from files through `visible`, which also keeps tables aligned. The console escapes
what they did not, after rich has laid it out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from atlas.terminal.visible_text import visible


class SafeConsole(Console):
    """A console that shows invisible and control characters as escapes."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # Control segments are rich's own, such as those that move a progress bar.
            is_safe = segment.control or (segment.text.isascii() and segment.text.isprintable())
            yield segment if is_safe else Segment(visible(segment.text), segment.style)


def plain_console(**options: Any) -> SafeConsole:
    """A console without the colors that rich chooses for numbers and paths."""
    return SafeConsole(highlight=False, **options)
