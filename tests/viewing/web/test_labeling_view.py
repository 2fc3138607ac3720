"""The controls of labels beside a trajectory."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from atlas.errors import RunError
from atlas.records import CriticalStep, Selection
from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.pages.labeling_view import MAX_STEPS_WITH_FIELDS
from atlas.viewing.web.sources import open_sources
from tests.run_folders import write_selections, write_trajectories
from tests.viewing.web.compared_runs import played

FIELD = 'name="reason"'


def test_a_browser_names_its_person_for_one_file_of_labels_and_one_setting(tmp_path: Path) -> None:
    """A browser has the same cookies for all viewers of a machine, before and after a restart."""
    run = write_trajectories(tmp_path / "run", [played("hall", "success")])
    library = Library(open_sources([run]), tmp_path / "index")
    cookies: dict[str, str] = {}

    def annotator(file: str, annotator: str, chosen: str = "") -> str:
        labels = LabelStore(tmp_path / file)
        app = make_app(library, labels, ViewConfig(annotator=annotator))
        with TestClient(app, base_url="http://127.0.0.1", cookies=cookies) as client:
            origin = {"origin": "http://127.0.0.1"}
            if chosen:
                client.post("/labels/annotator", data={"annotator": chosen}, headers=origin)
                cookies.update(client.cookies)
            page = client.get("/labels").text
        labels.close()
        found = re.search(r'name="annotator" value="([^"]*)"', page)
        assert found is not None
        return found[1]

    assert annotator("one.sqlite", "ann", chosen="zoe") == "zoe"
    assert annotator("one.sqlite", "ann") == "zoe"
    assert annotator("one.sqlite", "bob") == "bob"
    assert annotator("two.sqlite", "ann") == "ann"
    library.close()


QUERY = {"q": "ball", "outcome": "success", "sort": "-steps"}
ORIGIN = {"origin": "http://127.0.0.1"}


@pytest.fixture
def labeled(tmp_path: Path) -> Iterator[TestClient]:
    """A viewer of a run with two selections that differ, which cannot make selections at first."""
    run = write_trajectories(tmp_path / "run", [played("hall", "success")])
    chosen = [
        write_selections(tmp_path / name, [select("hall", place)], run)
        for place, name in enumerate("ab")
    ]
    library = Library(open_sources([run, *chosen]), tmp_path / "index")
    labels = LabelStore(tmp_path / "labels.sqlite")
    attempts = []

    def make(
        trajectories: Path, labels: Path, out: Path, annotator: str | None, ratio: float
    ) -> str:
        attempts.append(out)
        out.mkdir()
        if len(attempts) == 1:
            raise RunError("the disk is full")
        return "made"

    app = make_app(library, labels, ViewConfig(), make_selection=make)
    with TestClient(app, base_url="http://127.0.0.1", headers=ORIGIN) as client:
        client.follow_redirects = False
        yield client
    labels.close()
    library.close()


def select(id_: str, step: int) -> Selection:
    steps = (CriticalStep(index=step),)
    return Selection(
        trajectory_id=id_, selector="test", num_steps=6, budget=1, critical_steps=steps
    )


def test_every_form_and_link_of_labels_keeps_the_query_of_the_list(labeled: TestClient) -> None:
    place = {"source": "run", "id": "hall"}
    page = labeled.get("/trajectory", params={**place, **QUERY}).text
    given = re.findall(r'(?:action|href|hx-post)="([^"]*/labels/[^"]*)"', page)
    addresses = set(map(html.unescape, given))
    assert {one.partition("?")[0] for one in addresses} == {
        *("/labels/set", "/labels/undo", "/labels/finish", "/labels/next"),
    }
    # The next trajectory to label is asked for first: once this one is finished, none is left.
    for address in sorted(addresses, key=lambda one: "/labels/next" not in one):
        if address.startswith("/labels/next"):
            answer = labeled.get(address.replace("after=hall", "after="))
        else:
            form = {**place, "step": 0, "type": "critical"}
            answer = labeled.post(address, data=form)
        said = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert said == {**place, **QUERY}, address
    part = labeled.post(
        f"/labels/set?{urlencode(QUERY)}",
        data={**place, "step": 1, "type": "critical"},
        headers={"hx-request": "true"},
    )
    assert f'action="/labels/set?{html.escape(urlencode(QUERY))}"' in part.text


def test_a_selection_that_could_not_be_made_leaves_its_name_free(
    labeled: TestClient, tmp_path: Path
) -> None:
    form = {"source": "run", "id": "hall", "step": 0, "type": "critical", "name": "people"}
    assert labeled.post("/labels/selection", data=form).status_code == 400
    labeled.post("/labels/set", data=form)
    for ratio in ("0", "-1", "nan", "2"):
        refused = labeled.post("/labels/selection", data={**form, "ratio": ratio})
        assert "expected a number above 0, up to 1" in refused.text, ratio
    before = sorted(tmp_path.iterdir())
    assert "the disk is full" in labeled.post("/labels/selection", data=form).text
    assert sorted(tmp_path.iterdir()) == before
    assert labeled.post("/labels/selection", data=form).status_code == 303
    assert (tmp_path / "people").is_dir()
    assert "exists already" in labeled.post("/labels/selection", data=form).text
    assert (tmp_path / "people").is_dir()


@pytest.mark.parametrize("more", [0, 1])
def test_many_steps_have_fields_where_they_are_asked_for_or_used(tmp_path: Path, more: int) -> None:
    """A browser needs seconds for hundreds of forms with fields to write in."""
    num_steps = MAX_STEPS_WITH_FIELDS + more
    run = write_trajectories(tmp_path / "run", [played("hall", "success", steps=num_steps)])
    library = Library(open_sources([run]), tmp_path / "index")
    labels = LabelStore(tmp_path / "labels.sqlite")
    app = make_app(library, labels, ViewConfig())
    given = {"source": "run", "id": next(library.episodes("run")).id}
    with TestClient(app, base_url="http://127.0.0.1") as client:
        plain = client.get("/trajectory", params=given).text
        assert plain.count(FIELD) == (0 if more else num_steps)
        if not more:
            return
        assert plain.count("fields=7#step-7") == 1
        filtered = client.get("/trajectory", params={**given, **QUERY}).text
        assert f'fields=7&amp;{html.escape(urlencode(QUERY))}#step-7"' in filtered
        asked = client.get("/trajectory", params={**given, "fields": 7}).text
        assert asked.count(FIELD) == 1
        assert 'id="reason-7"' in asked
        form = {**given, "step": 3, "type": "critical", "reason": "it opens the door"}
        saved = client.post("/labels/set", data=form, headers={"origin": "http://127.0.0.1"})
        assert saved.status_code == 200
        later = client.get("/trajectory", params=given).text
        assert 'value="it opens the door"' in later
        assert later.count(FIELD) == 1
        # A tab from before sends no such field, and a form without a choice sends no type.
        for change in ({"type": "none"}, {"evidence": "step 2"}):
            again = {**given, "step": 3, **change}
            client.post("/labels/set", data=again, headers={"origin": "http://127.0.0.1"})
        [label] = labels.labels(played("hall", "success", steps=num_steps))
        assert (label.type, label.reason, label.evidence) == (
            "none",
            "it opens the door",
            "step 2",
        )
        emptied = {**given, "step": 3, "type": "", "reason": "", "evidence": ""}
        client.post("/labels/set", data=emptied, headers={"origin": "http://127.0.0.1"})
        assert labels.labels(played("hall", "success", steps=num_steps)) == ()
        assert client.get("/trajectory", params={**given, "fields": "9" * 5000}).status_code == 200
    library.close()
