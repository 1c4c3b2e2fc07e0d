"""The API reference: everything in it is shown, under its policy, and nothing asked elsewhere."""

from __future__ import annotations

from tests.browser.driver import Open


def test_every_operation_is_shown(open_page: Open, address: str) -> None:
    page = open_page()
    page.goto(f"{address}/docs")
    page.wait_for_selector(".opblock")
    assert page.locator(".opblock").count() > 15
    page.locator("#operations-openai-completions .opblock-summary").click()
    page.wait_for_selector("#operations-openai-completions .opblock-body")
