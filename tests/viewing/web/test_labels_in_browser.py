"""Labels in headless Chromium: each key, reload and restart, no message on the console, axe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.records import CriticalStep, Selection
from atlas.viewing.web.labels.store import LabelStore
from tests.conftest import make_trajectory
from tests.run_folders import write_selections, write_trajectories
from tests.viewing.web.open_browser import find_violations, open_browser, open_page
from tests.viewing.web.view_server import Viewer, open_viewer

HOSTILE = "<img src=x onerror=window.hacked=1>\"'\u202e\x1b[31m"
TRAJECTORIES = [make_trajectory(6, "t/a"), make_trajectory(6, f"t/{HOSTILE}")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run = write_trajectories(folder / "episodes", TRAJECTORIES)
    chosen = (CriticalStep(index=0), CriticalStep(index=3, kinds=("self_correction",)))
    selections = [
        Selection(
            trajectory_id=one.id,
            selector="oracle",
            num_steps=6,
            budget=3,
            critical_steps=(*chosen, CriticalStep(index=5)),
        )
        for one in TRAJECTORIES
    ]
    write_selections(folder / "oracle", selections, run)
    many = [make_trajectory(6, f"m/{number}") for number in range(10)]
    halves = [
        Selection(
            trajectory_id=one.id,
            selector="oracle",
            num_steps=6,
            budget=3,
            critical_steps=chosen,
        )
        for one in many
    ]
    write_selections(folder / "many", halves, write_trajectories(folder / "episodes-many", many))
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return tmp_path / "labels.sqlite"


@pytest.fixture
def viewer(runs: Path, labels: Path, tmp_path: Path) -> Iterator[Viewer]:
    given = runs / "oracle", f"labels={labels}", "annotator=ann"
    with open_viewer(*given, cache=tmp_path) as opened:
        yield opened


def saved_of(labels: Path) -> dict[int, tuple[str | None, str | None]]:
    store = LabelStore(labels)
    one = store.labeling("ann", TRAJECTORIES[0])
    store.close()
    return {step: (label.type, label.reason) for step, label in one.labels.items()}


def press(page: Any, key: str) -> None:
    """Press a key that saves, and wait for the answer."""
    # Enter changes a field and sends its form, which is saved twice: the same, so one edit.
    path = "**/labels/undo" if key == "u" else "**/labels/set"
    with page.expect_response(path):
        page.keyboard.press(key)


def place(viewer: Viewer) -> str:
    return f"{viewer.address}trajectory?source=episodes&id=t%2Fa"


def test_every_key_of_labels_is_saved_and_is_there_after_a_reload(
    browser: Any, viewer: Viewer, labels: Path
) -> None:
    with open_page(browser, place(viewer)) as page:
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        step = page.evaluate("Number(document.activeElement.dataset.step)")
        press(page, "Space")
        assert saved_of(labels) == {step: ("critical", None)}
        press(page, "Space")
        assert saved_of(labels) == {step: ("none", None)}
        for key, kind in zip(
            "1234",
            ("plan_creation", "critical_observation", "critical_action", "self_correction"),
            strict=True,
        ):
            press(page, key)
            assert saved_of(labels) == {step: (kind, None)}
        page.keyboard.press("r")
        page.keyboard.type("because u1 2")
        press(page, "Enter")
        assert saved_of(labels) == {step: ("self_correction", "because u1 2")}
        page.keyboard.press("Escape")
        press(page, "u")
        assert saved_of(labels) == {step: ("self_correction", None)}
        press(page, "u")
        assert saved_of(labels) == {step: ("critical_action", None)}
        page.wait_for_selector(f"#label-{step}-critical_action:checked")
        page.reload()
        assert page.locator(f"#label-{step}-critical_action").is_checked()
        assert "1 of 6 steps labeled, 1 critical" in page.locator("#label-count").inner_text()
        press(page, "Space")
        assert saved_of(labels) == {step: ("none", None)}


def test_a_text_is_saved_when_its_field_is_left(browser: Any, viewer: Viewer, labels: Path) -> None:
    with open_page(browser, place(viewer)) as page:
        with page.expect_response("**/labels/set"):
            page.locator("#label-1-critical").click()
        page.locator("#label-1 summary").click()
        page.locator("#reason-1").fill("first")
        with page.expect_response("**/labels/set"):
            page.locator("#evidence-1").focus()
        page.keyboard.type("second")
        # Both the text that is left and the choice that is clicked are saved, in this order.
        page.locator("#label-1-critical_action").click()
        page.wait_for_timeout(1000)
        store = LabelStore(labels)
        [label] = store.labels(TRAJECTORIES[0])
        assert (label.type, label.reason, label.evidence) == ("critical_action", "first", "second")
        store.close()


def test_the_keys_beside_buttons_press_them(browser: Any, viewer: Viewer) -> None:
    with open_page(browser, place(viewer)) as page:
        with page.expect_navigation():
            page.keyboard.press("f")
        assert "Open again" in page.locator(".label-bar").inner_text()
        with page.expect_navigation():
            page.keyboard.press("n")
        # Without scores, or a second selection, nothing is uncertain.
        assert "/labels?none=episodes" in page.url
        shown = page.locator("#help kbd").all_text_contents()
        assert {"f", "n"} <= set(shown)


def test_the_keys_of_calibration_answer_its_questions(
    browser: Any, runs: Path, tmp_path: Path
) -> None:
    given = runs / "many", f"labels={tmp_path / 'labels.sqlite'}", "annotator=ann"
    with open_viewer(*given, cache=tmp_path) as viewer:
        address = f"{viewer.address}calibrate?selection=many"
        with open_page(browser, address) as page:
            page.keyboard.press("r")
            assert page.evaluate("document.activeElement.id") == "reason"
            page.keyboard.press("Escape")
            for key in "01234":
                number = page.locator(".progress").get_attribute("value")
                with page.expect_navigation():
                    page.keyboard.press(key)
                assert page.locator(".progress").get_attribute("value") == str(int(number) + 1)


def test_many_keys_at_once_end_in_what_was_pressed_last(
    browser: Any, viewer: Viewer, labels: Path
) -> None:
    with open_page(browser, place(viewer)) as page:
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        step = page.evaluate("Number(document.activeElement.dataset.step)")
        for key in "1234123 4321":
            page.keyboard.press("Space" if key == " " else key)
        page.wait_for_timeout(3000)
        assert page.locator(f"#label-{step}-plan_creation").is_checked()
        assert saved_of(labels)[step][0] == "plan_creation"


def test_a_label_that_was_not_saved_says_so(browser: Any, viewer: Viewer) -> None:
    # The lost request is a message on the console, so this page is opened without the check.
    page = browser.new_page()
    page.goto(place(viewer))
    viewer.kill()
    page.locator("#label-1-critical").click()
    page.wait_for_selector("#saved-1.failed")
    assert "Not saved" in page.locator("#saved-1").inner_text()
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_hostile_names_execute_nothing_and_pages_fit_in_every_theme(
    browser: Any, viewer: Viewer, labels: Path, width: int, theme: str
) -> None:
    store = LabelStore(labels)
    for annotator in (HOSTILE, "bob"):
        for trajectory in TRAJECTORIES:
            said = {"reason": HOSTILE, "evidence": HOSTILE}
            store.set(annotator, trajectory, 1, "critical", **said)
            store.finish(annotator, trajectory)
    store.close()
    for path in ("labels", "calibrate", "trajectory?source=episodes&id=t%2Fa"):
        with open_page(browser, f"{viewer.address}{path}", width, theme) as page:
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, path
            assert page.locator("img").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, viewer: Viewer, theme: str) -> None:
    viewer.post("/labels/set", source="episodes", id="t/a", step=1, type="critical", reason="x")
    for path in ("labels", "calibrate", "trajectory?source=episodes&id=t%2Fa"):
        with open_page(browser, f"{viewer.address}{path}", 1280, theme) as page:
            assert find_violations(page) == [], path
