"""The page of episodes that a report links to, as `atlas run` writes it beside the report.

EPISODES/episodes.html        the page
EPISODES/shown.jsonl          what it shows, one line for each trajectory
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pydantic import Field

from atlas.presenting.anchors import anchor_of
from atlas.records import OutcomeStatus, Record
from atlas.store.record_files import read_records
from atlas.store.run_folders import read_manifest, relative_path

# The command in the manifest of the page's run.
EPISODES_COMMAND = "view --static"
EPISODES_PAGE, SHOWN_FILE = "episodes.html", "shown.jsonl"


class ShownEpisode(Record):
    """A trajectory of the page.

    `run` and `episode` (its id) are its names there. An episode that an arm played has `arm` and
    `split`. A trajectory that arms were trained on has the number of steps that each selected.
    """

    run: str
    episode: str
    task: str
    status: OutcomeStatus
    num_steps: int
    arm: str | None = None
    split: str | None = None
    num_selected: dict[str, int] = Field(default_factory=dict)


class EpisodesPage(Record):
    """A page beside a report; its path is relative to the report."""

    path: str
    shown: tuple[ShownEpisode, ...]

    def link(self, one: ShownEpisode) -> str:
        """The address of a trajectory in the page."""
        return f"{quote(self.path)}#{anchor_of(one.episode, one.run)}"


def read_episodes_page(run: Path, out: Path) -> EpisodesPage:
    """The page of a finished run, for a report in `out`.

    Raises:
        RunError: it is not such a run.
        DataError: its list of trajectories cannot be read.
    """
    read_manifest(run, (EPISODES_COMMAND,))
    shown = tuple(read_records(run / SHOWN_FILE, ShownEpisode))
    return EpisodesPage(path=relative_path(run / EPISODES_PAGE, out), shown=shown)
