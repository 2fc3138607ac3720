"""The commands of docs/quickstart.md run, and print what the page shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
SHOWN = (
    "trajectories 4, steps 23; outcomes success 3 (75 %)",
    "selected steps 5, share 0.2174",
    "▶ step 4  critical: self correction  score 0.914",
    "examples:    4 of 4 trajectories; 5 of 23 steps supervised, 0 dropped beyond 4,096 tokens",
    "tokens:      1,142, of them 124 supervised (10.9%)",
)


def test_the_quick_start_runs_and_prints_what_its_page_shows(tmp_path: Path) -> None:
    printed = ""
    commands = re.findall(r"^atlas .*", PAGE, flags=re.MULTILINE)
    for command in commands:
        words = shlex.split(command.replace("runs/quickstart", str(tmp_path)))
        done = subprocess.run(
            [sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        printed += done.stdout
    assert len(commands) == len(list(tmp_path.iterdir())) + 2, "show and --dry-run write nothing"
    for line in SHOWN:
        assert line in printed
        assert line in PAGE
