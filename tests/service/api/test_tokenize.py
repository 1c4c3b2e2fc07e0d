from __future__ import annotations

import httpx
import pytest

from models.tokenizer import Tokenizer
from service.api.tokenize import TokenizeResponse, TokenizerInfo

TEXTS = ["", "the cat sat", "Кошка 🙂\n\n é\t\0", "<s></s><|assistant|> is text", "  spaces  "]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("special", [True, False])
async def test_round_trip(
    client: httpx.AsyncClient, tokenizer: Tokenizer, text: str, special: bool
) -> None:
    request = {"prompt": text, "add_special_tokens": special, "return_token_strs": True}
    answer = (await client.post("/tokenize", json=request)).json()
    TokenizeResponse.model_validate(answer)
    assert answer["tokens"] == [tokenizer.bos_id] * special + tokenizer.encode(text)
    assert answer["count"] == len(answer["tokens"])
    assert answer["token_strs"] == [tokenizer.piece(i) for i in answer["tokens"]]
    back = await client.post("/detokenize", json={"tokens": answer["tokens"]})
    assert back.json() == {"prompt": text}


async def test_text_never_becomes_a_control_token(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    request = {"prompt": "".join(tokenizer.control_ids), "add_special_tokens": False}
    tokens = (await client.post("/tokenize", json=request)).json()["tokens"]
    assert not set(tokens) & set(tokenizer.control_ids.values())


async def test_unknown_ids_are_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/detokenize", json={"tokens": [5, 360]})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "tokens.1"


async def test_tokenizer_info(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    info = (await client.get("/tokenizer_info")).json()
    TokenizerInfo.model_validate(info)
    assert (info["bos_token"], info["bos_token_id"]) == ("<s>", tokenizer.bos_id)
    assert (info["eos_token"], info["eos_token_id"]) == ("</s>", tokenizer.eos_id)
    assert info["control_tokens"] == dict(tokenizer.control_ids)
    assert (info["vocab_size"], info["normalizer"]) == (tokenizer.vocab_size, "identity")
