"""A process that hangs is ended with its children, and its stack is shown."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.processes import wait_for

HANGS = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
def the_place():
    time.sleep(60)
the_place()
"""


def test_a_process_that_hangs_is_ended_with_its_children_and_says_where_it_hung() -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", HANGS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(AssertionError, match=r"(?s)not ended after 2 s.*in the_place"):
        wait_for(process, seconds=2)
    assert process.returncode is not None
    assert process.stdout is not None
    assert process.stdout.closed
