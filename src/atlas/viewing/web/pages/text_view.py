"""A text of a trajectory as a page shows it: `text -> its first lines, the rest, what is cut`.

Nothing is dropped in silence: the rest is folded, and a text that is too long for a page says how
much of it is left out, and where the whole text is.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas.terminal.visible_text import visible

# What stands outside of a fold.
HEAD_LINES, HEAD_CHARACTERS = 10, 900
# A rest that is shorter than this is not folded.
SHORT_LINES, SHORT_CHARACTERS = 4, 300
# The texts of one page together, and the limits of each text.
PAGE_CHARACTERS = 3_000_000
LEAST_CHARACTERS, MOST_CHARACTERS = 1_500, 40_000


@dataclass(frozen=True, slots=True)
class TextView:
    """A text of a page; all of it is visible and safe to escape.

    `place` names the text in its trajectory, for the address of the whole text. `num_cut` counts
    the characters that the page leaves out.
    """

    place: str
    head: str
    rest: str = ""
    num_cut: int = 0

    @property
    def folded(self) -> str:
        """What the fold holds, in words."""
        lines = self.below.count("\n") + 1
        return f"{lines:,} more lines" if lines > 1 else f"{len(self.rest):,} more characters"

    @property
    def below(self) -> str:
        """The rest as it stands in lines below the head."""
        return self.rest.removeprefix("\n")

    @property
    def shown(self) -> str:
        """The text as far as the page holds it."""
        return self.head + self.rest


def view_text(text: str, place: str, limit: int = MOST_CHARACTERS, fold: bool = True) -> TextView:
    r"""The text, folded after its first lines and cut after `limit` characters.

    >>> view_text("a\x00b", "prompt.0")
    TextView(place='prompt.0', head='a\\x00b', rest='', num_cut=0)
    """
    # A text of megabytes is cut before anything else looks at it.
    shown = visible(text[:limit].strip("\n"))
    end = _end_of_head(shown) if fold else len(shown)
    return TextView(place, shown[:end], shown[end:], max(0, len(text) - limit))


def limit_of_texts(num_texts: int) -> int:
    """How many characters of each text a page shows that holds this many."""
    return max(LEAST_CHARACTERS, min(MOST_CHARACTERS, PAGE_CHARACTERS // max(1, num_texts)))


def _end_of_head(text: str) -> int:
    lines = text[: HEAD_CHARACTERS + 1].split("\n")
    end = len("\n".join(lines[:HEAD_LINES]))
    if end > HEAD_CHARACTERS:
        # A long line is cut at a blank, if there is one near.
        blank = text.rfind(" ", HEAD_CHARACTERS - 80, HEAD_CHARACTERS)
        end = HEAD_CHARACTERS if blank < 0 else blank
    rest = text[end:]
    if len(rest) <= SHORT_CHARACTERS and rest.count("\n") <= SHORT_LINES:
        return len(text)
    return end
