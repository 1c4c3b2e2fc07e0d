"""The frame around the views: errors, overload, keys, the keyboard, small screens."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from benchmarks.harness import SHIPPED
from tests.browser.driver import NARROW, Open, Route, Shoot, expect, wait_for_models
from tests.browser.prefix_proxy import prefix_proxy
from tests.live_server import live_server

VIEWS = ["surprise", "write", "rescore", "chat"]


def refuse(status: int, code: str, message: str, *, times: int) -> Callable[[Route], None]:
    """Answer as an overloaded service does, so many times, then let requests through."""
    left = times

    def answer(route: Route) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            route.continue_()
            return
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        route.fulfill(
            status=status,
            headers={"retry-after": "1", "content-type": "application/json"},
            body=json.dumps({"error": error}),
        )

    return answer


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [(429, "queue_full", "the queue is full"), (503, "unavailable", "the model is loading")],
)
def test_an_overloaded_service_is_asked_again(
    open_page: Open, shoot: Shoot, status: int, code: str, message: str
) -> None:
    page = open_page(may_complain=True)
    expect(page.locator(".piece")).not_to_have_count(0)
    page.route("**/v1/score", refuse(status, code, message, times=100))
    page.fill("#surprise-text", "again and again")
    told = page.locator("#surprise-result .notice[data-kind=busy]")
    expect(told).to_contain_text(message[1:])
    expect(told).to_contain_text("Trying again in")
    shoot(page, f"overloaded-{status}")
    page.unroute("**/v1/score")
    expect(page.locator(".coloured")).to_contain_text("again and again")
    expect(told).to_have_count(0)


def test_an_error_is_told_in_its_own_words(open_page: Open, shoot: Shoot) -> None:
    page = open_page("write", may_complain=True)
    page.route("**/v1/completions", refuse(400, "limit_exceeded", "prompt: too many", times=1))
    page.click("#write-go")
    alert = page.locator("#write-notice [role=alert]")
    expect(alert).to_contain_text("Prompt: too many.")
    shoot(page, "error")
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("#write-notice")).to_contain_text("tokens in")


def test_a_service_that_is_gone(open_page: Open) -> None:
    page = open_page(may_complain=True)
    expect(page.locator(".piece")).not_to_have_count(0)
    page.route("**/v1/score", lambda route: route.abort())
    page.fill("#surprise-text", "is anybody there")
    expect(page.locator("#surprise-result [role=alert]")).to_contain_text("cannot be reached")


def test_a_slow_answer_is_seen_to_be_awaited(open_page: Open) -> None:
    page = open_page()
    expect(page.locator(".piece")).not_to_have_count(0)
    waiting: list[Route] = []
    page.route("**/v1/score", lambda route: waiting.append(route))
    page.fill("#surprise-text", "in a while")
    while not waiting:
        page.wait_for_timeout(20)
    expect(page.locator("#surprise-result")).to_have_attribute("aria-busy", "true")
    waiting[0].continue_()
    expect(page.locator(".coloured")).to_contain_text("in a while")
    expect(page.locator("#surprise-result")).not_to_have_attribute("aria-busy", "true")


def test_the_default_answers_who_clicks_before_the_models_are_known(open_page: Open) -> None:
    page = open_page("write")
    waiting: list[Route] = []
    page.route("**/v1/models", lambda route: waiting.append(route))
    page.reload()
    page.click("#write-go")
    expect(page.locator("#write-notice")).to_contain_text("tokens in")
    page.click("#tab-rescore")
    page.click("#rescore-sample")
    expect(page.locator(".chooser button")).to_have_count(16)
    page.click("#tab-chat")
    page.click("#chat-turns button")
    expect(page.locator(".chart rect")).not_to_have_count(0)
    expect(page.locator("#model option").first).to_have_text("…")
    waiting[0].continue_()
    wait_for_models(page)


def test_a_key_is_asked_for_once(open_page: Open, shoot: Shoot) -> None:
    settings = {"LSTM_SERVE_LOG_LEVEL": "error", "LSTM_SERVE_API_KEYS": "open-sesame"}
    with live_server(sys.executable, SHIPPED, settings) as address:
        page = open_page(at=address, may_complain=True, waits=False)
        dialog = page.locator("#key-dialog")
        expect(dialog).to_be_visible()
        shoot(page, "key")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(dialog).to_contain_text("does not know this key")
        page.keyboard.type("open-sesame")
        page.keyboard.press("Enter")
        expect(page.locator(".piece")).not_to_have_count(0)
        page.reload()
        expect(page.locator(".piece")).not_to_have_count(0)
        expect(dialog).to_be_hidden()
        command = page.locator("#surprise-curl code").text_content() or ""
        assert "Bearer $LSTM_SERVE_KEY" in command
        assert "open-sesame" not in page.content()


def test_no_script_but_the_pages_own_runs(open_page: Open, address: str) -> None:
    page = open_page(may_complain=True)
    policy = page.request.get(f"{address}/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    ran = page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.ran = true";
            document.body.append(script);
            return Boolean(window.ran);
        }"""
    )
    assert not ran


def test_everything_is_reached_by_keyboard(open_page: Open) -> None:
    page = open_page()
    expect(page.locator(".piece")).not_to_have_count(0)
    page.locator("#tab-surprise").focus()
    for view in [*VIEWS[1:], VIEWS[0]]:
        page.keyboard.press("ArrowRight")
        expect(page.locator(f"#{view}")).to_be_visible()
        expect(page.locator(f"#tab-{view}")).to_be_focused()
    page.locator(".piece").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".card strong")).to_have_text("opened")
    page.keyboard.press("Enter")
    expect(page.locator(".card .row").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".card")).to_be_hidden()
    expect(page.locator(".piece").nth(1)).to_be_focused()


@pytest.mark.parametrize("view", VIEWS)
def test_a_narrow_screen(open_page: Open, shoot: Shoot, view: str) -> None:
    page = open_page(view, size=NARROW, scheme="dark")
    if view == "rescore":
        page.tap("#rescore-sample")
        expect(page.locator("#rescore-tree .tree")).not_to_have_count(0)
        expect(page.locator(".chooser button:enabled")).to_have_count(16)
    if view == "surprise":
        page.locator(".piece", has_text="elephant").tap()
        expect(page.locator(".card .row")).to_have_count(6)
    if view == "write":
        expect(page.locator(".word")).to_have_count(6)
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    shoot(page, f"narrow-{view}")


PROXIES = [("", True), ("/models/en", True), ("/models/en", False)]


@pytest.mark.parametrize(("root_path", "strips"), PROXIES, ids=["untold", "stripped", "passed on"])
def test_it_works_under_a_path_prefix(open_page: Open, root_path: str, strips: bool) -> None:
    """Every view asks under the prefix, and the API reference does."""
    settings = {"LSTM_SERVE_LOG_LEVEL": "warning", "LSTM_SERVE_ROOT_PATH": root_path}
    with (
        live_server(sys.executable, SHIPPED, settings) as address,
        prefix_proxy(address, "/models/en", strips=strips) as under,
    ):
        page = open_page(at=under)
        expect(page.locator(".piece")).not_to_have_count(0)
        page.click("#tab-write")
        page.click("#write-go")
        expect(page.locator("#write-notice")).to_contain_text("tokens in")
        page.click("#tab-rescore")
        page.click("#rescore-sample")
        expect(page.locator(".chooser button")).to_have_count(16)
        command = page.locator("#rescore-curl code").text_content() or ""
        assert f"{under}/v1/rescore" in command
        page.click("#tab-chat")
        page.click("#chat-turns button")
        expect(page.locator(".chart rect")).not_to_have_count(0)
        page.click("text=API reference")
        page.locator(".opblock").first.wait_for()
        document = page.request.get(f"{under}/openapi.json").json()
        assert document.get("servers", []) == ([{"url": root_path}] if root_path else [])


def test_colours_can_be_chosen(open_page: Open) -> None:
    page = open_page()
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) == light
    page.click("#theme")
    assert page.evaluate(paper) != light
    page.reload()
    assert page.evaluate(paper) != light
