"""`POST /v1/rescore` with scores of a further model word by word, and with hot words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.service.api.rescoring import refusal, rescore
from tests.service.conftest import Serve

WORD_SCORES = {"utterances": [{"hypotheses": [
    {"text": "the cat sat", "score": -2.0, "word_scores": {"old": [-2.0, -3.0, -4.0, -1.5]}},
    {"text": "the dog", "score": -1.0, "word_scores": {"old": [-2.0, -3.5, -1.0]}},
    {"text": "", "score": -9.0, "word_scores": {"old": [-5.0]}},
]}]}  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
async def test_a_mixture_word_by_word(serve: Serve, share: float) -> None:
    mixture = {"with": "old", "share": share}
    async with serve() as client:
        answer = await rescore(client, lm_weight=2.0, mixture=mixture, **WORD_SCORES)
        assert answer["mixture"] == mixture
        for own in answer["utterances"][0]["hypotheses"]:
            body = {"texts": [own["text"]], "detail": "words"}
            scored = (await client.post("/v1/score", json=body)).json()["data"][0]["words"]
            pairs = zip([w["logprob"] for w in scored], own["word_scores"]["old"], strict=True)
            mixed = sum(math.log(share * math.exp(a) + (1 - share) * math.exp(b)) for a, b in pairs)
            assert own["mixed_logprob"] == pytest.approx(mixed)
            assert own["total"] == pytest.approx(own["score"] + 2 * mixed)


async def test_hot_words_are_a_term_of_their_own(serve: Serve) -> None:
    async with serve() as client:
        plain = await rescore(client, **WORD_SCORES)
        hot = await rescore(client, hot_words={"cat": 3.5, "the dog": 1.0}, **WORD_SCORES)
    before = {own["text"]: own for own in plain["utterances"][0]["hypotheses"]}
    for own in hot["utterances"][0]["hypotheses"]:
        expected = {"the cat sat": 3.5, "the dog": 1.0, "": 0.0}[own["text"]]
        assert own["hot_words"] == expected
        assert own["total"] == pytest.approx(before[own["text"]]["total"] + expected)
        assert "hot_words" not in before[own["text"]]


@pytest.mark.parametrize(
    ("fields", "param", "fault"),
    [
        (
            {"mixture": {"with": "new", "share": 0.5}},
            ".0.word_scores",
            "the word scores 'new' of the mixture are missing",
        ),
        (
            {"mixture": {"with": "old", "share": 0.5}, "eos": False},
            ".0.word_scores.old",
            "has 4 scores, not 3: one for each word",
        ),
        ({"mixture": {"with": "old", "share": 1.5}}, "mixture.share", ""),
        ({"mixture": {"with": "old"}}, "mixture.share", ""),
    ],
)
async def test_mixtures_that_cannot_be(
    serve: Serve, fields: dict[str, Any], param: str, fault: str
) -> None:
    async with serve() as client:
        found, message = await refusal(client, **WORD_SCORES, **fields)
    assert found.endswith(param)
    assert fault in message
