"""`--base-url` and addresses as `--model`: a model on a server, in short."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.cli.served_model import at_server
from atlas.errors import ConfigError, ModelError
from tests.cli.in_process import Atlas, atlas_in_process
from tests.models.endpoints.chat_server import completion, serve

PUSH = "tests.environments.push:PushEnvironment"


Evaluate = Callable[..., tuple[int, str]]


@pytest.fixture
def evaluate(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    atlas: Atlas = atlas_in_process(monkeypatch, capfd)

    def run(out: Path, *given: str) -> tuple[int, str]:
        status, said, errors = atlas(
            ["evaluate", "--env", PUSH, "--out", out, "episodes=2", *given]
        )
        return status, said + errors

    return run


@pytest.mark.parametrize("option", ["--base-url", "--model"])
def test_a_server_with_one_model_needs_only_its_address(
    option: str, evaluate: Evaluate, tmp_path: Path
) -> None:
    with serve(lambda body, number: completion("push"), models=("lab/m",)) as server:
        status, said = evaluate(tmp_path / "run", option, server.url, "endpoint.max_in_flight=32")
    assert status == 0, said
    assert {body["model"] for body in server.requests} == {"lab/m"}
    config = json.loads((tmp_path / "run" / "manifest.json").read_text())["config"]
    assert config["player"]["name"] == "endpoint"
    assert config["player"]["endpoint"]["max_in_flight"] == 32


def test_a_name_is_asked_for_as_it_is_given(evaluate: Evaluate, tmp_path: Path) -> None:
    with serve(lambda body, number: completion("push")) as server:
        status, said = evaluate(tmp_path / "run", "--base-url", server.url, "--model", "adapter")
    assert status == 0, said
    assert {body["model"] for body in server.requests} == {"adapter"}


def test_several_models_are_named_and_one_must_be_chosen(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    with serve(lambda body, number: completion("push"), models=("base", "adapter")) as server:
        status, said = evaluate(tmp_path / "run", "--base-url", server.url)
    assert status == 2
    assert "serves 2 models: base, adapter. Name one by --model" in said
    assert not server.requests


def test_a_server_that_lists_nothing_or_is_not_there_is_named(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    with serve(lambda body, number: completion("push")) as server:
        status, said = evaluate(tmp_path / "run", "--base-url", server.url)
    assert (status, "does not list its models" in said) == (2, True)
    with pytest.raises(ModelError, match="does not list its models"):
        at_server(None, None, "http://127.0.0.1:9/v1", None)


def test_another_player_or_two_addresses_are_refused() -> None:
    with pytest.raises(ConfigError, match="--player local does not play at an address"):
        at_server("m", "local", "http://127.0.0.1:9/v1", None)
    with pytest.raises(ConfigError, match="are addresses"):
        at_server("http://127.0.0.1:9/v1", None, "http://127.0.0.1:9/v1", None)
    assert at_server("m", None, None, ["seed=1"]) == ("m", None, ["seed=1"])
