"""A result that is made again keeps the earlier one beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from atlas.config import Config
from atlas.errors import RunError
from atlas.store.run_folders import MANIFEST_FILE, Input, check_folder
from atlas.terminal.progress import say


def keep_earlier(
    what: str, out: Path, command: str, config: Config, inputs: Mapping[str, Input]
) -> None:
    """Rename the run in `out` if it was made with other settings, from other runs, or is damaged.

    Args:
        what: what it is, for the line that says where it is kept.
    """
    if not (out / MANIFEST_FILE).exists():
        return
    try:
        check_folder(out, command, config, inputs)
    except RunError:
        number = 1
        while (kept := out.with_name(f"{out.name}-{number}")).exists():
            number += 1
        out.rename(kept)
        say(f"the earlier {what}, of other runs or settings, is kept in {kept}")
