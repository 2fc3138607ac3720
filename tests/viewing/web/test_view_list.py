"""The page of the list."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.pages.list_page import describe_list
from atlas.viewing.web.query import Query
from tests.viewing.web.view_runs import (
    make_episode,
    open_library,
    write_partial,
    write_run,
    write_selection,
)

ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' autofocus onfocus=alert(1) '",
    "</title></style></textarea><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--<script>",
    "\u202eevil\u2066\x1b[31m\x00",
    "&lt;b&gt;",
)


class Tags(HTMLParser):
    """The tags of a page with their attributes, as a browser sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def client_of(library: Library, folder: Path) -> TestClient:
    labels = LabelStore(folder / "labels.sqlite")
    return TestClient(make_app(library, labels, ViewConfig()), base_url="http://localhost")


def test_the_list_shows_each_trajectory_with_its_selections(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a/b c"), make_episode("d", outcome="failure")])
    chosen = write_selection(tmp_path / "chosen", run, {"a/b c": [1], "d": []}, "plan_creation")
    page = client_of(open_library(tmp_path, chosen), tmp_path).get("/").text
    assert 'href="/trajectory?source=run&amp;id=a%2Fb+c"' in page
    assert "2 trajectories" in page
    assert "plan creation" in page


def test_links_keep_the_query_so_that_neighbors_follow_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode("a"), make_episode("b")])
    page = client_of(open_library(tmp_path, run), tmp_path).get("/?q=look&sort=-steps&task=").text
    assert 'href="/trajectory?source=run&amp;id=a&amp;q=look&amp;sort=-steps"' in page


def test_a_list_is_cut_into_pages(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_episode(f"t{n}") for n in range(120)])
    library = open_library(tmp_path, run)
    view = describe_list(library.find(Query(page=2)), Query(page=2), library.sources)
    assert (view.pager.first, view.pager.last, view.pager.num_pages) == (51, 100, 3)
    assert (view.pager.previous, view.pager.next) == ("/", "/?page=3")
    beyond = describe_list(library.find(Query(page=9)), Query(page=9), library.sources)
    assert beyond.pager.previous == "/?page=3"
    assert beyond.pager.next is None


@pytest.mark.parametrize(
    "place",
    [
        "/?page=0",
        "/?page=x",
        "/?page=" + "0" * 19 + "1" + "9" * 5000,
        "/?sort=none",
        "/?kind=none",
        "/?q=" + "a" * 3000,
    ],
)
def test_a_wrong_address_is_a_page_with_the_reason(tmp_path: Path, place: str) -> None:
    client = client_of(
        open_library(tmp_path, write_run(tmp_path / "run", [make_episode("a")])), tmp_path
    )
    answer = client.get(place)
    assert answer.status_code == 400
    assert "expected" in answer.text


def test_an_address_without_what_it_needs_names_it(tmp_path: Path) -> None:
    client = client_of(
        open_library(tmp_path, write_run(tmp_path / "run", [make_episode("a")])), tmp_path
    )
    answer = client.get("/compare?left=run")
    assert answer.status_code == 400
    assert "the address has no &#39;right&#39;. Choose from the list." in answer.text


def test_an_empty_run_and_a_search_without_result_say_so(tmp_path: Path) -> None:
    client = client_of(open_library(tmp_path, write_run(tmp_path / "run", [])), tmp_path)
    assert "nothing here yet" in client.get("/").text
    assert "No trajectory fits" in client.get("/?q=x").text


def test_runs_in_progress_and_problems_are_named(tmp_path: Path) -> None:
    run = write_partial(tmp_path / "run", b"{torn\n")
    page = client_of(open_library(tmp_path, run, tmp_path / "none"), tmp_path).get("/").text
    assert "Still being written: evaluate run" in page
    assert "does not exist" in page
    assert "line without an id" in page


def test_what_trajectories_say_is_text_and_never_markup(tmp_path: Path) -> None:
    episodes = [
        make_episode(f"{attack} {number}", task=attack, group=attack, goal=attack, words=attack)
        for number, attack in enumerate(ATTACKS)
    ]
    run = write_run(tmp_path / "<b>run</b>", episodes)
    client = client_of(open_library(tmp_path, run), tmp_path)
    pages = [client.get("/").text]
    pages += [
        client.get("/", params={name: attack}).text
        for attack in ATTACKS
        for name in ("q", "task", "group", "run", "selector", "sort", "flipped", "page")
    ]
    for page in pages:
        parsed = Tags()
        parsed.feed(page)
        for tag, given in parsed.found:
            assert tag not in ("img", "svg", "iframe", "style", "textarea")
            assert not any(name.startswith("on") or name == "style" for name in given)
            assert not (given.get("href") or "").startswith("javascript")
            assert tag != "script" or (given["src"] or "").startswith("/static/")
        assert "\x1b" not in page
        assert "\u202e" not in page
        assert "49" not in re.findall(r"<a class=\"open\"[^>]*>([^<]*)", page)
    assert escape(ATTACKS[0]) in pages[0]
