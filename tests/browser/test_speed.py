"""Any click answers within 50 ms: from the event to the frame that shows what it asked for.

`make test` runs these when nothing else runs. A machine may be busy all the same, so a click has
several rounds; each has to be within the goal in the median of one. On a machine that takes longer
than usual for a plain request the goal grows by as much.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import httpx
import pytest

from tests.browser.driver import Open, Page, expect

GOAL_MS = 50
USUAL_MS = 5  # most that a short request takes, from a client, on the machines of docs/results.md
CLICKS, ROUNDS = 5, 6

# `seen` is read before the click, and at every frame behind it until it is another.
_ANSWER = """() => new Promise((resolve, reject) => {{
    const one = (selector) => document.querySelector(selector);
    const seen = () => {seen};
    const before = seen();
    const started = performance.now();
    const look = () => {{
        const took = performance.now() - started;
        if (seen() !== before) resolve(took);
        else if (took > 10_000) reject(new Error("nothing is seen"));
        else requestAnimationFrame(look);
    }};
    {act};
    requestAnimationFrame(look);
}})"""


START = "It was a dark night and"
# The first list is seen at once; a click on the sample is over when the other fifteen are there.
ALL_LISTS = "document.querySelectorAll('.chooser button:enabled').length === 16"


@dataclass(frozen=True, kw_only=True)
class Click:
    """One kind of click.

    target: selector of what is clicked; seen: what changes, in JavaScript; back: what is clicked
    to have things as before, once `ready`; until: what is awaited then. Both in JavaScript.
    first: clicked once, in this order; opens: clicked before each one, until `opened`.
    """

    view: str
    name: str
    target: str
    seen: str
    back: str
    ready: str = "true"
    until: str = "true"
    first: tuple[str, ...] = ()
    opens: str = ""
    opened: str = "true"


ACCEPTED = f"document.querySelector('#write-text').value !== {START!r}"

CLICKS_OF_ALL_KINDS = [
    Click(
        view="surprise",
        name="a tab",
        target="#tab-rescore",
        seen="one('#rescore').hidden",
        back="#tab-surprise",
    ),
    Click(
        view="surprise",
        name="words or tokens",
        target="[name=pieces][value=tokens]",
        seen="one('.coloured').childElementCount",
        back="[name=pieces][value=words]",
    ),
    Click(
        view="surprise",
        name="another sample, coloured",
        target="#surprise-samples button:nth-of-type(2)",
        seen="one('.coloured').textContent",
        back="#surprise-samples button:nth-of-type(1)",
        until="document.querySelector('.coloured').textContent.includes('elephant')",
    ),
    Click(
        view="surprise",
        name="a word's card",
        target=".piece:nth-of-type(9)",
        seen="one('.card strong')?.textContent",
        back=".piece:nth-of-type(3)",
    ),
    Click(
        view="surprise",
        name="an alternative, gone on with",
        target=".card .likelier button:enabled",
        seen="one('#surprise-text').value",
        back="#surprise-undo",
        until="document.querySelector('#surprise-undo').disabled",
        opens=".piece:nth-of-type(5)",
        opened="document.querySelector('.card .likelier button:enabled') !== null",
    ),
    Click(
        view="write",
        name="the first word of a continuation",
        target="#write-go",
        seen="one('#write-text').value",
        back="#write-undo",
        ready="!document.querySelector('#write-undo').disabled",
        until=f"!({ACCEPTED})",
    ),
    Click(
        view="write",
        name="a next word",
        target=".word",
        seen="one('#write-text').value",
        back="#write-undo",
        until="document.querySelectorAll('.word').length === 6",
    ),
    Click(
        view="write",
        name="undo",
        target="#write-undo",
        seen="one('#write-text').value",
        back="#write-redo",
        until=ACCEPTED,
        first=(".word",),
    ),
    Click(
        view="write",
        name="redo",
        target="#write-redo",
        seen="one('#write-text').value",
        back="#write-undo",
        until=f"!({ACCEPTED})",
        first=(".word", "#write-undo"),
    ),
    Click(
        view="write",
        name="another branch",
        target="#write-tree .branch",
        seen="one('#write-text').value",
        back="#write-tree .branch[data-kind=word]",
        until=ACCEPTED,
        first=(".word",),
    ),
    Click(
        view="rescore",
        name="the sample, its first list rescored",
        target="#rescore-sample",
        seen="one('.ranking')",
        back="#tab-rescore",
        until=ALL_LISTS,
    ),
    Click(
        view="rescore",
        name="a weight",
        target="#rescore-sliders input",
        seen="one('#rescore-result').textContent",
        back="#rescore-sliders input",
    ),
    Click(
        view="rescore",
        name="another list",
        target=".chooser button:nth-of-type(3)",
        seen="one('.ranking h2').textContent",
        back=".chooser button:nth-of-type(1)",
    ),
    Click(
        view="chat",
        name="the first word of a reply",
        target="#chat-turns button",
        seen="one('[data-role=assistant]') !== null",
        back="#chat-new",
        until="document.querySelector('#chat-turns button') !== null",
    ),
]


@pytest.fixture
def goal_ms(address: str) -> float:
    """The goal, and more where a plain request takes more than usual just now."""
    times = []
    with httpx.Client(base_url=address) as client:
        for number in range(20):
            started = time.perf_counter()
            client.post("/v1/next-token", json={"context": f"the {number}", "top_k": 5})
            times.append(1000 * (time.perf_counter() - started))
    return GOAL_MS * max(1, statistics.median(times) / USUAL_MS)


@pytest.mark.parametrize("kind", CLICKS_OF_ALL_KINDS, ids=lambda kind: kind.name)
def test_a_click_answers_within_the_goal(
    open_page: Open, capsys: pytest.CaptureFixture[str], goal_ms: float, kind: Click
) -> None:
    medians = []
    for _ in range(ROUNDS):
        medians.append(statistics.median(round_of_clicks(open_page(kind.view), kind)))
        if medians[-1] <= goal_ms:
            break
    with capsys.disabled():
        print(f"\n{kind.name}: {', '.join(f'{ms:.0f}' for ms in medians)} ms", end=" ")
    assert min(medians) <= goal_ms, medians


def round_of_clicks(page: Page, kind: Click) -> list[float]:
    """Milliseconds of each click; the first is the page's first of its kind."""
    expect(page.locator("#model option").first).to_have_text("en-small")
    if kind.view == "rescore":
        page.click("#rescore-sample")
        expect(page.locator("#rescore-tree .tree")).not_to_have_count(0)
        page.wait_for_function(f"() => {ALL_LISTS}")
    ready = {"surprise": ".coloured", "write": ".word", "rescore": ".tree", "chat": ".quiet"}
    page.locator(f"#{kind.view} {ready[kind.view]}").first.wait_for()
    is_slider = kind.target.endswith("input")
    for selector in kind.first:
        page.click(selector)
    times = []
    for number in range(CLICKS):
        page.wait_for_timeout(120)  # what the click before started comes to rest
        if kind.opens:
            page.click(kind.opens)
            page.wait_for_function(f"() => {kind.opened}", polling=20)
        act = f"one({kind.target!r}).click()"
        if is_slider:
            moved = f"one({kind.target!r}).value = {1 + 3 * number}"
            act = f"{moved}; one({kind.target!r}).dispatchEvent(new Event('input'))"
        times.append(page.evaluate(_ANSWER.format(seen=kind.seen, act=act)))
        page.wait_for_function(f"() => {kind.ready}", polling=20)
        if not is_slider:
            page.evaluate(f"document.querySelector({kind.back!r}).click()")
        page.wait_for_function(f"() => {kind.until}", polling=20)
    return times
