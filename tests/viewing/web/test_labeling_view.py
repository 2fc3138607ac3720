"""The controls of labels beside a trajectory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.pages.labeling_view import MAX_STEPS_WITH_FIELDS
from atlas.viewing.web.sources import open_sources
from tests.run_folders import write_trajectories
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
