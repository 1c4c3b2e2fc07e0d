"""The view that talks on a state token."""

from __future__ import annotations

from tests.browser.driver import Open, Page, Shoot, expect, wait_for_models

TURNS = [
    "Hi! How are you today?",
    "What did you do at the weekend?",
    "Do you like music?",
    "Which films have you seen?",
]


def say(page: Page, text: str) -> None:
    said = page.locator("[data-role=assistant]").count()
    page.fill("#chat-text", text)
    page.keyboard.press("Enter")
    expect(page.locator("[data-role=assistant]")).to_have_count(said + 1)
    expect(page.locator("#chat-send")).to_be_enabled()


# It says so for a moment only, which a busy machine may miss.
_REMEMBER_WHAT_THE_BUTTON_SAYS = """() => {
    const button = document.querySelector("#chat-copy");
    const watcher = new MutationObserver(() => (window.told ??= button.textContent));
    watcher.observe(button, { childList: true });
}"""


def charts(page: Page) -> list[str]:
    return page.locator(".chart b").all_inner_texts()


def test_the_state_stays_as_large_as_it_was(open_page: Open, shoot: Shoot) -> None:
    page = open_page("chat")
    expect(page.locator("#chat-about")).to_contain_text("knows no facts")
    page.locator("#chat-sampling input[type=number]").evaluate("box => box.value = 3")
    seen = []
    for text in TURNS:
        say(page, text)
        seen.append(charts(page))
    said = [int(tokens.split()[0]) for tokens, _, _ in seen]
    assert said == sorted(set(said))
    assert len({size for _, size, _ in seen}) == 1
    assert all(first.endswith("ms") for _, _, first in seen)
    shoot(page, "chat")


def test_a_conversation_goes_on_in_another_tab(open_page: Open) -> None:
    page = open_page("chat")
    say(page, TURNS[0])
    with page.context.expect_page() as opened:
        page.click("#chat-open")
    other = opened.value
    expect(other.locator("#chat-turns")).to_contain_text("Resumed")
    assert other.evaluate("location.hash") == "#chat"
    wait_for_models(other)
    for tab in (page, other):
        tab.locator("#chat-sampling input[type=number]").evaluate("box => box.value = 5")
        say(tab, TURNS[1])
    answers = [tab.locator("[data-role=assistant]").last.inner_text() for tab in (page, other)]
    assert answers[0] == answers[1]


def test_a_state_is_copied_and_resumed(open_page: Open) -> None:
    page = open_page("chat")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    say(page, TURNS[0])
    page.evaluate(_REMEMBER_WHAT_THE_BUTTON_SAYS)
    page.click("#chat-copy")
    page.wait_for_function("window.told === 'Copied'")
    state = page.evaluate("navigator.clipboard.readText()")
    other = open_page("chat")
    other.click("#chat-resume")
    other.fill("#chat-state", state)
    expect(other.locator("#chat-turns")).to_contain_text("Resumed")
    say(other, TURNS[1])


def test_a_foreign_state_is_refused_by_name(open_page: Open) -> None:
    page = open_page("chat", may_complain=True)
    page.click("#chat-resume")
    page.fill("#chat-state", "not a state")
    expect(page.locator("#chat-notice")).to_contain_text("This is no state")
    page.fill("#chat-state", "AAAA")
    page.fill("#chat-text", "Hello")
    page.keyboard.press("Enter")
    expect(page.locator("#chat-notice [role=alert]")).to_contain_text("state")


def test_a_model_that_cannot_chat_says_so(open_page: Open) -> None:
    page = open_page("chat")
    page.select_option("#model", "ru-small")
    expect(page.locator("#chat-about")).to_contain_text("has not learnt to chat")
    expect(page.locator("#chat-send")).to_be_disabled()
