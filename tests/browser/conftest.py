"""A real Chromium in front of a real server process of the shipped model."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from benchmarks.harness import SHIPPED
from tests.live_server import live_server

if TYPE_CHECKING:  # imported for good by the tests, which are skipped where it is missing
    from tests.browser.driver import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Open,
        Page,
        Request,
        Shoot,
        ViewportSize,
    )

ROOT = Path(__file__).parents[2]
# What a run leaves to look at; PICTURES=docs/pictures also makes those of the documentation anew.
SHOTS = ROOT / "build" / "browser"
IN_DOCS = ("surprise-light", "surprise-dark", "write", "rescore", "chat")
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    with live_server(sys.executable, SHIPPED, {"LSTM_SERVE_LOG_LEVEL": "warning"}) as url:
        yield url


# Playwright keeps an event loop running as long as it is open, and tests of other folders that
# share the process need loops of their own: so it is opened anew for each module.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from tests.browser.driver import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Open a view; whatever the page complains about on its console fails the test.

    at: address of the service; may_complain: the test makes requests fail on purpose; waits: until
    the models are known.
    """
    from tests.browser.driver import NARROW, WIDE, wait_for_models

    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(
        view: str = "surprise",
        *,
        at: str = address,
        scheme: Literal["light", "dark"] = "light",
        size: ViewportSize = WIDE,
        may_complain: bool = False,
        waits: bool = True,
    ) -> Page:
        context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=size is NARROW)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))

        def read_console(said: ConsoleMessage) -> None:
            if not may_complain:
                complaints.append(f"{said.type}: {said.text}")

        def check_address(asked: Request) -> None:
            if not asked.url.startswith(at):
                complaints.append(f"asked for {asked.url}, which is not the service's")

        page.on("console", read_console)
        page.on("request", check_address)
        page.goto(f"{at}/#{view}")  # ends when the scripts have run: every listener is there
        if waits:
            wait_for_models(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def shoot() -> Shoot:
    """Keep a picture of what is seen."""
    pictures = ROOT / os.environ["PICTURES"] if "PICTURES" in os.environ else None

    def shoot(page: Page, name: str) -> None:
        page.wait_for_timeout(150)  # fonts and transitions come to rest
        folders = [SHOTS, *([pictures] if pictures and name in IN_DOCS else [])]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"{name}.png", animations="disabled")

    return shoot
