"""The prompt in the answer: its text, its tokens, their scores, as harnesses need them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from service.served_model import ServedModel
from tests.service.api.asking import answer_to
from tests.service.api.openai.test_completions import URL, complete

PROMPT = "the cat sat\non the Кошка 🙂"


async def score(client: httpx.AsyncClient, **fields: Any) -> list[dict[str, Any]]:
    scored = await answer_to(client, "/v1/score", {"detail": "tokens", "eos": False, **fields})
    tokens: list[dict[str, Any]] = scored["data"][0]["tokens"]
    return tokens


def harness(prompt: Any) -> dict[str, Any]:
    """What lm-eval's `local-completions` sends for a log-likelihood."""
    return {
        "prompt": prompt,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }


async def test_echo_gives_the_scores_of_the_score_endpoint(client: httpx.AsyncClient) -> None:
    (choice,) = (await complete(client, **harness(PROMPT)))["choices"]
    tokens = await score(client, texts=[PROMPT])
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"][:-1] == [token["logprob"] for token in tokens]
    assert logprobs["text_offset"][:-1] == [token["start"] for token in tokens]
    assert choice["text"].startswith(PROMPT)


@pytest.mark.parametrize("end", [False, True])
async def test_a_harness_gets_one_token_after_the_prompts(
    client: httpx.AsyncClient, served: ServedModel, end: bool
) -> None:
    tokenizer = served.tokenizer
    ids = [tokenizer.bos_id, *tokenizer.encode(PROMPT)]
    bias = {str(tokenizer.eos_id): 100} if end else {}
    answer = await complete(client, **harness([ids, ids[:4]]), logit_bias=bias)
    for choice, prompt in zip(answer["choices"], (ids, ids[:4]), strict=True):
        logprobs = choice["logprobs"]
        arrays = [logprobs[k] for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")]
        assert {len(array) for array in arrays} == {len(prompt) + 1}
        assert (logprobs["token_logprobs"][0], logprobs["top_logprobs"][0]) == (None, None)
        assert None not in logprobs["token_logprobs"][1:]
        # The harness calls a token greedy if its score is the greatest of its alternatives.
        for token, own, top in zip(*arrays[:3], strict=True):
            assert top is None or top[token] == own
        if end:
            assert logprobs["tokens"][-1] == "</s>"
            assert choice["finish_reason"] == "stop"


async def test_token_ids_and_text_score_the_same(
    client: httpx.AsyncClient, served: ServedModel
) -> None:
    ids = [served.tokenizer.bos_id, *served.tokenizer.encode(PROMPT)]
    by_text = (await complete(client, **harness(PROMPT)))["choices"][0]
    by_ids = (await complete(client, **harness(ids)))["choices"][0]
    assert by_ids["text"] == by_text["text"]
    assert by_ids["logprobs"]["token_logprobs"][1:] == by_text["logprobs"]["token_logprobs"]


async def test_the_first_entry_is_null_unless_bos_gives_it_a_score(
    client: httpx.AsyncClient,
) -> None:
    for add, is_scored in ((None, True), (True, True), (False, False)):
        answer = await complete(client, **harness("the cat"), add_special_tokens=add)
        assert answer["bos"] is is_scored
        first = answer["choices"][0]["logprobs"]["token_logprobs"][0]
        assert (first is not None) is is_scored


async def test_the_tokens_spell_the_text(client: httpx.AsyncClient) -> None:
    answer = await complete(client, prompt="the cat\nsat", echo=True, temperature=0.5)
    (choice,) = answer["choices"]
    logprobs, text = choice["logprobs"], choice["text"]
    for token, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        if not token.startswith("bytes:") and not token.startswith("</"):
            assert text[offset : offset + len(token)] == token
    prompt_tokens = answer["usage"]["prompt_tokens"]
    assert "".join(logprobs["tokens"][:prompt_tokens]) == "the cat\nsat"
    assert len(logprobs["tokens"]) == answer["usage"]["total_tokens"]


async def test_nothing_to_generate(client: httpx.AsyncClient) -> None:
    answer = await complete(client, prompt=["the cat", ""], max_tokens=0, echo=True)
    assert [choice["text"] for choice in answer["choices"]] == ["the cat", ""]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]
    assert answer["usage"]["completion_tokens"] == 0
    scored = [token["logprob"] for token in await score(client, texts=["the cat"])]
    assert answer["choices"][0]["logprobs"]["token_logprobs"] == scored
    silent = await complete(client, max_tokens=0, logprobs=None)
    assert silent["choices"][0]["text"] == ""


async def test_every_sample_is_echoed(client: httpx.AsyncClient) -> None:
    answer = await complete(client, echo=True, n=2)
    plain = await complete(client, n=2)
    for echoed, choice in zip(answer["choices"], plain["choices"], strict=True):
        assert echoed["text"] == "the cat" + choice["text"]
        count = len(choice["logprobs"]["tokens"])
        for key, values in choice["logprobs"].items():
            shift = len("the cat") if key == "text_offset" else 0
            expected = [value + shift for value in values] if shift else values
            assert echoed["logprobs"][key][-count:] == expected


async def test_alternatives(client: httpx.AsyncClient) -> None:
    (choice,) = (await complete(client, logprobs=3, echo=True))["choices"]
    logprobs = choice["logprobs"]
    for token, own, top in zip(
        logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
    ):
        assert top[token] == own
        assert len(top) in (3, 4)
        assert sorted(top.values(), reverse=True)[:3] == list(top.values())[:3]


async def test_prompt_logprobs(client: httpx.AsyncClient, served: ServedModel) -> None:
    answer = await complete(client, prompt=PROMPT, prompt_logprobs=2, logprobs=None)
    (choice,) = answer["choices"]
    tokens = await score(client, texts=[PROMPT], top_logprobs=2)
    assert choice["logprobs"] is None
    assert len(choice["prompt_logprobs"]) == answer["usage"]["prompt_tokens"] == len(tokens)
    for entry, token in zip(choice["prompt_logprobs"], tokens, strict=True):
        assert entry[str(token["id"])]["logprob"] == token["logprob"]
        ranks = [alternative["rank"] for alternative in entry.values()]
        assert ranks in ([1, 2], [1, 2, None])
    ids = await complete(client, prompt=[20, 21], prompt_logprobs=0, add_special_tokens=False)
    assert ids["choices"][0]["prompt_logprobs"][0] is None
    assert list(ids["choices"][0]["prompt_logprobs"][1]) == ["21"]
    assert served.tokenizer.vocab_size > 21


async def test_an_echo_after_a_state_is_of_the_new_text(client: httpx.AsyncClient) -> None:
    seam = await complete(client, prompt="the cat s", max_tokens=0, return_state=True)
    state = seam["choices"][0]["state"]
    answer = await complete(client, prompt="at on", state=state, echo=True, max_tokens=1)
    whole = await complete(client, prompt="the cat sat on", echo=True, max_tokens=1)
    (choice,), (reference,) = answer["choices"], whole["choices"]
    assert choice["text"] == reference["text"].removeprefix("the cat s")
    assert answer["bos"] is False
    count = len(choice["logprobs"]["tokens"])
    scores = choice["logprobs"]["token_logprobs"]
    assert scores == reference["logprobs"]["token_logprobs"][-count:]


async def test_a_prompt_of_broken_utf8_is_echoed_as_it_decodes(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/tokenize", json={"prompt": "é\u4e00", "add_special_tokens": False}
    )
    ids = response.json()["tokens"][:-1]
    answer = await client.post(URL, json=harness(ids))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["text"].startswith("é\ufffd")
