"""One HTML file of chosen trajectories: `trajectories + selections + tokens -> file`.

The file holds its style and its script, loads nothing, and works without a server, so it can be
mailed. Its policy names both by their hashes: nothing else can run or be loaded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import ConfigError
from atlas.presenting.anchors import anchor_of
from atlas.records import Trajectory
from atlas.store.paths import check_path
from atlas.store.record_files import write_text
from atlas.viewing.web.markdown_copy import markdown_copy
from atlas.viewing.web.pages.step_marks import GivenLabel
from atlas.viewing.web.pages.token_page import STATES
from atlas.viewing.web.pages.trajectory_page import describe_trajectory
from atlas.viewing.web.pages.trajectory_view import TrajectoryView
from atlas.viewing.web.render import make_environment
from atlas.viewing.web.rows import NamedSelection
from atlas.viewing.web.token_masks import TokenMask

STATIC = Path(__file__).with_name("static")
STYLES = ("view.css", "trajectory.css")
# In a file with loss masks; its rules hold within them.
TOKEN_STYLE = "tokens.css"
SCRIPT = "view.js"
# A browser reads a page of this size without delay.
MAX_TRAJECTORIES = 2_000


@dataclass(frozen=True, slots=True)
class StaticEntry:
    """A trajectory of the file, what is said about it, and its loss masks.

    `run` names where it comes from. It also distinguishes trajectories with the same id. With
    `is_blind`, the source's own marks are left out; give no selections and labels either.
    """

    trajectory: Trajectory
    selections: tuple[NamedSelection, ...] = ()
    labels: tuple[GivenLabel, ...] = ()
    finished: tuple[str, ...] = ()
    run: str = ""
    masks: tuple[TokenMask, ...] = ()
    is_blind: bool = False


@dataclass(frozen=True, slots=True)
class StaticPart:
    """A trajectory as the template shows it."""

    anchor: str
    run: str
    view: TrajectoryView
    markdown: str
    masks: tuple[TokenMask, ...]


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """The file, its size, and the anchor of each trajectory in it."""

    path: Path
    num_bytes: int
    anchors: tuple[str, ...]

    @property
    def size(self) -> str:
        """The size for people."""
        if self.num_bytes < 1_000_000:
            return f"{self.num_bytes / 1_000:.0f} kB"
        return f"{self.num_bytes / 1_000_000:.1f} MB"


def write_static(
    entries: Sequence[StaticEntry], out: Path, title: str = "Trajectories"
) -> WrittenPage:
    """Write the file. `out#ANCHOR` opens at a trajectory, `out#ANCHOR-step-7` at a step of it.

    In a file of one trajectory, `out#step-7` is the step.

    Raises:
        ConfigError: there is nothing to write, or too much; or `out` cannot be written.
    """
    check_number(len(entries), out)
    check_path(out, "--static", longest_ending=".partial")
    text = render_static(entries, title)
    write_text(out, text)
    anchors = tuple(anchor_of(entry.trajectory.id, entry.run) for entry in entries)
    return WrittenPage(out, len(text.encode()), anchors)


def check_number(number: int, out: Path) -> None:
    """Raise if so many trajectories are not in one file."""
    if not 0 < number <= MAX_TRAJECTORIES:
        raise ConfigError(
            f"{out}: {number:,} trajectories, expected 1 to {MAX_TRAJECTORIES:,} in one "
            "page. Choose others with filters, or write several pages."
        )


def render_static(entries: Sequence[StaticEntry], title: str = "Trajectories") -> str:
    """The file as text."""
    style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in STYLES)
    if any(entry.masks for entry in entries):
        style += f"\n.token-view {{\n{(STATIC / TOKEN_STYLE).read_text(encoding='utf-8')}}}\n"
    script = (STATIC / SCRIPT).read_text(encoding="utf-8")
    environment = make_environment()
    # Both are files of this package. Their hashes are those of the text between the tags.
    from markupsafe import Markup

    page = environment.get_template("static.html.j2").render(
        title=title,
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        parts=_parts(entries),
        states=STATES,
    )
    return page.encode("utf-8", "backslashreplace").decode("utf-8") + "\n"


def _parts(entries: Sequence[StaticEntry]) -> list[StaticPart]:
    parts: list[StaticPart] = []
    for entry in entries:
        anchor = anchor_of(entry.trajectory.id, entry.run)
        if any(part.anchor == anchor for part in parts):
            raise ConfigError(
                f"trajectory '{entry.trajectory.id}' of '{entry.run}' is given twice. Choose each "
                "trajectory once."
            )
        view = describe_trajectory(
            entry.trajectory,
            entry.selections,
            entry.labels,
            finished=entry.finished,
            prefix=f"{anchor}-" if len(entries) > 1 else "",
            is_blind=entry.is_blind,
        )
        parts.append(StaticPart(anchor, entry.run, view, markdown_copy(view), entry.masks))
    return parts


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
