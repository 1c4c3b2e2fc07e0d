"""The colours say what they mean to every eye: order by lightness alone, text that can be read."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from tests.browser.driver import Open, Page

LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text

# What each view shows when it has come to rest.
DRAWN_LAST = {"surprise": ".legend", "write": ".word", "rescore": ".empty", "chat": ".chart"}

_READ = """([name, steps]) => steps.map((step) => {
    const pane = document.querySelector(".coloured");
    const piece = document.createElement("span");
    piece.className = "piece";
    piece.dataset[name] = step;
    pane.append(piece);
    const style = getComputedStyle(piece);
    const colours = [style.backgroundColor, style.color];
    piece.remove();
    return colours;
})"""


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` as WCAG defines it, 0 to 1."""
    channels = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def read(page: Page, name: str, steps: list[int]) -> list[tuple[str, str]]:
    page.wait_for_selector(".coloured")
    return [(paper, ink) for paper, ink in page.evaluate(_READ, [name, steps])]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_more_surprise_is_farther_from_the_paper(open_page: Open, scheme: str) -> None:
    shown = read(open_page(scheme=scheme), "level", list(range(1, 11)))
    levels = [luminance(paper) for paper, _ in shown]
    rising = scheme == "dark"
    assert all((after > before) is rising for before, after in pairwise(levels)), levels


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("side", [-1, 1])
def test_more_difference_is_farther_from_the_paper(open_page: Open, scheme: str, side: int) -> None:
    shown = read(open_page(scheme=scheme), "difference", [side * step for step in range(1, 6)])
    levels = [luminance(paper) for paper, _ in shown]
    rising = scheme == "dark"
    assert all((after > before) is rising for before, after in pairwise(levels)), levels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_colour(open_page: Open, scheme: str) -> None:
    page = open_page(scheme=scheme)
    shown = read(page, "level", list(range(1, 11)))
    shown += read(page, "difference", [step for step in range(-5, 6) if step])
    poor = {colours: round(contrast(*colours), 2) for colours in shown}
    assert {key: found for key, found in poor.items() if found < LEAST_CONTRAST} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", ["surprise", "write", "rescore", "chat"])
def test_all_text_can_be_read(open_page: Open, scheme: str, view: str) -> None:
    """Of whatever is seen when a view opens, against the nearest colour behind it."""
    page = open_page(view, scheme=scheme)
    page.locator(f"#{view} {DRAWN_LAST[view]}").last.wait_for()
    found = page.evaluate(
        """() => {
            const behind = (element) => {
                for (let at = element; at; at = at.parentElement) {
                    const colour = getComputedStyle(at).backgroundColor;
                    if (!/, 0\\)$|transparent/.test(colour)) return colour;
                }
            };
            return [...document.querySelectorAll("body *")]
                .filter((one) => one.checkVisibility() && !one.matches(":disabled *, :disabled"))
                .filter((one) => !one.closest("[aria-disabled=true]"))
                .filter((one) => [...one.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
                .map((one) => [one.textContent, getComputedStyle(one).color, behind(one)]);
        }"""
    )
    assert found
    poor = {
        text: (ink, paper)
        for text, ink, paper in found
        if ink.startswith("rgb(") and contrast(ink, paper) < LEAST_CONTRAST
    }
    assert poor == {}
