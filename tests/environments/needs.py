"""What some worlds need to run: contexts that give the settings of a row, or skip its tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from atlas.environments.miniwob.browser import NAMES


@contextmanager
def browser() -> Iterator[dict[str, Any]]:
    """Chromium on PATH."""
    if not any(map(shutil.which, NAMES)):
        pytest.skip("no browser on PATH. Install one, for example: apt-get install chromium")
    yield {}
