"""What some worlds need to run: contexts that give the settings of a row, or skip its tests."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from atlas.environments.jericho.environment import SHARES, WALKTHROUGH
from atlas.environments.miniwob.browser import NAMES
from atlas.environments.splits import split_of


@contextmanager
def browser() -> Iterator[dict[str, Any]]:
    """Chromium on PATH."""
    if not any(map(shutil.which, NAMES)):
        pytest.skip("no browser on PATH. Install one, for example: apt-get install chromium")
    yield {}


@contextmanager
def stories() -> Iterator[dict[str, Any]]:
    """Story files with walkthroughs: games that textworld compiles, as no registry has any."""
    for package in ("jericho", "textworld"):
        if find_spec(package) is None:
            pytest.skip(
                f"the package '{package}' is not installed. Install it with: "
                f"pip install 'atlas-tuning[{package}]'"
            )
    from atlas.environments.textworld.games import GameFolder

    with tempfile.TemporaryDirectory() as name:
        games = GameFolder(Path(name) / "made")
        splits: set[str] = set()
        for seed in range(100):
            if not games.content("coin", seed):
                continue
            story = Path(name) / f"coin{seed}.z8"
            shutil.copy(games.path("coin", seed), story)
            walkthrough = "\n".join(games.solution("coin", seed))
            story.with_name(f"{story.stem}{WALKTHROUGH}").write_text(walkthrough, encoding="utf-8")
            splits.add(split_of(hashlib.sha256(story.read_bytes()).hexdigest(), SHARES))
            if splits == set(SHARES):
                break
        yield {"games": name}
