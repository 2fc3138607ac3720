"""Ctrl-C at any moment after the interpreter's own start is a sentence, never a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from atlas.__main__ import INTERRUPTED
from tests.processes import wait_for

# Tells when the interpreter is up, which no program can influence.
SCRIPT = "import sys; from atlas.__main__ import main; print('up', flush=True); main()"


@pytest.mark.parametrize("milliseconds", range(0, 400, 16))
def test_ctrl_c_while_the_command_line_loads_is_a_sentence(milliseconds: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, "run", "no-such-recipe.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    _, said = wait_for(process)
    if said.startswith("Exception ignored in"):
        # It arrived in a callback of the import system: Python reports it there and goes on.
        said = said[said.index("KeyboardInterrupt") :].partition("\n")[2]
    assert "Traceback" not in said
    # The command itself may have ended before.
    assert process.returncode in (INTERRUPTED, 2, -signal.SIGINT), said
    assert said.startswith(("stopped.", "error:")) or process.returncode < 0
