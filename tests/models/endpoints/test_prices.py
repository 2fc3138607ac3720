"""Prices: the user's table wins, known prices need no network, a server has only a listed price."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError
from atlas.models.endpoints.prices import Price, find_price, read_prices


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "judge: {input: 0.1, output: 0.4, batch: 0.5}\nopenai/gpt-4o: {input: 1, output: 2}\n"
    )
    return path


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a price was looked up over the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_table_holds_a_price_for_each_model(table: Path) -> None:
    prices = read_prices(table)
    assert prices["judge"] == Price(input=0.1, output=0.4, batch=0.5)
    assert prices["openai/gpt-4o"].source == str(table)


def test_the_discount_of_batches_applies_where_it_is_known() -> None:
    known, unknown = Price(4.0, 8.0, 0.5), Price(4.0, 8.0)
    assert known.of_requests(in_batches=True) == Price(2.0, 4.0)
    assert known.of_requests(in_batches=False) == Price(4.0, 8.0)
    assert unknown.of_requests(in_batches=True) == Price(4.0, 8.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("judge: 3\n", "'judge' is 3, expected {input: …, output: …}"),
        ("judge: {input: 1, output: 1, batch: 50}\n", "'batch' is 50"),
        ("judge: {input: -1, output: 1}\n", "'input' is -1"),
        ("judge: {input: 1}\n", "judge: 'output'"),
        ("judge: {input: 1, output: 1, cached: 1}\n", "'cached'"),
        ("judge: {input: .nan, output: 1}\n", "'input' is nan"),
        ("- judge\n", "holds a list"),
        ("judge: {input: 1, output: 1", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_says_where(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_prices(path)
    assert message in str(caught.value)
    with pytest.raises(ConfigError, match="does not exist"):
        read_prices(tmp_path / "nothing.yaml")


@pytest.mark.usefixtures("_no_network")
def test_the_table_wins_over_the_known_price(table: Path) -> None:
    known = find_price("openai/gpt-4o", None, None)
    assert known == Price(2.5, 10.0, 0.5)
    assert known.source.startswith("genai-prices ")
    assert known.source.endswith(": openai/gpt-4o")
    assert find_price("openai/gpt-4o", None, table) == Price(1.0, 2.0)
    assert find_price("openai/gpt-4o-mini", None, table) != Price(1.0, 2.0)


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize("model", ["anthropic/claude-sonnet-4-5", "google/gemini-2.5-pro"])
def test_the_known_price_of_a_model_with_tiers_is_that_of_short_prompts(model: str) -> None:
    price = find_price(model, None, None)
    assert price is not None
    assert 0 < price.input < price.output
    assert price.batch == 0.5


@pytest.mark.usefixtures("_no_network")
def test_a_server_has_only_a_price_in_the_table(table: Path) -> None:
    url = "http://127.0.0.1:1/v1"
    assert find_price("openai/gpt-4o", url, None) is None
    assert find_price("openai/gpt-4o-mini", url, table) is None
    assert find_price("judge", url, table) == Price(0.1, 0.4, 0.5)


@pytest.mark.usefixtures("_no_network")
@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "openai/no-such-model", "nobody/gpt-4o", "openai/azure/gpt-4o", "openai/", ""],
)
def test_an_unknown_model_has_no_price(model: str) -> None:
    assert find_price(model, None, None) is None


def test_without_the_package_only_the_table_has_prices(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert find_price("openai/gpt-4o-mini", None, table) is None
    assert find_price("judge", None, table) is not None


def test_the_package_is_loaded_only_for_a_known_price(table: Path) -> None:
    script = """
import sys
from pathlib import Path
from atlas.models.endpoints.prices import find_price
find_price("judge", None, Path(sys.argv[1]))
find_price("openai/gpt-4o", "http://127.0.0.1:1/v1", None)
assert "genai_prices" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(table)], check=True)
