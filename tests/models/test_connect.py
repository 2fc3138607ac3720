"""What asking a model needs to have installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.endpoints.batch_server import serve_batches
from tests.models.endpoints.chat_server import completion, serve

BLOCK = """
import asyncio, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from pathlib import Path
from atlas.errors import DependencyError
from atlas.models.base import Sampling
from atlas.models.connect import connect
from atlas.models.endpoints.endpoint import Batching, Endpoint
from atlas.records import Message
"""
ASK = """
async def ask(batching):
    client = connect("m", Endpoint(base_url=sys.argv[2]), batching=batching, cache=True)
    answer = await client.complete([Message(role="user", content=sys.argv[2])], Sampling())
    await client.close()
    return answer.text
print(asyncio.run(ask(Batching(10, 0.02) if sys.argv[3] == "batches" else None)))
"""
CONNECT = """
try:
    connect(sys.argv[2], Endpoint())
except DependencyError as error:
    print(error)
"""
SDKS = "inspect_ai,openai,anthropic,google.genai,httpx,httpx2,tenacity,genai_prices"


def run(script: str, *arguments: str, cache: Path) -> str:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", BLOCK + script, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("way", ["single", "batches"])
def test_a_server_needs_no_sdk(way: str, tmp_path: Path) -> None:
    serving = serve if way == "single" else serve_batches
    with serving(lambda body, number: completion("hi")) as server:  # type: ignore[operator]
        assert run(ASK, SDKS, server.url, way, cache=tmp_path) == "hi\n"
    assert (tmp_path / "atlas" / "answers.sqlite").exists(), "XDG_CACHE_HOME is respected"


@pytest.mark.parametrize(
    ("blocked", "model", "package", "extra"),
    [
        ("inspect_ai", "openai/gpt-4o", "inspect-ai", "providers"),
        ("openai", "openai/gpt-4o", "openai", "providers"),
        ("anthropic", "anthropic/claude-x", "anthropic", "anthropic"),
        ("google.genai", "google/gemini-x", "google-genai", "google"),
    ],
)
def test_a_provider_names_the_extra_that_it_needs(
    blocked: str, model: str, package: str, extra: str, tmp_path: Path
) -> None:
    said = run(CONNECT, blocked, model, cache=tmp_path)
    assert f"'{package}' is not installed" in said
    assert f"atlas-tuning[{extra}]" in said


@pytest.mark.parametrize("package", ["httpx2", "aiohttp"])
def test_batches_of_a_provider_name_the_extra_that_they_need(package: str, tmp_path: Path) -> None:
    script = """
for module in ("inspect_ai.model", "openai"):
    __import__(module)
sys.modules[sys.argv[1]] = None
""" + CONNECT.replace("Endpoint()", "Endpoint(), batching=Batching()")
    said = run(
        script.replace("sys.argv[1]", repr(package)), "nothing", "openai/gpt-4o", cache=tmp_path
    )
    assert f"'{package}' is not installed" in said
    assert "atlas-tuning[providers]" in said


def test_a_server_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    script = CONNECT.replace("Endpoint()", "Endpoint(base_url='http://127.0.0.1:1/v1')")
    assert "atlas-tuning[endpoint]" in run(script, "aiohttp", "m", cache=tmp_path)
