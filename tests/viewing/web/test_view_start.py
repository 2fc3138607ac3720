"""The command `atlas view`: what it loads, and that it serves."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError, DataError
from atlas.viewing.web.security import Access
from atlas.viewing.web.serve import address_of, open_socket
from tests.viewing.web.view_runs import make_episode, write_run, write_selection

HEAVY = ("torch", "transformers", "inspect_ai", "aiohttp", "sklearn", "scipy", "matplotlib")
# Starts the command, and prints what is loaded once it answers.
WATCHED = f"""
import atexit, sys
from atlas.__main__ import main
atexit.register(lambda: print("loaded:", *[n for n in {HEAVY!r} if n in sys.modules], flush=True))
main()
"""


@contextmanager
def viewer(folder: Path, *given: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and the address that it printed."""
    command = [sys.executable, "-c", WATCHED, "view", *map(str, given), "--no-open"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"http://\S+/\S*?(?=\. )", line):
                    yield process, found[0]
                    break
            else:
                raise AssertionError("no address was printed")
        finally:
            process.kill()


def test_the_viewer_starts_without_large_packages_and_stops_in_order(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a")])
    chosen = write_selection(tmp_path / "chosen", run, {"a": [0]})
    with viewer(tmp_path, chosen, "--port", "0", "annotator=ann") as (process, address):
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"1 trajectory" in answer.read()
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped:" in said
    assert said.splitlines()[-1].strip() == "loaded:"
    assert (tmp_path / "chosen.labels.sqlite").exists()
    assert sorted(one.name for one in chosen.iterdir()) == ["manifest.json", "selections.jsonl"]


def test_a_log_of_another_program_is_shown_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text(
        '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}'
    )
    with (
        viewer(tmp_path, log, "--port", "0") as (_, address),
        urllib.request.urlopen(address, timeout=30) as answer,
    ):
        assert b"1 trajectory" in answer.read()
    assert not list(tmp_path.glob("*/manifest.json"))
    assert list((tmp_path / "cache").rglob("manifest.json"))


@pytest.mark.parametrize(
    "given", [["none"], ["annotator=ann"], ["x", "prot=3"], ["x", "port=99999"]]
)
def test_a_mistake_is_an_error_of_the_user(given: list[str]) -> None:
    result = CliRunner().invoke(app, ["view", *given, "--no-open"])
    assert result.exit_code != 0
    assert isinstance(result.exception, ConfigError | DataError)


def test_a_taken_port_is_an_error_only_if_it_was_given() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="Choose another --port"):
            open_socket("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"cannot listen on none\.invalid"):
        open_socket("none.invalid", 0)
    with open_socket("127.0.0.1", None) as one, open_socket("127.0.0.1", None) as two:
        assert one.getsockname() != two.getsockname()


def test_the_address_holds_the_token_if_there_is_one() -> None:
    with open_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        assert address_of(opened, Access()) == f"http://127.0.0.1:{port}/"
        assert address_of(opened, Access((), "t")) == f"http://127.0.0.1:{port}/?token=t"
