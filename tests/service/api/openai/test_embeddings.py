"""Vectors of texts against the plain network's own states."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import numpy as np
import pytest

from models.tokenizer import Tokenizer
from service.api.openai.embeddings import EmbeddingResponse
from tests.service.api.asking import answer_to, refusal_of
from tests.service.plain_engine import PlainLSTM

URL = "/v1/embeddings"
TEXTS = ["the cat sat", "", "Кошка сидит\n", "x" * 40]


async def embed(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answered = await answer_to(client, URL, fields)
    EmbeddingResponse.model_validate(answered)
    return answered


async def test_a_vector_is_the_last_layers_output_after_the_text(
    client: httpx.AsyncClient, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    answer = await embed(client, input=TEXTS)
    size = lstm.config.hidden_sizes[-1]
    for text, entry in zip(TEXTS, answer["data"], strict=True):
        state = np.zeros(lstm.state_size, np.float32)
        for token in [tokenizer.bos_id, *tokenizer.encode(text)]:
            state = lstm.step(token, state)
        h = state[-2 * size : -size]
        assert entry["embedding"] == pytest.approx(h / np.linalg.norm(h), abs=1e-6)
    num_tokens = sum(len(tokenizer.encode(text)) for text in TEXTS)
    assert answer["usage"] == {"prompt_tokens": num_tokens, "total_tokens": num_tokens}


async def test_forms_of_input_and_output(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    (plain,) = (await embed(client, input="the cat"))["data"]
    ids = tokenizer.encode("the cat")
    for given in (["the cat"], ids, [ids]):
        assert (await embed(client, input=given))["data"] == [plain]
    fields = {"encoding_format": "base64", "dimensions": len(plain["embedding"]), "user": "me"}
    (packed,) = (await embed(client, input="the cat", **fields))["data"]
    vector = np.frombuffer(base64.b64decode(packed["embedding"]), "<f4")
    assert vector == pytest.approx(plain["embedding"], abs=1e-7)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


async def test_names_that_nobody_knows_are_told(client: httpx.AsyncClient) -> None:
    answer = await embed(client, input="a", strange=1, normalize=True)
    assert answer["ignored_fields"] == ["strange"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [[360]]}, "input.0.0"),
        ({"input": "a", "dimensions": 3}, "dimensions"),
        ({"input": "a", "pooling": "mean"}, "pooling"),
        ({"input": "a", "normalize": False}, "normalize"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, fields: dict[str, Any], param: str
) -> None:
    assert (await refusal_of(client, URL, fields))["param"] == param
