"""The view that colours a text."""

from __future__ import annotations

import math
import random
import re

import httpx
import pytest

from tests.browser.driver import Open, Shoot, expect

TEXT = "The old house stood empty."


def score(address: str, **fields: object) -> dict[str, object]:
    answer = httpx.post(f"{address}/v1/score", json=fields)
    result: dict[str, object] = answer.raise_for_status().json()["data"][0]
    return result


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_word_shows_its_probability_and_what_was_likelier(
    open_page: Open, shoot: Shoot, scheme: str
) -> None:
    page = open_page(scheme=scheme)
    word = page.locator(".piece", has_text="elephant")
    word.hover()
    card = page.locator(".card")
    expect(card.locator(".row")).to_have_count(6)
    expect(card).to_contain_text("Likeliest words here")
    expect(card).to_contain_text("1 in ")
    shoot(page, f"surprise-{scheme}")


def test_every_word_has_the_probability_that_the_service_gives(
    open_page: Open, address: str
) -> None:
    page = open_page()
    page.fill("#surprise-text", TEXT)
    expect(page.locator(".coloured")).to_have_text(f"{TEXT}end")
    found = score(address, texts=[TEXT], detail="words")
    words = found["words"]
    assert isinstance(words, list)
    shown = page.locator(".coloured .piece").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(shown) == len(words)
    for label, word in zip(shown, words, strict=True):
        assert label.endswith(f": {-word['logprob'] / math.log(2):.1f} bits"), (label, word)
    figures = [found[name] for name in ("perplexity", "word_perplexity", "bits_per_byte")]
    totals = [-number_of(found["logprob"]) / math.log(2), *map(number_of, figures)]
    assert page.locator(".total b").all_inner_texts() == [
        f"{value:.{digits}f}" for value, digits in zip(totals, (1, 1, 1, 2), strict=True)
    ]


def number_of(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def test_a_colour_is_the_logarithm_of_a_probability_up_to_a_bound(
    open_page: Open, address: str
) -> None:
    page = open_page()
    text = "The old house stood xylophone."
    page.fill("#surprise-text", text)
    expect(page.locator(".coloured")).to_have_text(f"{text}end")
    words = score(address, texts=[text], detail="words")["words"]
    assert isinstance(words, list)
    bits = [-word["logprob"] / math.log(2) for word in words]
    assert max(bits) > 17.6  # beyond the last step
    levels = page.locator(".coloured .piece").evaluate_all(
        "all => all.map(one => Number(one.dataset.level))"
    )
    assert levels == [min(10, int(value / 1.6)) for value in bits]


def test_a_tokens_rank_is_that_of_the_whole_distribution(open_page: Open, address: str) -> None:
    page = open_page()
    page.fill("#surprise-text", TEXT)
    page.get_by_text("Tokens", exact=True).click()
    token = page.locator(".piece", has_text="stood")
    token.click()
    expect(page.locator(".card dl")).to_contain_text(" of 8,192")

    tokens = score(address, texts=[TEXT], detail="tokens")["tokens"]
    assert isinstance(tokens, list)
    names = [entry["token"] for entry in tokens]
    place = names.index("▁stood")
    body = {"context": [entry["id"] for entry in tokens[:place]], "full": True}
    logprobs = httpx.post(f"{address}/v1/next-token", json=body).json()["logprobs"]
    own = logprobs[tokens[place]["id"]]
    rank = 1 + sum(logprob is not None and logprob > own for logprob in logprobs)
    expect(page.locator(".card dl")).to_contain_text(f"rank{rank:,} of 8,192")
    shown = page.locator(".card dd").all_inner_texts()
    likelier = sum(math.exp(logprob) for logprob in logprobs if logprob and logprob > own)
    assert float(shown[0].removesuffix("%")) == pytest.approx(100 * math.exp(own), abs=0.05)
    assert float(shown[3].removesuffix("%")) == pytest.approx(100 * likelier, abs=0.5)


def test_an_alternative_is_gone_on_from_and_can_be_undone(open_page: Open) -> None:
    page = open_page()
    before = page.input_value("#surprise-text")
    page.locator(".piece", has_text="elephant").click()
    row = page.locator(".card .row").first
    likeliest = row.locator(".name").inner_text()
    row.click()
    box = page.locator("#surprise-text")
    begun = re.compile(f"^She opened the door and saw a small grey {likeliest}.+")
    expect(box).to_have_value(begun)
    expect(page.locator(".coloured")).to_contain_text(f"grey {likeliest}")
    page.click("#surprise-undo")
    assert page.input_value("#surprise-text") == before
    expect(page.locator(".coloured")).to_contain_text("elephant")


def test_two_texts_side_by_side(open_page: Open, shoot: Shoot) -> None:
    page = open_page()
    page.select_option("#beside", "text")
    expect(page.locator(".coloured")).to_have_count(2)
    expect(page.locator(".totals")).to_contain_text("times as probable as the other")
    page.get_by_text("Difference", exact=True).click()
    # The word that only one has is marked as such; those before it are equally surprising.
    expect(page.locator(".piece[data-difference=none]")).to_have_text(["elephant", "cat"])
    expect(page.locator(".piece", has_text="opened").first).to_have_attribute(
        "data-difference", "0"
    )
    shoot(page, "compare")


def test_two_models_side_by_side(open_page: Open) -> None:
    page = open_page()
    page.select_option("#beside", "model")
    page.select_option("#other-model", "ru-small")
    expect(page.locator(".columns h2")).to_have_text(["en-small", "ru-small"], timeout=60_000)
    page.get_by_text("Difference", exact=True).click()
    coloured = page.locator(".coloured").last.locator("[data-difference='5']")
    expect(coloured).not_to_have_count(0)  # English is news to a Russian model


def test_the_command_gives_what_is_shown(open_page: Open, address: str) -> None:
    page = open_page()
    page.fill("#surprise-text", "it's 'quoted'")
    page.get_by_text("As a command").locator("visible=true").click()
    expect(page.locator("#surprise-curl code")).to_contain_text("""it'\\''s '\\''quoted'\\''""")
    expect(page.locator("#surprise-curl code")).to_contain_text(f"curl -s {address}/v1/score")


def test_a_long_text_is_scored_whole_and_drawn_in_part(open_page: Open) -> None:
    page = open_page()
    page.fill("#surprise-text", "the cat sat on the mat. " * 510)
    expect(page.locator("#surprise-result .notice")).to_contain_text(
        "Only the first 3,000 words", timeout=60_000
    )
    expect(page.locator(".totals")).to_contain_text("3,060 words")


def test_an_empty_text_says_what_to_do(open_page: Open) -> None:
    page = open_page()
    page.fill("#surprise-text", "")
    expect(page.locator("#surprise-result .empty")).to_contain_text("No text yet")


def test_odd_white_space_and_other_scripts_survive(open_page: Open) -> None:
    page = open_page()
    text = "  two  spaces\n\nКошка 🙂 <b>&amp;</b>\n"
    page.fill("#surprise-text", text)
    expect(page.locator(".coloured")).to_contain_text("two  spaces\n\nКошка 🙂 <b>&amp;</b>")
    page.get_by_text("Tokens", exact=True).click()
    expect(page.locator(".piece", has_text="🙂")).to_have_count(1)
    # A point stands for each token that has no character of its own, an arrow for a newline.
    shown = page.locator(".coloured").inner_text().replace("·", "")
    assert "two  spaces↵\n↵\nКошка 🙂 <b>&amp;</b>↵\nend" in shown


def test_as_many_words_as_possible_are_paired(open_page: Open) -> None:
    """Against the length of the longest common subsequence, counted here."""
    page = open_page()
    numbers = random.Random(2)
    pairs = [[numbers.choices("abc", k=numbers.randint(0, 9)) for _ in "12"] for _ in range(200)]
    found = page.evaluate(
        """async (pairs) => {
            const { align } = await import("./static/align.js");
            return pairs.map(([first, second]) => align(first, second));
        }""",
        pairs,
    )
    for (first, second), places in zip(pairs, found, strict=True):
        assert all(first[i] == second[j] for i, j in places)
        assert places == sorted(places)
        assert len({i for i, _ in places}) == len({j for _, j in places}) == len(places)
        assert len(places) == longest_common_subsequence(first, second)


def longest_common_subsequence(first: list[str], second: list[str]) -> int:
    if not first or not second:
        return 0
    if first[0] == second[0]:
        return 1 + longest_common_subsequence(first[1:], second[1:])
    return max(
        longest_common_subsequence(first[1:], second),
        longest_common_subsequence(first, second[1:]),
    )
