from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

pytest.importorskip("fastapi")
from numpy.typing import NDArray
from starlette.testclient import TestClient

from atlas.records import CriticalStep, Selection
from atlas.rendering.loss_mask import loss_mask
from atlas.rendering.measured_tokens import MeasuredTokens
from atlas.rendering.renderer import Renderer
from atlas.rendering.token_ownership import TokenizedExample
from atlas.viewing.token_view import describe_tokens
from atlas.viewing.web.background import Background, Waiting
from atlas.viewing.web.meters import Meters
from atlas.viewing.web.pages import token_page
from atlas.viewing.web.pages.token_page import lay_out_tokens
from tests.conftest import make_trajectory
from tests.templates import CHATML, THINKING, tiny_tokenizer
from tests.viewing.web.compared_runs import open_viewer


def meter(example: TokenizedExample, positions: NDArray[np.integer]) -> MeasuredTokens:
    return MeasuredTokens(positions / 10, positions % 2 == 1)


def select(num_steps: int, *indices: int) -> Selection:
    return Selection(
        trajectory_id="t",
        selector="test",
        num_steps=num_steps,
        budget=num_steps,
        critical_steps=tuple(CriticalStep(index=index) for index in indices),
    )


@pytest.mark.parametrize("template", [CHATML, THINKING])
@pytest.mark.parametrize("max_tokens", [None, 150, 40])
def test_pages_together_hold_every_token_once_with_the_state_of_the_mask(
    template: str, max_tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_page, "TOKENS_PER_PAGE", 37)
    renderer = Renderer(tiny_tokenizer(template), "tiny")
    view = describe_tokens(make_trajectory(4), select(4, 1, 2), renderer, max_tokens)
    pages = [lay_out_tokens(view, renderer.tokenizer, 1)]
    pages += [
        lay_out_tokens(view, renderer.tokenizer, number)
        for number in range(2, pages[0].num_pages + 1)
    ]
    runs = [run for page in pages for run in page.runs]
    for number, one in enumerate(view.examples):
        shown = [
            (run.state, token) for run in runs if run.example == number for token in run.tokens
        ]
        assert [token.token_id for _, token in shown] == one.token_ids.tolist()
        assert [token.position for _, token in shown] == list(range(len(shown)))
        states = [state for state, _ in shown]
        assert [state == "supervised" for state in states] == [
            *one.mask.tolist(),
            *[False] * len(one.cut_ids),
        ]
        assert states.count("cut") == len(one.cut_ids)
        assert states.count("not-run") == one.num_not_run
        mask = loss_mask(one.example, [1, 2])
        assert states.count("supervised") == mask.sum()
    assert [page.first for page in pages][1:] == [page.last + 1 for page in pages][:-1]


def test_steps_link_to_the_page_of_their_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_page, "TOKENS_PER_PAGE", 37)
    renderer = Renderer(tiny_tokenizer(CHATML), "tiny")
    view = describe_tokens(make_trajectory(4), select(4, 1), renderer)
    for line in lay_out_tokens(view, renderer.tokenizer).steps:
        page = lay_out_tokens(view, renderer.tokenizer, line.page)
        firsts = [run.tokens[0].position for run in page.runs if run.step == line.counts.step]
        assert line.position in firsts


def test_silenced_tokens_and_losses_are_those_of_the_meter() -> None:
    renderer = Renderer(tiny_tokenizer(CHATML), "tiny")
    view = describe_tokens(make_trajectory(3), select(3, 1), renderer, None, meter)
    page = lay_out_tokens(view, renderer.tokenizer)
    for run in page.runs:
        for token in run.tokens:
            if run.state in ("supervised", "silenced"):
                assert (run.state == "silenced") == (token.position % 2 == 1)
            if token.loss is not None:
                assert token.loss == pytest.approx(token.position / 10)
    assert [one.token.loss for one in page.highest] == sorted(
        (one.token.loss for one in page.highest), key=lambda loss: -(loss or 0)
    )


def test_blanks_and_special_tokens_are_visible_and_control_characters_are_escaped() -> None:
    tokenizer = tiny_tokenizer(CHATML)
    trajectory = make_trajectory(1, thought="a\tb \x1b[31m\u202e")
    page = lay_out_tokens(describe_tokens(trajectory, None, Renderer(tokenizer, "x")), tokenizer)
    tokens = [token for run in page.runs for token in run.tokens]
    text = "".join(piece.text for token in tokens for piece in token.pieces)
    assert "→" in text
    assert "⏎\n" in text
    assert "\\x1b" in text
    assert not {"\x1b", "\u202e", "\t"} & set(text)
    special = {"".join(p.text for p in token.pieces) for token in tokens if token.is_special}
    assert special == {"<|im_start|>", "<|im_end|>"}


def test_work_runs_once_a_page_waits_and_faults_are_raised_each_time() -> None:
    started, release = threading.Event(), threading.Event()
    calls: list[str] = []

    def work() -> str:
        calls.append("x")
        started.set()
        release.wait(10)
        return "done"

    def fail() -> str:
        raise ValueError("no model")

    background: Background[str] = Background(patience_seconds=0.05)
    assert background.ask("a", work) == Waiting(0)
    started.wait(10)
    assert background.ask("b", lambda: "later") == Waiting(1)
    release.set()
    until = time.monotonic() + 10
    while isinstance(background.ask("b", lambda: "never"), Waiting) and time.monotonic() < until:
        pass
    assert background.ask("a", work) == "done"
    assert calls == ["x"]
    for _ in range(2):
        with pytest.raises(ValueError, match="no model"):
            background.ask("c", fail)


@pytest.fixture(scope="module")
def client(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path
) -> Iterator[TestClient]:
    app, library = open_viewer(
        tmp_path_factory.mktemp("viewer"),
        Meters(lambda model, objective: meter, ("dft",)),
        tokenizer=str(tiny_model_folder),
    )
    with TestClient(app, base_url="http://127.0.0.1") as made:
        yield made
    library.close()


def ready(client: TestClient, **given: Any) -> str:
    """The page once its work is done."""
    until = time.monotonic() + 60
    while True:
        page = client.get("/tokens", params={"source": "before", "id": "room-1", **given})
        assert page.status_code == 200, page.text
        if "Look again" not in page.text or time.monotonic() > until:
            return page.text


def test_the_page_shows_the_mask_of_a_selection_and_links_to_the_others(client: TestClient) -> None:
    text = ready(client)
    assert "step 3: supervised" in text
    assert "not run: after the last supervised token" in text
    assert 'aria-current="true">' in text
    everything = ready(client, selection="all")
    assert "step 0: supervised" in everything
    assert "step 0: supervised" not in text


def test_the_way_back_has_the_filters_of_the_list(client: TestClient) -> None:
    place = {"source": "before", "id": "room-1"}
    filters = {"q": 'a "door" & more', "sort": "-steps", "page": "2"}
    page = client.get("/trajectory", params={**place, **filters}).text
    (tokens,) = {unescape(one) for one in re.findall(r'href="(/tokens[^"]*)"', page)}
    shown = client.get(tokens).text
    (back,) = re.findall(r'href="(/trajectory[^"]*)"', shown)
    assert dict(parse_qsl(urlsplit(unescape(back)).query)) == {**place, **filters}
    (kept,) = re.findall(r'name="list" value="([^"]*)"', shown)
    assert parse_qsl(unescape(kept)) == list(filters.items())


def test_a_limit_shows_what_is_cut_and_an_objective_what_is_silenced(client: TestClient) -> None:
    assert "cut off by max_tokens" in ready(client, max_tokens="60")
    text = ready(client, objective="dft", loss="1")
    assert "supervised, but silenced by the objective at the first step" in text
    assert "Supervised tokens with the highest loss" in text


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"tokenizer": "/etc"}, "expected the id of a model"),
        ({"tokenizer": "../x"}, "expected the id of a model"),
        ({"max_tokens": "-1"}, "expected a number from 1"),
        ({"objective": "x"}, "expected one of: dft"),
        ({"selection": "x"}, "expected one of: all, critical"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_a_reason(
    client: TestClient, given: dict[str, str], reason: str
) -> None:
    page = client.get("/tokens", params={"source": "before", "id": "room-1", **given})
    assert page.status_code in (400, 404)
    assert reason in page.text


def test_a_folder_that_looks_like_a_hub_id_is_not_read(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    given = {"source": "before", "id": "room-1", "tokenizer": "some/model"}
    page = client.get("/tokens", params=given)
    assert page.status_code == 400
    assert "expected the id of a model" in page.text


def test_another_site_can_load_neither_a_model_nor_an_unknown_tokenizer(
    client: TestClient,
) -> None:
    for given in ({"tokenizer": "someone/model"}, {"loss": "1"}):
        page = client.get(
            "/tokens",
            params={"source": "before", "id": "room-1", **given},
            headers={"sec-fetch-site": "cross-site"},
        )
        assert page.status_code == 400
        assert "another site asked for it" in page.text
