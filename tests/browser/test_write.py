"""The view that goes on with a text."""

from __future__ import annotations

import httpx

from tests.browser.driver import Open, Page, Shoot, expect

START = "It was a dark night and"


def wait_until_written(page: Page, told: str) -> None:
    """Until a continuation has ended, whose notice says `told`; what is drawn behind it, too."""
    expect(page.locator("#write-notice")).to_contain_text(told)
    expect(page.locator("#write-go")).to_have_text("Continue")


def test_a_continuation_streams_in(open_page: Open) -> None:
    page = open_page("write")
    page.fill("#write-sampling input[type=number]", "1")
    box = page.locator("#write-text")
    box.focus()
    page.keyboard.press("Control+Enter")
    wait_until_written(page, "Seed 1.")
    text = box.input_value()
    assert text.startswith(START)
    assert len(text) > len(START)
    expect(page.locator("#write-notice")).to_contain_text("tokens in")
    page.click("#write-undo")
    expect(box).to_have_value(START)
    page.click("#write-redo")
    expect(box).to_have_value(text)


def test_the_command_is_that_of_the_continuation(open_page: Open, address: str) -> None:
    page = open_page("write")
    page.fill("#write-sampling input[type=number]", "7")
    page.click("#write-go")
    wait_until_written(page, "Seed 7.")
    command = page.locator("#write-curl code").text_content() or ""
    assert f"curl -sN {address}/v1/completions" in command
    assert '"stream": true' in command
    body = {"prompt": START, "max_tokens": 40, "seed": 7, "temperature": 0.65, "top_p": 0.9}
    answer = httpx.post(f"{address}/v1/completions", json=body).json()
    expect(page.locator("#write-text")).to_have_value(START + answer["choices"][0]["text"])


_STOP_AT_ONCE = """async () => {
    const go = document.querySelector("#write-go");
    go.click();
    for (let frame = 0; frame < 600; frame++) {
        if (go.textContent.trim() === "Stop") { go.click(); return true; }
        await new Promise(requestAnimationFrame);
    }
    return false;
}"""


def test_stop_ends_a_stream(open_page: Open, address: str) -> None:
    page = open_page("write")
    page.locator("#write-sampling input[type=range]").last.fill("400")
    page.get_by_label("go on past the end").check()
    # Within the page: 400 tokens are written quicker than a second command gets there.
    assert page.evaluate(_STOP_AT_ONCE)
    expect(page.locator("#write-go")).to_have_text("Continue")
    text = page.locator("#write-text").input_value()
    written = httpx.post(f"{address}/tokenize", json={"prompt": text}).json()
    assert written["count"] < 400


def test_the_next_words_are_offered_and_taken_with_tab(open_page: Open, address: str) -> None:
    page = open_page("write")
    box = page.locator("#write-text")
    box.fill("She opened the ")
    first = page.locator(".word").first
    answer = httpx.post(
        f"{address}/v1/next-word", json={"context": "She opened the ", "top_k": 6}
    ).json()
    expect(page.locator(".word > span")).to_have_text([word["word"] for word in answer["top"]])
    expect(first).to_contain_text("Tab")
    box.focus()
    page.keyboard.press("Tab")
    expect(box).to_have_value(f"She opened the {answer['top'][0]['word']} ")
    expect(box).to_be_focused()
    page.click("#write-undo")
    expect(box).to_have_value("She opened the ")


def test_a_half_typed_word_is_completed(open_page: Open) -> None:
    page = open_page("write")
    box = page.locator("#write-text")
    box.fill("She opened the wi")
    expect(page.locator(".word").first).to_contain_text("window")
    box.focus()
    page.keyboard.press("Tab")
    expect(box).to_have_value("She opened the window ")


def test_escape_lets_tab_leave_the_text(open_page: Open) -> None:
    page = open_page("write")
    box = page.locator("#write-text")
    box.focus()
    expect(page.locator(".word")).not_to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(box).not_to_be_focused()
    expect(box).to_have_value(START)


def test_branches_grow_and_are_walked(open_page: Open, shoot: Shoot) -> None:
    page = open_page("write", size={"width": 1180, "height": 1000})
    page.fill("#write-sampling input[type=number]", "11")
    page.select_option("#write-branches", "3")
    page.click("#write-go")
    wait_until_written(page, "Seed 11.")
    branches = page.locator("#write-tree .branch")
    expect(branches).to_have_count(4)
    second = branches.nth(2)
    added = second.inner_text()
    second.click()
    expect(page.locator("#write-text")).to_have_value(f"{START} {added}")
    page.locator("#write-text").press_sequentially(" Then ")
    expect(branches).to_have_count(5)  # typing behind a branch is a branch of its own
    page.fill("#write-sampling input[type=number]", "12")
    page.click("#write-go")
    wait_until_written(page, "Seed 12.")
    expect(branches).to_have_count(8)
    expect(page.locator(".word")).to_have_count(6)
    shoot(page, "write")


def test_where_the_model_ends_the_text_one_can_go_on(open_page: Open) -> None:
    page = open_page("write")
    page.fill("#write-text", "Thank you very much. Have a nice day!")
    page.locator("#write-sampling input[type=range]").first.fill("0")
    page.click("#write-go")
    wait_until_written(page, "the text ends here")
    page.get_by_role("button", name="Go on past the end").click()
    wait_until_written(page, "tokens in")
