"""The view that puts N-best lists into a new order, and the arithmetic it does by itself."""

from __future__ import annotations

import json
import random

import httpx
import jiwer
import pytest

from tests.browser.conftest import ROOT
from tests.browser.driver import Open, Route, Shoot, expect

SAMPLE = ROOT / "service" / "static" / "sample_nbest.json"


def percent(text: str) -> float:
    return float(text.removesuffix("%"))


def test_the_sample_in_its_new_order(open_page: Open, address: str, shoot: Shoot) -> None:
    page = open_page("rescore", size={"width": 1180, "height": 1240})
    expect(page.locator("#rescore-result .empty")).to_contain_text("No lists yet")
    page.click("#rescore-sample")
    expect(page.locator(".chooser button")).to_have_count(16)
    expect(page.locator("#rescore-tree .tree")).not_to_have_count(0)

    lists = json.loads(SAMPLE.read_text("utf-8"))
    references = [entry.pop("ref") for entry in lists]
    weights = {"lm_weight": 4.75, "length_bonus": -0.4, "weights": {"ngram": 4.75}}
    body = {**weights, "utterances": lists}
    answer = httpx.post(f"{address}/v1/rescore", json=body).raise_for_status().json()
    best = [entry["hypotheses"][0]["text"] for entry in answer["utterances"]]
    expect(page.locator(".chooser button > span")).to_have_text(best)
    shown = [hypothesis["text"] for hypothesis in answer["utterances"][0]["hypotheses"]]
    expect(page.locator(".ranking li p")).to_have_text(shown)

    expect(page.locator(".total b").first).to_contain_text("%")
    rates = page.locator(".total b").all_inner_texts()
    first = [entry["hypotheses"][0]["text"] for entry in lists]
    assert percent(rates[0]) == pytest.approx(100 * jiwer.wer(references, best), abs=0.05)
    assert percent(rates[1]) == pytest.approx(100 * jiwer.wer(references, first), abs=0.05)
    shoot(page, "rescore")


def test_the_first_list_is_seen_before_the_others_are_there(open_page: Open, shoot: Shoot) -> None:
    page = open_page("rescore")
    waiting: list[Route] = []

    def hold_all_but_the_first(route: Route) -> None:
        if len(json.loads(route.request.post_data or "")["utterances"]) == 1:
            route.continue_()
        else:
            waiting.append(route)

    page.route("**/v1/rescore", hold_all_but_the_first)
    page.click("#rescore-sample")
    expect(page.locator(".ranking > ol > li")).to_have_count(10)
    expect(page.locator(".chooser button:enabled")).to_have_count(1)
    rates = page.locator(".total b")
    # What needs no model is there; no rate of a part is taken for that of all.
    expect(rates).to_have_text(["…", "19.2%", "11.0%"])
    expect(page.locator("#rescore-tree .tree")).not_to_have_count(0)
    shoot(page, "rescore-begun")
    page.locator("#rescore-sliders input").first.fill("0")
    while not waiting:
        page.wait_for_timeout(20)
    waiting[0].continue_()
    expect(page.locator(".chooser button:enabled")).to_have_count(16)
    expect(rates.first).to_contain_text("%")
    assert page.locator("#rescore-sliders input").first.input_value() == "0"


def test_bars_and_tree_are_those_of_the_service(open_page: Open, address: str) -> None:
    """A bar's length is what a total lacks; the tree has the tokens that were computed."""
    page = open_page("rescore")
    page.click("#rescore-sample")
    expect(page.locator("#rescore-tree .tree")).not_to_have_count(0)
    expect(page.locator(".chooser button:enabled")).to_have_count(16)
    first = json.loads(SAMPLE.read_text("utf-8"))[0]
    first.pop("ref")
    weights = {"lm_weight": 4.75, "length_bonus": -0.4, "weights": {"ngram": 4.75}}
    body = {**weights, "utterances": [first]}
    answer = httpx.post(f"{address}/v1/rescore", json=body).raise_for_status().json()
    totals = [hypothesis["total"] for hypothesis in answer["utterances"][0]["hypotheses"]]
    parts = page.locator(".parts").evaluate_all(
        "all => all.map((bar) => [...bar.children].map((part) => parseFloat(part.style.width)))"
    )
    assert {len(bar) for bar in parts} == {4}  # recogniser, its n-gram, the model, the words
    lengths = [sum(bar) for bar in parts]
    scale = (lengths[-1] - lengths[0]) / (totals[0] - totals[-1])
    wanted = [lengths[0] + scale * (totals[0] - total) for total in totals]
    assert lengths == pytest.approx(wanted, abs=0.01)
    assert page.locator("#rescore-tree .run .piece").count() == answer["usage"]["tree_nodes"]


def test_lists_are_chosen_by_keyboard(open_page: Open) -> None:
    page = open_page("rescore")
    page.click("#rescore-sample")
    expect(page.locator(".chooser button:enabled")).to_have_count(16)
    page.locator(".chooser button").nth(2).focus()
    page.keyboard.press("Enter")
    chosen = page.locator(".chooser [aria-pressed=true]")
    expect(chosen).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".ranking h2").first).to_contain_text(
        json.loads(SAMPLE.read_text("utf-8"))[3]["id"]
    )


def test_a_slider_changes_order_and_error_rate(open_page: Open) -> None:
    page = open_page("rescore")
    page.click("#rescore-sample")
    rate = page.locator(".total b").first
    expect(rate).to_contain_text("%")
    before = rate.inner_text()
    sliders = page.locator("#rescore-sliders input")
    sliders.nth(0).fill("0")  # no language model of ours, the recogniser's as it was
    sliders.nth(1).fill("9.5")
    expect(rate).to_have_text(page.locator(".total b").nth(1).inner_text())
    assert before != rate.inner_text()


@pytest.mark.parametrize("normalize", ["none", "tokens", "words"])
def test_totals_are_those_of_the_service(open_page: Open, address: str, normalize: str) -> None:
    page = open_page("rescore")
    lists = json.loads(SAMPLE.read_text("utf-8"))[:3]
    for entry in lists:
        entry.pop("ref")
    weights = {"lm_weight": 3.5, "length_bonus": 1.25, "weights": {"ngram": 6.0}}
    body = {**weights, "utterances": lists, "normalize": normalize}
    answer = httpx.post(f"{address}/v1/rescore", json=body).raise_for_status().json()
    for given, found in zip(lists, answer["utterances"], strict=True):
        by_index = sorted(found["hypotheses"], key=lambda hypothesis: int(hypothesis["index"]))
        told = [
            {**sent, **{key: back[key] for key in ("lm_logprob", "num_tokens", "num_words")}}
            for sent, back in zip(given["hypotheses"], by_index, strict=True)
        ]
        ordered = page.evaluate(
            """async ([told, normalize]) => {
                const { ranked } = await import("./static/nbest.js");
                const weights = { lm: 3.5, bonus: 1.25, normalize, scores: { ngram: 6 } };
                return ranked(told, weights).map(({ index, total }) => [index, total]);
            }""",
            [told, normalize],
        )
        wanted = [[row["index"], pytest.approx(row["total"])] for row in found["hypotheses"]]
        assert ordered == wanted


def test_word_errors_are_jiwers(open_page: Open) -> None:
    page = open_page("rescore")
    numbers = random.Random(1)
    pairs = [
        [" ".join(numbers.choices("abcd", k=numbers.randint(least, 8))) for least in (1, 0)]
        for _ in range(300)
    ]
    counted = page.evaluate(
        """async (pairs) => {
            const { errors } = await import("./static/nbest.js");
            return pairs.map(([said, heard]) => errors(said, heard).count);
        }""",
        pairs,
    )
    for (said, heard), count in zip(pairs, counted, strict=True):
        found = jiwer.process_words(said, heard)
        assert count == found.substitutions + found.insertions + found.deletions, (said, heard)


def test_a_pasted_list(open_page: Open) -> None:
    page = open_page("rescore")
    page.click("#rescore-paste")
    pasted = "= i scream for ice cream\n-1\teye scream four ice cream\n-1.5\ti scream for ice cream"
    page.fill("#rescore-text", pasted)
    page.click("#rescore-go")
    expect(page.locator(".ranking li p").first).to_have_text("i scream for ice cream")
    expect(page.locator(".total b").first).to_have_text("0.0%")


@pytest.mark.parametrize(
    ("pasted", "told"),
    [
        ("", "no hypothesis"),
        ("one\ttwo", 'Line 1: "one" before the tab is no number'),
        ('{"id": "a"}', "hypotheses"),
        ('{"hyps": []}\n{"hyps": 3', "Line 2 is no JSON"),
    ],
)
def test_what_cannot_be_read_is_named(open_page: Open, pasted: str, told: str) -> None:
    page = open_page("rescore")
    page.click("#rescore-paste")
    page.fill("#rescore-text", pasted)
    page.click("#rescore-go")
    expect(page.locator("#rescore-notice")).to_contain_text(told)


def test_recognisers_own_lists_are_read(open_page: Open) -> None:
    page = open_page("rescore")
    line = {"utt": "a", "ref": "x", "hyps": [{"text": "x", "am": -3.0, "lm": -1.0, "more": 1}]}
    read = page.evaluate(
        """async (text) => (await import("./static/nbest.js")).readLists(text)""",
        json.dumps(line) + "\n" + json.dumps({**line, "utt": "b"}),
    )
    assert [entry["id"] for entry in read] == ["a", "b"]
    assert read[0]["hypotheses"] == [{"text": "x", "score": -3.0, "scores": {"lm": -1.0}}]
