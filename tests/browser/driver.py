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
]

expect.set_options(timeout=20_000)  # a machine may be busy with other tests

WIDE, NARROW = ViewportSize(width=1180, height=860), ViewportSize(width=390, height=800)
Open = Callable[..., Page]
Shoot = Callable[[Page, str], None]
