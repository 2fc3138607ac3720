"""A hub that cannot be reached is reported in seconds; a hub that answers changes nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

NOWHERE = "http://127.0.0.1:1"
# It prints for how long the client paused, whatever else the machine does.
LOAD = """
import sys, time
pauses = []
time.sleep = pauses.append
from atlas.errors import ModelError
from atlas.models.local.load import load_renderer, locate_model
try:
    print(load_renderer(locate_model(sys.argv[1])).tokenizer.__class__.__name__)
except ModelError as error:
    print(error)
print(f"paused for {sum(pauses)} s")
"""


def load(name: str, endpoint: str, home: Path) -> str:
    """What loading the tokenizer of a hub id prints, without long pauses between tries."""
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    said = subprocess.run(
        [sys.executable, "-c", LOAD, name],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # The hub's own client pauses for 46 s, and again for each file that a model need not have.
    paused = re.search(r"^paused for ([\d.]+) s$", said, re.MULTILINE)
    assert paused is not None
    assert float(paused[1]) < 10
    return said


@pytest.fixture
def empty_hub() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_without_a_network_an_unknown_name_is_reported_in_seconds(
    tmp_path: Path,
) -> None:
    assert (
        f"nobody/nothing is not a folder here and not in the cache, and {NOWHERE} cannot be reached"
        in load("nobody/nothing", NOWHERE, tmp_path)
    )


def test_a_hub_that_answers_reports_what_is_wrong(empty_hub: str, tmp_path: Path) -> None:
    said = load("nobody/nothing", empty_hub, tmp_path)
    assert "the tokenizer of nobody/nothing cannot be loaded" in said
    assert "cannot be reached" not in said


def test_what_is_in_the_cache_is_loaded_without_a_network(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    cached = tmp_path / "hub" / "models--somebody--tiny"
    (cached / "snapshots").mkdir(parents=True)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    (cached / "snapshots" / ("0" * 40)).symlink_to(tiny_model_folder)
    assert "Tokenizer" in load("somebody/tiny", NOWHERE, tmp_path)
