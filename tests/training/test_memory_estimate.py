"""The memory that the dry run expects is what a training needs, over the cases of the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripts import load_script

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "train_memory.py"
ALLOWED = 0.15


def cases() -> list[str]:
    module = load_script(BENCHMARK)
    # Rows between these behave like them.
    return [name for name in module.cases() if not name.endswith(("rows of 512", "of 2048"))]


@pytest.mark.slow
@pytest.mark.parametrize("case", cases())
def test_the_expected_memory_is_what_is_seen(case: str) -> None:
    command = [sys.executable, "-W", "ignore", str(BENCHMARK), "--case", case]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["expected"] / found["seen"] == pytest.approx(1, abs=ALLOWED), found
