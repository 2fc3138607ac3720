"""A headless Chromium for tests of pages, and what a page must never do in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
AXE = "ATLAS_AXE"
WIDTHS = (400, 1280)
THEMES = ("light", "dark")


@contextmanager
def open_browser() -> Iterator[Any]:
    """Chromium by Playwright; the test is skipped, with the reason, where either is absent."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is absent: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Any, address: str, width: int = 1280, theme: str = "light") -> Iterator[Any]:
    """A page of its own context. A message on the console, an error or a request fails the test."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.goto(address)
    yield page
    assert page.evaluate("window.hacked") is None
    assert seen == []
    context.close()


def wait_until(page: Any, expression: str) -> None:
    """Wait for an expression to hold. The page's policy refuses Playwright's own way to wait."""
    for _ in range(200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"{expression} does not hold within 5 seconds")


def find_violations(page: Any) -> list[str]:
    """What axe-core finds; the test is skipped where `ATLAS_AXE` names no axe.min.js."""
    path = Path(os.environ.get(AXE, ""))
    if not path.is_file():
        pytest.skip(f"{AXE} does not name axe.min.js of the npm package axe-core")
    # A script of the page's own policy is refused; that of the debugger is not.
    page.evaluate(path.read_text(encoding="utf-8") + ";0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:200]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]
