"""`POST /v1/score` of candidates in a gap, against whole texts scored one by one."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from tests.service.api.asking import answer_to, refusal_of
from tests.service.plain_engine import PlainEngine

GAPS = [
    ("the cat ", ["sat", "dog sat", ""], " on the mat"),
    ("", ["The", "Кош"], "ка\nsat"),
    ("the wi", ["nd", "ng bl", "n"], "d blew"),
]


async def whole_logprobs(client: httpx.AsyncClient, texts: list[str], *, eos: bool) -> list[float]:
    answer = await answer_to(client, "/v1/score", {"texts": texts, "eos": eos})
    return [entry["logprob"] for entry in answer["data"]]


@pytest.mark.parametrize(("before", "candidates", "after"), GAPS)
@pytest.mark.parametrize("eos", [True, False])
async def test_candidates_in_a_gap_are_whole_texts_scored_one_by_one(
    client: httpx.AsyncClient, before: str, candidates: list[str], after: str, eos: bool
) -> None:
    body = {"before": before, "candidates": candidates, "after": after, "eos": eos}
    answer = await answer_to(client, "/v1/score", body)
    texts = [before + candidate + after for candidate in candidates]
    totals = await whole_logprobs(client, texts, eos=eos)
    found = [entry["logprob"] for entry in answer["data"]]
    # What stands before all of them is left out of each.
    for total, logprob in zip(totals, found, strict=True):
        assert logprob - found[0] == pytest.approx(total - totals[0], abs=1e-4)
        assert logprob >= total - 1e-4
    mass = math.fsum(math.exp(total - max(totals)) for total in totals)
    for entry, candidate, total in zip(answer["data"], candidates, totals, strict=True):
        assert entry["candidate"] == candidate
        assert entry["share"] == pytest.approx(math.exp(total - max(totals)) / mass, abs=1e-4)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "texts"),
        ({"texts": ["a"], "candidates": ["b"]}, "candidates"),
        ({"texts": ["a"], "before": "b"}, "before"),
        ({"texts": ["a"], "after": "b"}, "after"),
        ({"candidates": ["a"], "context": "b"}, "context"),
        ({"candidates": ["a"], "before": "b", "state": "c"}, "before"),
    ],
)
async def test_refusals_of_gaps(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    assert (await refusal_of(client, "/v1/score", fields))["param"] == param


async def test_the_text_before_a_gap_is_computed_once(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    body = {"before": "the cat sat on the mat " * 100, "candidates": [" and", " or"] * 10}
    await answer_to(client, "/v1/score", body)
    first, second = engine.requests
    assert len(first.prompts) == 1
    assert max(map(len, second.prompts)) < 10
