from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("route", "fields", "instead"),
    [
        ("/tokenize", {"content": "a"}, "use prompt"),
        ("/tokenize", {"prompt": "a", "add_special": False}, "use add_special_tokens"),
        ("/tokenize", {"prompt": "a", "with_pieces": True}, "use return_token_strs"),
        ("/tokenize", {"prompt": "a", "parse_special": True}, "is not supported"),
        ("/detokenize", {"tokens": [9], "skip_special_tokens": False}, "is not supported"),
    ],
)
async def test_names_of_others_are_refused_not_ignored(
    client: httpx.AsyncClient, route: str, fields: dict[str, Any], instead: str
) -> None:
    error = (await client.post(route, json=fields)).json()["error"]
    assert error["param"] == list(fields)[-1]
    assert (error["code"], instead in error["message"]) == ("unsupported_field", True)


async def test_names_that_nobody_knows_are_told(client: httpx.AsyncClient) -> None:
    for route, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [9]})):
        answer = (await client.post(route, json={**body, "strange": 1})).json()
        assert answer["ignored_fields"] == ["strange"]


async def test_tokenizer_info(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    info = (await client.get("/tokenizer_info")).json()
    TokenizerInfo.model_validate(info)
    assert (info["bos_token"], info["bos_token_id"]) == ("<s>", tokenizer.bos_id)
    assert (info["eos_token"], info["eos_token_id"]) == ("</s>", tokenizer.eos_id)
    assert info["control_tokens"] == dict(tokenizer.control_ids)
    assert info["chat_tokens"]["end_of_turn"] == "<|end|>"
    assert (info["vocab_size"], info["normalizer"]) == (tokenizer.vocab_size, "identity")


async def test_a_conversation_is_tokenized_as_a_chat_sends_it(client: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "How are <|end|> you?"}]
    forms: list[dict[str, Any]] = [
        {},
        {"add_generation_prompt": False},
        {"continue_final_message": True, "add_generation_prompt": False},
    ]
    for fields in forms:
        body = {"messages": messages, **fields}
        tokens = (await client.post("/tokenize", json=body)).json()["tokens"]
        chat = {**body, "max_tokens": 1, "return_token_ids": True}
        answer = (await client.post("/v1/chat/completions", json=chat)).json()
        assert tokens == answer["prompt_token_ids"]
    both = {"messages": messages, "continue_final_message": True, "add_generation_prompt": True}
    refused = await client.post("/tokenize", json=both)
    assert refused.json()["error"]["param"] == "add_generation_prompt"
    wrongs: list[dict[str, Any]] = [{}, {"prompt": "a", "messages": messages}]
    for wrong in wrongs:
        response = await client.post("/tokenize", json=wrong)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "prompt"


async def test_the_template_in_jinja_says_the_same(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    jinja2 = pytest.importorskip("jinja2", reason="jinja2 is not installed")
    info = (await client.get("/tokenizer_info")).json()
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How are you?"},
    ]
    template = jinja2.Template(info["chat_template"])
    text = template.render(messages=messages, add_generation_prompt=True)
    body = {"messages": messages, "return_token_strs": True}
    tokens = (await client.post("/tokenize", json=body)).json()["tokens"]
    assert text == tokenizer.decode(tokens, skip_control=False)
