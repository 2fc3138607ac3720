"""The page of a trajectory from a server: hostile runs, whole texts, and every key that it adds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from atlas.records import Message, Step, Trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.viewing.web.hostile_texts import ATTACKS, hostile_selections, hostile_trajectory
from tests.viewing.web.open_browser import (
    THEMES,
    WIDTHS,
    find_violations,
    open_browser,
    open_page,
    wait_until,
)

pytest.importorskip("fastapi", reason="the extra 'view' is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra 'view' is not installed")

from atlas.viewing.web.app import make_app  # noqa: E402
from atlas.viewing.web.config import ViewConfig  # noqa: E402
from atlas.viewing.web.labels.store import LabelStore  # noqa: E402
from atlas.viewing.web.library import Library  # noqa: E402
from atlas.viewing.web.sources import open_sources  # noqa: E402

# A file cannot hold a lone surrogate.
IN_FILES = tuple(attack.replace("\ud800", "") for attack in ATTACKS)
PLAIN = "plain words"
BIG = "word " * 1_000_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A viewer of one run: a plain trajectory, the attacks, and an observation of 5 MB."""
    folder = tmp_path_factory.mktemp("runs")
    texts = (PLAIN, *IN_FILES)
    run = write_trajectories(folder / "episodes", [*map(hostile_trajectory, texts), _big()])
    chosen = [hostile_selections(text) for text in texts]
    runs = [run]
    for place, name in enumerate("ab"):
        selections = [each[place].selection for each in chosen]
        runs.append(write_selections(folder / name, selections, run))
    library = Library(open_sources(runs), folder / "index")
    app = make_app(library, LabelStore(folder / "labels.db"), ViewConfig())
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    library.close()


def _big() -> Trajectory:
    plain = hostile_trajectory(PLAIN)
    step = Step(
        observation=(Message(role="user", content=BIG),),
        response=Message(role="assistant", content="Action: go"),
    )
    return plain.model_copy(update={"id": "big", "steps": (step,)})


def at(address: str, id_: str, path: str = "/trajectory", **parameters: object) -> str:
    return f"{address}{path}?{urlencode({'source': 'episodes', 'id': id_, **parameters})}"


def read(url: str) -> str:
    with urlopen(url) as answer:
        return str(answer.read().decode())


def test_hostile_runs_execute_nothing(address: str, browser: Any) -> None:
    with open_page(browser, at(address, PLAIN)) as page:
        for attack in IN_FILES:
            page.goto(at(address, attack))
            page.keyboard.press("e")
            page.keyboard.press("ArrowDown")
            assert page.locator(".step").count() == 3
            foreign = "document.querySelectorAll('iframe, img, base, svg, [onerror], [onload]')"
            assert page.evaluate(f"{foreign}.length") == 0
            assert page.evaluate("window.hacked") is None


def test_a_cut_text_can_be_read_in_full(address: str, browser: Any) -> None:
    with open_page(browser, at(address, "big")) as page:
        assert "4,960,000 more characters are not shown" in str(page.text_content("#step-0 .cut"))
        link = page.get_attribute("#step-0 .cut a", "href")
    assert read(address + link) == BIG


def test_texts_are_plain_and_places_that_are_absent_say_so(address: str) -> None:
    with urlopen(at(address, IN_FILES[0], "/trajectory/text", at="prompt.0")) as answer:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.read().decode() == IN_FILES[0]
    with pytest.raises(HTTPError) as missing:
        urlopen(at(address, PLAIN, "/trajectory/text", at="step.9.response"))
    assert missing.value.code == 400
    assert "the trajectory has no text" in missing.value.read().decode()
    missing.value.close()


def test_markdown_is_that_of_the_page(address: str, browser: Any) -> None:
    text = read(at(address, PLAIN, "/trajectory/markdown"))
    assert text.startswith(f"# {PLAIN}\n")
    assert "- **plan creation** (a, score 0.5): plain words" in text
    with open_page(browser, at(address, PLAIN)) as page:
        page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        page.keyboard.press("y")
        wait_until(page, "Boolean(window.copied)")
        assert page.evaluate("window.copied") == text


def test_j_and_k_go_through_the_list_and_keep_its_query(address: str, browser: Any) -> None:
    with open_page(browser, at(address, IN_FILES[0], sort="-order")) as page:
        page.keyboard.press("j")
        wait_until(page, f"document.querySelector('.task').textContent === '{PLAIN}'")
        # The script runs once the page is parsed.
        page.wait_for_load_state("load")
        assert "sort=-order" in page.url
        page.keyboard.press("j")
        wait_until(page, "document.querySelector('#status').textContent.includes('last')")
        page.keyboard.press("k")
        wait_until(page, "document.querySelector('.task').textContent.includes('script')")


def test_keys_of_labels_reach_the_step_in_focus(address: str, browser: Any) -> None:
    with open_page(browser, at(address, PLAIN)) as page:
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("3")
        wait_until(
            page, "document.querySelector('#label-1 input:checked')?.value === 'critical_action'"
        )
        page.keyboard.press("r")
        wait_until(page, "document.activeElement.id === 'reason-1'")
        page.keyboard.type("jkc?")
        assert page.input_value("#reason-1") == "jkc?"
        # To leave the field is to save it.
        with page.expect_response("**/labels/set"):
            page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.id") == "step-1"
        for _ in ("the reason", "the kind"):
            with page.expect_response("**/labels/undo"):
                page.keyboard.press("u")
        wait_until(page, "!document.querySelector('#label-1 input:checked')")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_on_a_served_page(
    address: str, browser: Any, width: int, theme: str
) -> None:
    with open_page(browser, at(address, PLAIN), width, theme) as page:
        page.keyboard.press("e")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert find_violations(page) == []
