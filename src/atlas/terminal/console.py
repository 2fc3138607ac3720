"""The terminal: whatever is printed there, no character of it is hidden or controls the terminal.

Stages write strangers' text through `visible`, which also keeps tables aligned. This console is the
last line: it escapes what was forgotten, after rich has laid it out.
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
