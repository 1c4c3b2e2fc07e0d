"""N-best lists, and requests to have them rescored."""

from __future__ import annotations

from typing import Any

import httpx

from tests.service.api.asking import answer_to, refusal_of

LISTS: list[dict[str, Any]] = [
    {
        "id": "utt-1",
        "ref": "i scream for ice cream",
        "hypotheses": [
            {"text": "i scream for ice cream", "score": -120.5, "scores": {"ngram": -31.0}},
            {"text": "ice cream for ice cream", "score": -119.5, "scores": {"ngram": -33.5}},
            {"text": "i scream", "score": -121, "scores": {"ngram": -30.0}, "am": {"x": [None]}},
        ],
    },
    {"hypotheses": []},
    {"hypotheses": [{"text": "you scream", "score": -1.5, "scores": {"ngram": -2.0}}]},
]
REQUEST = {"utterances": LISTS, "weights": {"ngram": 0.25}, "lm_weight": 0.75, "length_bonus": 0.5}


async def rescore(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await answer_to(client, "/v1/rescore", fields)


async def score(client: httpx.AsyncClient, *texts: str, **fields: Any) -> list[float]:
    answer = await answer_to(client, "/v1/score", {"texts": texts, **fields})
    return [entry["logprob"] for entry in answer["data"]]


async def refusal(client: httpx.AsyncClient, **fields: Any) -> tuple[str, str]:
    """Which field is refused, and with what words."""
    error = await refusal_of(client, "/v1/rescore", fields)
    return error["param"], error["message"]


def by_index(utterance: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(utterance["hypotheses"], key=lambda hypothesis: int(hypothesis["index"]))
