"""Blind mode: no page depends on what others chose in a trajectory that is not finished."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from starlette.testclient import TestClient

from atlas.records import Annotation, CriticalStep, Selection, Trajectory
from atlas.viewing.web.app import make_app
from atlas.viewing.web.config import ViewConfig
from atlas.viewing.web.labels.store import LabelStore
from atlas.viewing.web.library import Library
from atlas.viewing.web.query import FILTERS
from atlas.viewing.web.sources import open_sources
from atlas.viewing.web.static_page import StaticEntry, render_static
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories

ADDRESS = "http://127.0.0.1"
# In everything that others say.
MARK = "quillwort"
NAMES = "abc"
LINK = re.compile(r'(?:href|data-markdown|hx-get)="(/[^"#]*)')
# Calibration has a rule of its own, and the order of what is uncertain is that of selectors.
APART = ("/static/", "/calibrate", "/labels/next")


def episodes(says: bool) -> list[Trajectory]:
    """Trajectories of which the source marks a step."""
    made = []
    for name in NAMES:
        one = make_trajectory(4, f"t/{name}")
        steps = list(one.steps)
        if says:
            marked = Annotation(kinds=("plan_creation",), score=0.625)
            steps[2] = steps[2].model_copy(update={"annotation": marked})
        made.append(one.model_copy(update={"steps": tuple(steps)}))
    return made


def selections(says: bool, place: int) -> list[Selection]:
    """Two of them differ if they say anything; the last trajectory has a problem then."""
    return [
        Selection(
            trajectory_id=f"t/{name}",
            selector="oracle",
            num_steps=4,
            budget=2,
            critical_steps=(
                CriticalStep(index=place, kinds=("self_correction",), reason=MARK, score=0.375),
            )
            if says and name != "c"
            else (),
            problem=f"{MARK} cannot be read" if says and name == "c" else None,
        )
        for name in NAMES
    ]


@contextmanager
def open_viewer(folder: Path, says: bool, **settings: object) -> Iterator[TestClient]:
    """A viewer of two runs. Where others say something, bob and ann have labeled all."""
    given = episodes(says)
    folder.mkdir()
    runs = [write_trajectories(folder / name, given, "evaluate") for name in ("left", "right")]
    chosen = [
        write_selections(folder / name, selections(says, place), runs[0])
        for place, name in enumerate(("oracle", "other"))
    ]
    library = Library(open_sources([*runs, *chosen]), folder / "index")
    labels = LabelStore(folder / "labels.sqlite", lambda: datetime(2026, 1, 1, tzinfo=UTC))
    for person in ("ann", f"bob {MARK}") if says else ():
        for one in given:
            labels.set(person, one, 1, "critical_action", reason=MARK, evidence=MARK)
            labels.finish(person, one)
    labels.set("zoe", given[0], 0, "critical", reason="my own")
    config = ViewConfig.model_validate({"annotator": "ann", "blind": True, **settings})
    with TestClient(make_app(library, labels, config), base_url=ADDRESS) as client:
        client.headers["origin"] = ADDRESS
        client.post("/labels/annotator", data={"annotator": "zoe"})
        yield client
    labels.close()
    library.close()


def crawl(client: TestClient) -> Mapping[str, str]:
    """Every page that links lead to, from the pages that are named here on."""
    source = {"run": "left", "selector": "oracle", "kind": "self_correction", "sort": "selected"}
    values = {**dict.fromkeys(FILTERS, "1"), **source, "flipped": "any", "outcome": "success"}
    waiting = [
        "/",
        *(f"/?{key}={value}" for key, value in values.items()),
        *(f"/trajectory?source=left&id=t%2Fa&{key}={value}" for key, value in values.items()),
        "/labels",
        "/labels?made=oracle",
        "/labels/export?format=jsonl",
        "/labels/export?source=left&annotator=ann",
        "/compare?left=left&right=right&task=t%2Fa",
        "/tokens?source=left&id=t%2Fa&selection=oracle",
    ]
    pages: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        if path not in pages and not path.startswith(APART):
            pages[path] = client.get(path).text.replace(str(client.base_url), "")
            waiting += map(html.unescape, LINK.findall(pages[path]))
    return pages


def test_no_page_depends_on_what_others_chose_in_a_trajectory_that_is_not_finished(
    tmp_path: Path,
) -> None:
    pages = []
    for says in (True, False):
        with open_viewer(tmp_path / f"{says}", says) as client:
            found = crawl(client)
        folder = str(tmp_path / f"{says}")
        pages.append({path: text.replace(folder, "") for path, text in found.items()})
    said, silent = pages
    assert [path for path, text in said.items() if MARK in text] == []
    assert said.keys() == silent.keys()
    assert [path for path, text in said.items() if text != silent[path]] == []
    # All kinds of pages were seen, and own labels are on them.
    kinds = {path.partition("?")[0] for path in said}
    assert kinds >= {
        *("/", "/trajectory", "/trajectory/markdown", "/tokens", "/compare", "/flips", "/labels"),
        "/labels/export",
    }
    assert "my own" in said["/labels"]


def test_what_a_person_has_finished_is_shown_to_this_person(tmp_path: Path) -> None:
    """The finished trajectory only, whoever the settings name."""
    with open_viewer(tmp_path / "runs", True) as client:
        client.post("/labels/finish", data={"source": "left", "id": "t/a"})
        pages = crawl(client)
        shown = {path for path, text in pages.items() if MARK in text}
        assert {path.partition("?")[0] for path in shown} >= {
            *("/trajectory", "/trajectory/markdown", "/labels", "/labels/export"),
        }
        assert not [path for path in shown if "t%2Fb" in path or "t%2Fc" in path]
        for path in ("/compare?left=left&right=right&task=t%2Fa", "/tokens?source=left&id=t%2Fa"):
            assert "oracle" in client.get(path).text, path
        assert '"trajectory_id":"t/b"' not in pages["/labels/export?format=jsonl"]


def test_next_does_not_go_to_the_step_about_which_selectors_are_uncertain(tmp_path: Path) -> None:
    for blind, anchor in ((True, ""), (False, "step-0")):
        with open_viewer(tmp_path / f"{blind}", True, blind=blind) as client:
            answer = client.get("/labels/next?source=left", follow_redirects=False)
            assert answer.headers["location"].partition("#")[2] == anchor


def test_a_blind_file_does_not_depend_on_the_marks_of_the_source() -> None:
    said, silent = (
        render_static([StaticEntry(one, is_blind=True) for one in episodes(says)])
        for says in (True, False)
    )
    assert said == silent
