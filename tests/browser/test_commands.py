"""The command beside each view does what the view did: it is run as it stands."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests.browser.driver import Open, Page, expect

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def run_command(page: Page, view: str, **environment: str) -> str:
    command = page.locator(f"#{view}-curl code").text_content()
    assert command
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={**os.environ, "no_proxy": "*", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def events(printed: str) -> list[Any]:
    lines = [
        line.removeprefix("data: ") for line in printed.splitlines() if line.startswith("data")
    ]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_of_surprise(open_page: Open) -> None:
    page = open_page()
    page.fill("#surprise-text", "it's \"quoted\" \\ and $HOME 'again'\nand `again`")
    expect(page.locator(".coloured")).to_contain_text("`again`")
    found = json.loads(run_command(page, "surprise"))["data"][0]
    shown = page.locator(".total b").first.inner_text()
    assert shown == f"{-found['logprob'] / math.log(2):.1f}"


def test_of_write(open_page: Open) -> None:
    page = open_page("write")
    page.fill("#write-sampling input[type=number]", "7")
    page.click("#write-go")
    expect(page.locator("#write-notice")).to_contain_text("Seed 7.")
    expect(page.locator("#write-go")).to_have_text("Continue")
    chunks = events(run_command(page, "write"))
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    expect(page.locator("#write-text")).to_have_value("It was a dark night and" + text)


def test_of_rescore(open_page: Open) -> None:
    page = open_page("rescore")
    page.click("#rescore-sample")
    expect(page.locator(".ranking > ol > li")).to_have_count(10)  # the tree below has items, too
    found = json.loads(run_command(page, "rescore"))["utterances"][0]["hypotheses"]
    shown = page.locator(".ranking > ol > li p").all_inner_texts()
    assert [hypothesis["text"] for hypothesis in found] == [
        text for text in shown if text in {hypothesis["text"] for hypothesis in found}
    ]


def test_of_chat(open_page: Open) -> None:
    page = open_page("chat")
    page.locator("#chat-sampling input[type=number]").evaluate("box => box.value = 5")
    say(page, "Hi! How are you?")
    state = (page.locator("#chat-open").get_attribute("href") or "").partition("state=")[2]
    say(page, "Do you like music?")
    chunks = events(run_command(page, "chat", STATE=state))
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    text = "".join(delta.get("content") or "" for delta in deltas)
    expect(page.locator("[data-role=assistant]").last).to_contain_text(text)


def say(page: Page, text: str) -> None:
    before = page.locator(".chart rect").count()
    page.fill("#chat-text", text)
    page.keyboard.press("Enter")
    expect(page.locator(".chart rect")).to_have_count(before + 3)  # drawn when the turn has ended
