"""Who may ask the viewer, and what every answer carries."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.security import CONTENT_POLICY, Access, RequestGuard, access_for
from tests.viewing.web.view_runs import make_episode, open_library, write_run

HOME = "http://127.0.0.1:8765"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    (tmp_path / "secret.txt").write_text("secret")
    run = write_run(tmp_path / "run", [make_episode("a")])
    library = open_library(tmp_path, run)
    yield library
    library.close()


@pytest.fixture
def labels(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "labels.sqlite")


@pytest.fixture
def client(library: Library, labels: LabelStore) -> TestClient:
    app = make_app(library, labels, ViewConfig())
    return TestClient(app, base_url=HOME, raise_server_exceptions=False)


@pytest.fixture
def writes() -> TestClient:
    """Answers every request that the guard lets through."""
    return TestClient(RequestGuard(PlainTextResponse("done"), Access()), base_url=HOME)


@pytest.mark.parametrize("place", ["/", "/none", "/?sort=x", "/static/view.css", "/static/none"])
def test_every_answer_has_the_headers(client: TestClient, place: str) -> None:
    answer = client.get(place)
    assert answer.headers["content-security-policy"] == CONTENT_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "unsafe" not in CONTENT_POLICY


def test_a_fault_of_the_viewer_is_a_page_with_the_headers(
    client: TestClient, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Library, "find", lambda *_: 1 / 0)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "division by zero" in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"] == CONTENT_POLICY


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8765",
        "",
        "localhost@evil.example",
        "[::1",
        "10.0.0.1",
    ],
)
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:9", "LOCALHOST", "[::1]:8765"])
def test_names_of_this_machine_are_accepted(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post"])
@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "http://evil.example",
        "https://127.0.0.1:8765",
        "http://127.0.0.1:1",
        HOME + "/",
    ],
)
def test_a_write_from_another_page_is_refused(
    writes: TestClient, method: str, origin: str | None
) -> None:
    headers = {} if origin is None else {"origin": origin}
    assert writes.request(method, "/", headers=headers, content=b"a=1").status_code == 403


def test_a_write_from_the_viewer_is_let_through(writes: TestClient) -> None:
    assert writes.post("/", headers={"origin": HOME}, content=b"a=1").text == "done"
    large = b"a" * (1 << 21)
    assert writes.post("/", headers={"origin": HOME}, content=large).status_code == 403


@pytest.mark.parametrize(
    "place",
    [
        "/static/../app.py",
        "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/..\\app.py",
        "/../../secret.txt",
        "/trajectory?source=..&id=secret.txt",
        "/trajectory?source=run&id=../secret.txt",
        "/trajectory?source=run/../&id=a",
    ],
)
def test_no_path_leaves_the_runs(client: TestClient, place: str) -> None:
    answer = client.get(place)
    assert answer.status_code in (400, 404, 422)
    assert "secret\n" not in answer.text
    assert "root:" not in answer.text
    assert "import annotations" not in answer.text


def test_beyond_loopback_a_token_becomes_a_cookie(library: Library, labels: LabelStore) -> None:
    access = access_for("0.0.0.0")
    app = make_app(library, labels, ViewConfig(host="0.0.0.0"), access)
    client = TestClient(app, base_url="http://machine.example", follow_redirects=False)
    for place in ("/", "/?token=", "/?token=wrong", "/static/view.css"):
        assert client.get(place).status_code == 403
    assert client.get("/", headers={"cookie": f"{access.cookie}=wrong"}).status_code == 403
    entered = client.get("/", params={"q": "a b", "token": access.token or ""})
    assert entered.status_code == 303
    assert entered.headers["location"] == "/?q=a+b"
    assert {"HttpOnly", "SameSite=Strict"} <= set(entered.headers["set-cookie"].split("; "))
    assert client.get("/").status_code == 200
    assert access_for("::").token != access_for("::").token
    assert access_for("127.0.0.1").token is None


def test_a_token_leads_to_no_other_site(library: Library, labels: LabelStore) -> None:
    access = access_for("0.0.0.0")
    app = make_app(library, labels, ViewConfig(), access)
    client = TestClient(app, base_url="http://machine.example", follow_redirects=False)
    entered = client.get(f"//evil.example/?token={access.token}")
    assert entered.headers["location"].startswith("/")
    assert not entered.headers["location"].startswith("//")
