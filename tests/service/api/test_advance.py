"""`POST /v1/advance` against `/v1/score`, and what it refuses."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.service.conftest import Serve

SENTENCES = ["the cat sat on the mat", "the dog sat", "you scream", ""]


async def advance(client: httpx.AsyncClient, *items: tuple[str | None, str | None]) -> list[Any]:
    body = {"items": [{"state": state, "word": word} for state, word in items]}
    response = await client.post("/v1/advance", json=body)
    assert response.status_code == 200, response.text
    found: list[Any] = response.json()["data"]
    return found


async def test_words_and_the_end_are_the_whole_sentence(serve: Serve) -> None:
    async with serve() as client:
        states: list[str | None] = [None] * len(SENTENCES)
        totals = [0.0] * len(SENTENCES)
        for place in range(7):
            going = [
                (index, words[place] if place < len(words) else None)
                for index, sentence in enumerate(SENTENCES)
                if place <= len(words := sentence.split())
            ]
            if not going:
                break
            found = await advance(client, *((states[index], word) for index, word in going))
            for (index, word), own in zip(going, found, strict=True):
                totals[index] += own["logprob"]
                states[index] = own["state"]
                assert (own["state"] is None) == (word is None)
        answer = await client.post("/v1/score", json={"texts": SENTENCES})
        expected = [own["logprob"] for own in answer.json()["data"]]
    assert totals == pytest.approx(expected, abs=1e-4)


async def test_one_state_advances_by_many_words(serve: Serve) -> None:
    async with serve() as client:
        (the,) = await advance(client, (None, "the"))
        both = await advance(client, (the["state"], "cat"), (None, "a"), (the["state"], "dog"))
        one_by_one = [
            (await advance(client, pair))[0]
            for pair in ((the["state"], "cat"), (None, "a"), (the["state"], "dog"))
        ]
    assert [own["logprob"] for own in both] == [own["logprob"] for own in one_by_one]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([{"word": "two words"}], "items.0.word"),
        ([{"word": "a"}, {"word": ""}], "items.1.word"),
        ([{"word": " a"}], "items.0.word"),
        ([{"state": "nonsense", "word": "a"}], "items.0.state"),
        ([{"state": None, "word": "a"}, {"state": "x", "word": "a"}], "items.1.state"),
        ([{"state": None}], "items.0.word"),
        ([{"state": None, "word": "a"}, {"wrod": "a", "word": "b"}], "items.1.wrod"),
    ],
)
async def test_refusals(serve: Serve, items: list[dict[str, Any]], param: str) -> None:
    async with serve() as client:
        response = await client.post("/v1/advance", json={"items": items})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


async def test_no_items_is_no_work(serve: Serve) -> None:
    async with serve() as client:
        assert await advance(client) == []
