"""Playwright's names; test modules that import this are skipped where it is not installed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Route,
    ViewportSize,
    expect,
    sync_playwright,
)

__all__ = [
    "NARROW",
    "WIDE",
    "Browser",
    "BrowserContext",
    "ConsoleMessage",
    "Open",
    "Page",
    "Request",
    "Route",
    "Shoot",
    "ViewportSize",
    "expect",
    "sync_playwright",
    "wait_for_models",
]

expect.set_options(timeout=20_000)  # a machine may be busy with other tests

WIDE, NARROW = ViewportSize(width=1180, height=860), ViewportSize(width=390, height=800)
Open = Callable[..., Page]
Shoot = Callable[[Page, str], None]


def wait_for_models(page: Page) -> None:
    """Until the page knows its models, and has put every control where their defaults want it."""
    expect(page.locator("#model option").first).not_to_have_text("…")
