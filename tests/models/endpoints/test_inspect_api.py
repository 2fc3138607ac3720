from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError, DependencyError, EndpointError
from atlas.models.base import Completion, Sampling
from atlas.models.endpoints.endpoint import Endpoint
from atlas.models.endpoints.inspect_api import InspectClient
from atlas.records import Message
from tests.models.endpoints.ask_inspect import MODEL, open_inspect
from tests.models.endpoints.chat_server import Reply, completion, failure, serve

KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GOOGLE", "GEMINI", "AZUREAI_OPENAI", "AZURE_OPENAI"):
        for suffix in ("API_KEY", "BASE_URL"):
            monkeypatch.delenv(f"{name}_{suffix}", raising=False)


def ask(url: str, times: int = 1, **settings: Any) -> Completion:
    """The last of `times` answers from one client."""

    async def run() -> Completion:
        client = open_inspect(url, **{"max_retries": 2, "timeout_seconds": 5.0, **settings})
        try:
            for _ in range(times):
                answer = await client.complete((Message(role="user", content="hello"),), Sampling())
            return answer
        finally:
            await client.close()

    return asyncio.run(run())


def test_a_slow_server_did_not_answer_in_time() -> None:
    with (
        serve(lambda body, number: completion("hi", delay=1.5)) as server,
        pytest.raises(EndpointError, match="in time"),
    ):
        # It is rounded up to a second.
        ask(server.url, max_retries=0, timeout_seconds=0.1)


def test_a_redirect_is_not_followed_with_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda body, number: completion("hi")) as other:
        moved = Reply("moved", 307, {"Location": f"{other.url}/chat/completions"})
        with serve(lambda body, number: moved) as server:
            ask(server.url)
    assert (server.authorizations, other.authorizations) == ([f"Bearer {KEY}"], [""])


@pytest.mark.parametrize("model", ["gpt-4o", "meta-llama/Llama-3.1-8B-Instruct"])
def test_a_name_without_a_known_provider_says_how_to_reach_it(model: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"model '{model}' cannot be asked.*Expected provider/model.*base_url="
    ):
        InspectClient(model, Endpoint())


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [
        ("openai/gpt-x", "openai", "providers"),
        ("anthropic/claude-x", "anthropic", "anthropic"),
        ("google/gemini-x", "google-genai", "google"),
    ],
)
def test_a_provider_whose_package_is_missing_names_it_and_its_extra(
    model: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("openai", "anthropic", "google.genai"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DependencyError, match=rf"'{package}'.*atlas-tuning\[{extra}\]'"):
        InspectClient(model, Endpoint())


def test_without_a_key_openai_itself_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # inspect_ai's own commands would read it.
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="No OPENAI_API_KEY"):
        InspectClient("openai/gpt-4o", Endpoint())
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        InspectClient("openai/gpt-4o", Endpoint(api_key_variable="MY_KEY"))


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "INSPECT_EVAL_MODEL_BASE_URL"])
def test_the_environment_does_not_choose_the_endpoint(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv(variable, "http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match=f"{variable} names another address"):
        InspectClient("openai/gpt-4o", Endpoint())


def test_a_missing_package_names_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.model", None)
    with pytest.raises(DependencyError, match=r"pip install 'atlas-tuning\[providers\]'"):
        InspectClient(MODEL, Endpoint())


def test_nothing_is_printed_and_no_file_is_made(tmp_path: Path) -> None:
    script = """
import asyncio, sys
from atlas.models.base import Sampling
from atlas.records import Message
from tests.models.endpoints.ask_inspect import open_inspect
async def run():
    client = open_inspect(sys.argv[1], max_retries=1)
    await client.complete([Message(role="user", content="hello")], Sampling())
    await client.close()
asyncio.run(run())
"""
    places = {name: str(tmp_path) for name in ("HOME", "TMPDIR")}
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("XDG_")
    } | places
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    with serve(lambda body, number: completion("hi") if number else failure(500)) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.url],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert (done.returncode, done.stdout, done.stderr, len(server.requests)) == (0, "", "", 2)
    assert list(tmp_path.rglob("*")) == []


def test_what_was_asked_is_not_kept() -> None:
    from inspect_ai.event import ModelEvent

    with serve(lambda body, number: completion("hi")) as server:
        ask(server.url, times=20)
    gc.collect()
    assert sum(type(thing) is ModelEvent for thing in gc.get_objects()) <= 1
