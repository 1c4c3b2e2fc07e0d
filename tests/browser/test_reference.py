"""The API reference: everything in it is shown, under its policy, and nothing asked elsewhere."""

from __future__ import annotations

from tests.browser.driver import Open, expect


def test_every_operation_is_shown(open_page: Open, address: str) -> None:
    page = open_page()
    page.goto(f"{address}/docs")
    page.locator(".opblock").nth(15).wait_for()
    page.locator("#operations-openai-completions .opblock-summary").click()
    expect(page.locator("#operations-openai-completions .opblock-body")).to_be_visible()
