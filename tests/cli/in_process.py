"""Runs the command `atlas` in this process, as its entry point does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from atlas.cli import main

# Exit status, standard output, standard error.
Done = tuple[int, str, str]
Atlas = Callable[[Sequence[object]], Done]


def atlas_in_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Atlas:
    """A function that runs the command with these arguments."""

    def run(arguments: Sequence[object]) -> Done:
        monkeypatch.setattr("sys.argv", ["atlas", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code: object = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capfd.readouterr()
        return (code if isinstance(code, int) else 1), out, err

    return run
