"""The memory that the dry run expects is what a training needs, over the cases of the benchmark."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "train_memory.py"
ALLOWED = 0.15


def cases() -> list[str]:
    spec = importlib.util.spec_from_file_location("train_memory", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Rows between these behave like them.
    return [name for name in module.cases() if not name.endswith(("rows of 512", "of 2048"))]


@pytest.mark.slow
@pytest.mark.parametrize("case", cases())
def test_the_expected_memory_is_what_is_seen(case: str) -> None:
    command = [sys.executable, "-W", "ignore", str(BENCHMARK), "--case", case]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["expected"] / found["seen"] == pytest.approx(1, abs=ALLOWED), found
