from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from atlas.records import Trajectory
from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.sources import open_sources
from tests.run_folders import write_trajectories
from tests.viewing.web.compared_runs import open_viewer, played

ADDRESS = "http://127.0.0.1"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    app, library = open_viewer(tmp_path_factory.mktemp("viewer"))
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made
    library.close()


def test_flips_are_listed_with_links_to_both_episodes(client: TestClient) -> None:
    page = client.get("/flips", params={"left": "before", "right": "after"})
    assert page.status_code == 200
    order = [page.text.index(name) for name in ("won→lost</span>", "lost→won</span>")]
    assert order == sorted(order)
    assert "room-3" not in page.text
    assert "/compare?left=before&amp;right=after&amp;task=room-2&amp;" in page.text


@pytest.mark.parametrize("given", [{}, {"left": "before"}, {"right": "after"}])
def test_without_runs_two_with_a_task_in_common_are_compared(
    client: TestClient, given: dict[str, str]
) -> None:
    page = client.get("/flips", params=given)
    assert "/compare?left=before&amp;right=after&amp;task=room-2&amp;" in page.text


def test_two_episodes_are_shown_with_their_parting_and_critical_steps(client: TestClient) -> None:
    given = {"left": "before", "right": "after", "task": "room-1"}
    text = client.get("/compare", params=given).text
    assert "They part at step 2: the same observation, another action." in text
    assert "They meet again at step 4." in text
    assert text.count('class="step aligned') == 6
    assert "▶ critical" in text


def test_changed_arguments_are_marked_and_hostile_text_is_escaped(client: TestClient) -> None:
    given = {"left": "before", "right": "after", "task": "calls/1"}
    text = client.get("/compare", params=given).text
    assert "<mark>red</mark> shoes" in text
    assert "<mark>blue</mark> shoes" in text
    for bad in ("<script>doc", "<img", "\x1b", "\u202e"):
        assert bad not in text
    assert "&lt;script&gt;" in text


def test_a_run_beside_itself_and_unknown_names_are_answered(client: TestClient) -> None:
    same = {"left": "before", "right": "before", "task": "room-1"}
    assert "Both episodes have the same" in client.get("/compare", params=same).text
    unknown = client.get("/compare", params={"left": "before", "right": "after", "task": "x<y"})
    assert unknown.status_code == 404
    assert "x&lt;y" in unknown.text
    assert client.get("/flips", params={"left": "nowhere", "right": "after"}).status_code == 404
    no_task = {"left": "before", "right": "after"}
    answer = client.get("/compare", params=no_task, follow_redirects=False)
    assert answer.headers["location"] == "/flips?left=before&right=after"


def test_in_blind_mode_no_choice_is_shown(tmp_path: Path) -> None:
    app, library = open_viewer(tmp_path, blind=True)
    given = {"left": "before", "right": "after", "task": "room-1"}
    assert (
        "▶ critical"
        not in TestClient(app, base_url="http://127.0.0.1").get("/compare", params=given).text
    )
    library.close()


def test_a_link_to_another_episode_of_a_task_opens_these_two(tmp_path: Path) -> None:
    """Whatever other episodes there are on the task, and on one with its id elsewhere."""

    def episode(name: str, environment: str) -> Trajectory:
        made = played("room", "success")
        task = made.task.model_copy(update={"environment": environment})
        return made.model_copy(update={"id": name, "task": task})

    named = {"x": "here", "y": "there", "z": "here", "w": "here"}
    runs = [
        write_trajectories(
            tmp_path / run, [episode(f"{run}-{name}", place) for name, place in named.items()]
        )
        for run in ("one", "two")
    ]
    library = Library(open_sources(runs), tmp_path / "index")
    labels = LabelStore(tmp_path / "labels.sqlite")
    pairs = []
    with TestClient(make_app(library, labels, ViewConfig()), base_url=ADDRESS) as client:
        for name in named:
            given = {"source": "one", "id": f"one-{name}"}
            page = client.get("/trajectory", params=given).text
            for link in re.findall(r'href="(/compare\?[^"]*)"', page):
                text = client.get(html.unescape(link)).text
                pairs.append(re.findall(r'<p><a href="/trajectory[^"]*">([^<]*)</a>', text))
                # The other episodes of each side are those of the same environment.
                assert ("3 episodes on this task" in text) == (named[name] == "here")
    labels.close()
    library.close()
    assert sorted(pairs) == sorted(
        [f"one-{left}", f"two-{right}"]
        for left in named
        for right in named
        if named[left] == named[right]
    )
