"""`atlas view --static`: which trajectories are in the file, and what is shown of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.errors import ConfigError
from atlas.models.local import load
from atlas.presenting.anchors import anchor_of
from atlas.rendering.renderer import Renderer
from atlas.store.record_files import to_json
from atlas.viewing.web.labels.store import LabelStore
from tests.templates import CHATML, tiny_tokenizer
from tests.viewing.web.view_runs import make_episode, write_partial, write_run, write_selection


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of the same tasks and a selection of the first one. FastAPI is not installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    folder = tmp_path / "runs"
    episodes = [
        make_episode(f"e/{number}", outcome="success" if number % 2 else "failure")
        for number in range(12)
    ]
    run = write_run(folder / "left", episodes, "evaluate")
    write_run(
        folder / "right",
        [make_episode(f"e/{number}", outcome="success") for number in range(12)],
        "evaluate",
    )
    write_selection(folder / "chosen", run, {f"e/{number}": [1] for number in range(12)})
    return folder


def view(folder: Path, *given: object) -> tuple[str, str]:
    """The file and what was printed."""
    out = folder.parent / "page.html"
    result = CliRunner().invoke(app, ["view", str(folder), "--static", str(out), *map(str, given)])
    if result.exception:
        raise result.exception
    return out.read_text(encoding="utf-8"), result.output


def shown(page: str) -> set[str]:
    return set(re.findall(r'<section class="view" id="([^"]+)"', page))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [(run, number) for run in ("left", "right") for number in range(12)]),
        (["outcome=failure"], [("left", number) for number in range(0, 12, 2)]),
        (["run=right", "limit=3"], [("right", number) for number in range(3)]),
        (["run=left", "sort=-order", "limit=2"], [("left", 11), ("left", 10)]),
        (["flipped=true", "run=left"], [("left", number) for number in range(0, 12, 2)]),
        (["selector=chosen", "limit=1"], [("left", 0)]),
        (["--trajectory", "e/1"], [("left", 1), ("right", 1)]),
        (["--trajectory", "e/1", "--trajectory", "e/2", "run=left"], [("left", 1), ("left", 2)]),
        (["--trajectory", "e/", "outcome=failure", "limit=1"], [("left", 0)]),
    ],
)
def test_filters_and_ids_choose_the_trajectories(
    runs: Path, given: list[str], expected: list[tuple[str, int]]
) -> None:
    page, said = view(runs, *given)
    assert shown(page) == {anchor_of(f"e/{number}", run) for run, number in expected}
    what = "trajectory" if len(expected) == 1 else "trajectories"
    assert re.search(rf"page\.html: \d+ kB, {len(expected)} {what}", said)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["outcom=failure"], "Did you mean 'outcome'"),
        (["outcome=lost"], "expected one of"),
        (["limit=0"], "a number from 1"),
        (["--trajectory", "nothing"], "--trajectory 'nothing': no trajectory in the runs"),
        (["q=nothing"], "0 trajectories, expected 1 to"),
        (["labels=none.sqlite"], "does not exist"),
    ],
)
def test_a_mistake_writes_nothing(runs: Path, given: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        view(runs, *given)
    assert not (runs.parent / "page.html").exists()


def test_a_line_that_cannot_be_read_and_a_second_one_of_an_id_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good = to_json(make_episode("good")) + b"\n"
    broken = b'{"id": "broken", "steps": 7}\n'
    write_partial(tmp_path / "runs" / "run", good + broken + b"{\n\n" + good)
    page, said = view(tmp_path / "runs")
    assert shown(page) == {anchor_of("good", "run")}
    assert "1 trajectory" in said
    assert "left out:  run: broken: " in said


def test_the_file_has_the_labels_of_people_unless_it_is_blind(runs: Path) -> None:
    store = LabelStore(runs.parent / "runs.labels.sqlite")
    store.set("ann", make_episode("e/0", outcome="failure"), 2, "plan_creation", reason="It turns.")
    store.close()
    page, said = view(runs, "run=left", "limit=1")
    assert "It turns." in page
    assert "selections chosen, 1 label" in said
    page, said = view(runs, "run=left", "limit=1", "blind=true")
    assert "It turns." not in page
    assert "chosen" not in page + said


def test_a_tokenizer_adds_the_loss_mask_of_each_selection(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = Renderer(tiny_tokenizer(CHATML), "tiny")
    monkeypatch.setattr(load, "load_renderer_named", lambda name: renderer)
    plain, _ = view(runs, "limit=1")
    page, said = view(runs, "limit=2", "run=left", "tokenizer=tiny")
    assert "the loss masks under tiny" in said
    assert "token-view" not in plain
    assert page.count("Loss mask of chosen") == 2
    # Supervised are the tokens of step 1, as on the page of tokens.
    for part in page.split('<details class="mask"')[1:]:
        marked = re.findall(
            r'<span class="run supervised" id="\S+"><span class="name">([^<]*)', part
        )
        assert marked == ["step 1: supervised"]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
