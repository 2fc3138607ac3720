"""A rank leaves its group also while a thread of gloo waits for Python's lock."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.processes import wait_for


def test_ranks_leave_their_group_while_a_thread_needs_the_lock() -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "-m", "tests.training.leaving_ranks"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    _, errors = wait_for(process)
    assert process.returncode == 0, errors[-3000:]
