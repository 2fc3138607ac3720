"""Labels in the viewer: forms without scripts, people beside each other, files for commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli.app import app
from atlas.records import CriticalStep, Selection
from atlas.store.readers import read_selections
from atlas.viewing.web.labels.store import LabelStore
from tests.conftest import make_trajectory
from tests.run_folders import selections_in, write_selections, write_trajectories
from tests.viewing.web.view_server import Viewer, open_viewer

SECRET = "the oracle says this"
TRAJECTORIES = [make_trajectory(5, f"t/{name}") for name in "abc"]


def select(name: str, *indices: int) -> Selection:
    steps = tuple(
        CriticalStep(index=index, kinds=("critical_action",), reason=SECRET) for index in indices
    )
    return Selection(
        trajectory_id=name, selector="oracle", num_steps=5, budget=2, critical_steps=steps
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run = write_trajectories(folder / "episodes", TRAJECTORIES)
    for name, last in {"oracle": 1, "other": 4}.items():
        write_selections(
            folder / name, [select("t/a", 0), select("t/b", 0, last), select("t/c", 2)], run
        )
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.sqlite"


@pytest.fixture
def viewer(runs: Path, labels: Path, tmp_path: Path) -> Iterator[Viewer]:
    given = runs / "oracle", runs / "other", f"labels={labels}", "annotator=ann"
    with open_viewer(*given, cache=tmp_path) as opened:
        yield opened


def key_of(viewer: Viewer) -> str:
    found = re.search(r'href="/trajectory\?source=([^&"]+)', viewer.get("/").text)
    assert found is not None
    return found[1]


def test_a_form_without_scripts_labels_a_step_and_comes_back_to_it(viewer: Viewer) -> None:
    place = {"source": key_of(viewer), "id": "t/a"}
    form = {"step": 1, "type": "self_correction", "reason": "<b>undoes</b>", "confidence": 0.5}
    answer = viewer.post("/labels/set", **place, **form)
    assert answer.status == 303
    assert answer.headers["location"].endswith("id=t%2Fa#step-1")
    page = viewer.get("/trajectory", **place).text
    assert re.search(r'id="label-1-self_correction"[^>]* checked', page)
    assert 'value="&lt;b&gt;undoes&lt;/b&gt;"' in page
    assert "saved by ann at 20" in page
    assert "1 of 5 steps labeled, 1 critical" in page
    shown = viewer.get("/labels").text
    assert "<b>undoes" not in shown
    assert "self correction" in shown


def test_a_script_gets_the_step_and_an_undo_the_step_that_it_changed(viewer: Viewer) -> None:
    place = {"source": key_of(viewer), "id": "t/a"}
    part = viewer.post("/labels/set", htmx=True, **place, step=3, type="critical")
    assert part.status == 200
    assert part.text.lstrip().startswith('<div class="labeling" id="label-3">')
    assert 'id="label-count" hx-swap-oob="true"' in part.text
    undone = viewer.post("/labels/undo", htmx=True, **place)
    assert undone.headers["hx-retarget"] == "#label-3"
    assert " checked" not in undone.text
    assert viewer.post("/labels/undo", htmx=True, **place).status == 204
    assert viewer.post("/labels/undo", **place).status == 303


def test_a_wrong_form_changes_nothing_and_says_why(viewer: Viewer, labels: Path) -> None:
    right = {"source": key_of(viewer), "id": "t/a", "step": 1, "type": "critical"}
    for wrong, words in (
        ({"step": 5}, "expected 0 to 4"),
        ({"step": "x"}, "whole number"),
        ({"type": "bad<script>"}, "is not known"),
        ({"confidence": 7}, "from 0 to 1"),
        ({"id": "missing"}, "no trajectory"),
        ({"source": "missing"}, "no run has the key"),
    ):
        answer = viewer.post("/labels/set", **{**right, **wrong})
        assert answer.status in (400, 404), wrong
        assert words in answer.text, wrong
        assert "<script>" not in answer.text.split("<main")[1], wrong
        assert LabelStore(labels).history() == (), wrong


def test_kill_9_right_after_the_answer_loses_nothing(
    runs: Path, labels: Path, tmp_path: Path
) -> None:
    given = runs / "oracle", f"labels={labels}", "annotator=ann"
    for step in range(3):
        with open_viewer(*given, cache=tmp_path) as viewer:
            place = {"source": key_of(viewer), "id": "t/a"}
            assert viewer.post("/labels/set", **place, step=step, type="critical").status == 303
            viewer.kill()
    store = LabelStore(labels)
    assert store.labeling("ann", TRAJECTORIES[0]).critical == {0, 1, 2}
    store.close()


def test_two_people_at_two_viewers_of_one_file_do_not_overwrite_each_other(
    viewer: Viewer, runs: Path, labels: Path, tmp_path: Path
) -> None:
    given = runs / "oracle", f"labels={labels}", "annotator=bob"
    with open_viewer(*given, cache=tmp_path / "other") as second:
        place = {"source": key_of(viewer), "id": "t/a"}
        viewer.post("/labels/set", **place, step=1, type="critical")
        second.post("/labels/set", **place, step=1, type="none")
        second.post("/labels/undo", **place)
        second.post("/labels/set", **place, step=1, type="plan_creation", reason="sees it too")
        page = viewer.get("/trajectory", **place).text
        assert re.search(r'id="label-1-critical"[^>]* checked', page)
        assert "sees it too" in page
        for one in (viewer, second):
            one.post("/labels/finish", **place)
        shown = viewer.get("/labels").text
    assert "ann and bob" in shown
    assert "100\u202f%" in shown or "100.0\u202f%" in shown
    assert "no interval" in shown


def test_a_browser_may_name_another_person(viewer: Viewer, labels: Path) -> None:
    chosen = viewer.post("/labels/annotator", annotator="Zoë; x=1")
    cookie = chosen.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    place = {"source": key_of(viewer), "id": "t/a"}
    viewer.post("/labels/set", cookie=cookie.split(";")[0], **place, step=0, type="critical")
    [edit] = LabelStore(labels).history()
    assert edit.annotator == "Zoë; x=1"


def test_blind_mode_hides_selections_and_people_until_the_trajectory_is_finished(
    runs: Path, labels: Path, tmp_path: Path
) -> None:
    store = LabelStore(labels)
    store.set("bob", TRAJECTORIES[0], 2, "critical", reason="what bob thinks")
    store.close()
    given = runs / "oracle", f"labels={labels}", "annotator=ann", "blind=true"
    with open_viewer(*given, cache=tmp_path) as viewer:
        place = {"source": key_of(viewer), "id": "t/a"}
        for path in ("/trajectory", "/trajectory/markdown"):
            page = viewer.get(path, **place).text
            assert SECRET not in page
            assert "bob" not in page
        part = viewer.post("/labels/set", htmx=True, **place, step=2, type="none")
        assert "bob" not in part.text
        viewer.post("/labels/finish", **place)
        page = viewer.get("/trajectory", **place).text
        assert SECRET in page
        assert "what bob thinks" in page
        viewer.post("/labels/finish", **place, finished="no")
        assert SECRET not in viewer.get("/trajectory", **place).text


def test_the_next_trajectory_is_one_on_which_the_selections_differ(viewer: Viewer) -> None:
    source = key_of(viewer)
    answer = viewer.get("/labels/next", source=source)
    assert answer.headers["location"].endswith("id=t%2Fb#step-1")
    viewer.post("/labels/finish", source=source, id="t/b")
    done = viewer.get("/labels/next", source=source)
    assert done.headers["location"].startswith("/labels?none=")
    assert "nothing uncertain is left" in viewer.get(done.headers["location"]).text


def test_labels_become_what_every_command_takes(
    viewer: Viewer, runs: Path, labels: Path, tmp_path: Path
) -> None:
    source = key_of(viewer)
    for id_, step, type_ in (
        ("t/a", 1, "critical_action"),
        ("t/a", 4, "critical"),
        ("t/b", 0, "none"),
    ):
        viewer.post("/labels/set", source=source, id=id_, step=step, type=type_, reason="why")
    made = viewer.post("/labels/selection", source=source, name="people", ratio="1")
    assert made.status == 303, made.text
    assert "2 critical steps" in viewer.get(made.headers["location"]).text
    selection = read_selections(tmp_path / "people", runs / "episodes")
    assert selection["t/a"].indices == {1, 4}
    assert selection["t/a"].critical_steps[0].kinds == ("critical_action",)
    assert selection["t/b"].indices == frozenset()
    # The file beside it, and the file that the page sends, are the same labels.
    sent = viewer.get("/labels/export", format="jsonl")
    assert sent.headers["content-disposition"] == 'attachment; filename="labels.jsonl"'
    assert sent.text == (tmp_path / "people.labels.jsonl").read_text()
    (tmp_path / "sent.jsonl").write_text(sent.text)
    command = ["select", "--trajectories", str(runs / "episodes"), "--selector", "annotated"]
    command += ["--out", str(tmp_path / "again"), f"labels={tmp_path / 'sent.jsonl'}", "ratio=1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    both = [selections_in(tmp_path / run) for run in ("again", "people")]
    steps = [{one.trajectory_id: one.critical_steps for one in found} for found in both]
    assert steps[0] == steps[1]
    again = viewer.post("/labels/selection", source=source, name="people", ratio="1")
    assert "exists already" in again.text


def test_a_selection_is_written_beside_the_labels_only(viewer: Viewer, tmp_path: Path) -> None:
    source = key_of(viewer)
    viewer.post("/labels/set", source=source, id="t/a", step=1, type="critical")
    for name in ("../out", "a/b", "", " ", "..", "-x", "x\n"):
        before = sorted(tmp_path.rglob("*.jsonl"))
        answer = viewer.post("/labels/selection", source=source, name=name, ratio="1")
        assert answer.status in (303, 400), name
        if answer.status == 303:
            # Blanks around a name are left out.
            assert name.strip()
            assert (tmp_path / name.strip()).is_dir()
        else:
            assert sorted(tmp_path.rglob("*.jsonl")) == before, name
