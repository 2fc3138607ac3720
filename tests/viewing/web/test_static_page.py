"""The file of chosen trajectories: without a server, it runs nothing foreign and has keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigError
from atlas.presenting.anchors import anchor_of
from atlas.records import CriticalStep, Message, Outcome, Selection, Source, Step, Task, Trajectory
from atlas.viewing.web.rows import NamedSelection
from atlas.viewing.web.static_page import StaticEntry, render_static, write_static
from tests.viewing.web.hostile_texts import ATTACKS, hostile_selections, hostile_trajectory
from tests.viewing.web.open_browser import (
    THEMES,
    WIDTHS,
    find_violations,
    open_browser,
    open_page,
    wait_until,
)

LONG = "\n".join(f"line {number} of the observation" for number in range(60))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def entry(id_: str = "first", num_steps: int = 8) -> StaticEntry:
    """A trajectory with two selections: one of steps 2 and 5, one of steps 2 and 6."""
    steps = tuple(
        Step(
            observation=(Message(role="user", content=LONG if index == 1 else f"room {index}"),),
            response=Message(role="assistant", content=f"Thought: to {index}\nAction: go {index}"),
            action=f"go {index}",
        )
        for index in range(num_steps)
    )
    trajectory = Trajectory(
        id=id_,
        task=Task(id=f"task/{id_}", environment="world", goal=f"reach the end of {id_}"),
        prompt=(Message(role="system", content="You are in a house."),),
        steps=steps,
        final_observation=(Message(role="user", content="You are there."),),
        outcome=Outcome(status="success", score=1.0),
        source=Source(name="test"),
    )

    def named(name: str, *indices: int) -> NamedSelection:
        chosen = tuple(
            CriticalStep(index=index, kinds=("critical_action",), reason="the turn", score=0.9)
            for index in indices
        )
        selection = Selection(
            trajectory_id=id_, selector=name, num_steps=num_steps, budget=2, critical_steps=chosen
        )
        return NamedSelection(name, name, selection)

    return StaticEntry(trajectory, (named("oracle", 2, 5), named("pivot", 2, 6)), run="demo")


def write(tmp_path: Path, *entries: StaticEntry) -> str:
    return write_static(entries, tmp_path / "page.html").path.resolve().as_uri()


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.id"))


def test_the_file_loads_nothing_and_says_its_size(tmp_path: Path) -> None:
    written = write_static([entry()], tmp_path / "page.html")
    text = written.path.read_text(encoding="utf-8")
    assert written.num_bytes == written.path.stat().st_size
    assert written.size == f"{written.num_bytes / 1000:.0f} kB"
    assert not re.search(r"""(src|href)=["'](?!#|data:,)""", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "unsafe" not in text


def test_the_same_entries_give_the_same_bytes() -> None:
    assert render_static([entry()]) == render_static([entry()])


def test_nothing_and_a_trajectory_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 2,000"):
        write_static([], tmp_path / "page.html")
    with pytest.raises(ConfigError, match="given twice"):
        write_static([entry(), entry()], tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_hostile_texts_in_every_field_execute_nothing(browser: Any, tmp_path: Path) -> None:
    entries = [
        StaticEntry(hostile_trajectory(attack), hostile_selections(attack), run=attack)
        for attack in ATTACKS
    ]
    address = write(tmp_path, *entries)
    with open_page(browser, address) as page:
        for attack in ATTACKS:
            page.goto(f"{address}#{anchor_of(attack, attack)}")
            page.keyboard.press("e")
            page.keyboard.press("ArrowDown")
            page.wait_for_timeout(10)
        scripts = (
            "document.querySelectorAll('script, iframe, img, base, [onerror], [onload]').length"
        )
        assert page.evaluate(scripts) == 1
        assert page.evaluate("document.querySelectorAll('meta').length") == 4


def test_arrows_move_between_steps_and_the_strip_follows(browser: Any, tmp_path: Path) -> None:
    with open_page(browser, write(tmp_path, entry())) as page:
        page.keyboard.press("ArrowDown")
        assert focused(page) == "step-0"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        assert focused(page) == "step-2"
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert focused(page) == "step-0"
        assert page.get_attribute(".cell.is-here", "href") == "#step-0"
        assert page.url.endswith("#step-0")


def test_only_critical_steps_by_key_and_without_a_script(browser: Any, tmp_path: Path) -> None:
    address = write(tmp_path, entry())
    with open_page(browser, address) as page:
        page.keyboard.press("c")
        assert page.locator(".step:visible").count() == 3
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert focused(page) == "step-5"
        page.keyboard.press("c")
        assert page.locator(".step:visible").count() == 8
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}#step-7")
    page.check("[data-only-critical]")
    assert page.locator(".step:visible").count() == 3
    context.close()


def test_expand_collapse_disagreements_and_help(browser: Any, tmp_path: Path) -> None:
    with open_page(browser, write(tmp_path, entry())) as page:
        page.keyboard.press("e")
        assert page.locator("details:not([open])").count() == 0
        page.keyboard.press("e")
        assert page.locator("details[open]").count() == 0
        page.keyboard.press("d")
        assert focused(page) == "step-5"
        page.keyboard.press("d")
        assert focused(page) == "step-6"
        page.keyboard.press("d")
        assert focused(page) == "step-5"
        page.keyboard.press("?")
        assert page.locator("#help").is_visible()
        page.keyboard.press("d")
        page.keyboard.press("Escape")
        assert not page.locator("#help").is_visible()
        assert page.url.endswith("#step-5")


def test_copy_gives_markdown(browser: Any, tmp_path: Path) -> None:
    with open_page(browser, write(tmp_path, entry())) as page:
        page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
        page.keyboard.press("y")
        wait_until(page, "window.copied")
        assert page.evaluate("window.copied").startswith("# task/first\n")
        assert "## ▶ Step 2\n" in page.evaluate("window.copied")
        assert page.inner_text("#status") == "Copied as Markdown."


def test_a_link_to_a_step_opens_what_hides_it(browser: Any, tmp_path: Path) -> None:
    address = write(tmp_path, entry(num_steps=120))
    with open_page(browser, f"{address}#step-77") as page:
        wait_until(page, "document.activeElement.id === 'step-77'")
        place = "Math.round(document.getElementById('step-77').getBoundingClientRect().top)"
        wait_until(page, f"{place} > 0 && {place} < 300")


def test_several_trajectories_have_a_list_with_a_filter(browser: Any, tmp_path: Path) -> None:
    address = write(tmp_path, *(entry(id_) for id_ in ("first", "second", "third")))
    with open_page(browser, address) as page:
        assert page.locator("[data-part]:visible").count() == 0
        page.keyboard.press("/")
        page.keyboard.type("end of sec")
        assert page.locator("[data-parts] [data-row]:visible").count() == 1
        # A key is text in a field.
        page.keyboard.type("?")
        assert not page.locator("#help").is_visible()
        page.keyboard.press("Backspace")
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        # The browser reports another fragment of the address only after the key.
        opened = "[data-part]:visible .task >> text=task/"
        page.wait_for_selector(opened + "second")
        page.keyboard.press("j")
        page.wait_for_selector(opened + "third")
        page.keyboard.press("k")
        page.wait_for_selector(opened + "second")
        page.keyboard.press("k")
        page.wait_for_selector(opened + "first")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert focused(page) == f"{anchor_of('first', 'demo')}-step-1"
        page.goto(f"{address}#{anchor_of('third', 'demo')}-step-6")
        wait_until(page, "document.activeElement.id.endsWith('-step-6')")
        assert page.inner_text("[data-part]:visible .task") == "task/third"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(
    browser: Any, tmp_path: Path, width: int, theme: str
) -> None:
    attack = "x" * 3000
    hostile = StaticEntry(hostile_trajectory(attack), hostile_selections(attack))
    for number, entries in enumerate(([entry()], [hostile], [entry(), hostile])):
        address = write_static(entries, tmp_path / f"{number}.html").path.as_uri()
        with open_page(browser, address, width, theme) as page:
            page.keyboard.press("e")
            assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(browser: Any, tmp_path: Path, width: int, theme: str) -> None:
    attack = hostile_trajectory("plain words")
    hostile = StaticEntry(attack, hostile_selections("plain words"))
    for number, entries in enumerate(([entry()], [hostile], [entry(), hostile])):
        address = write_static(entries, tmp_path / f"{number}.html").path.as_uri()
        with open_page(browser, address, width, theme) as page:
            page.keyboard.press("e")
            assert find_violations(page) == []


def test_an_observation_of_five_megabytes_does_not_freeze(browser: Any, tmp_path: Path) -> None:
    one = entry()
    big = Message(role="user", content="word " * 1_000_000)
    steps = tuple(step.model_copy(update={"observation": (big,)}) for step in one.trajectory.steps)
    large = StaticEntry(one.trajectory.model_copy(update={"steps": steps}), one.selections)
    written = write_static([large], tmp_path / "page.html")
    assert written.num_bytes < 2_000_000
    with open_page(browser, written.path.as_uri()) as page:
        assert "4,960,000 more characters are not shown" in page.inner_text("#step-0 .cut")
        page.keyboard.press("ArrowDown")
        assert focused(page) == "step-0"
