"""`POST /v1/next-word` against `/v1/score` and `/v1/next-token`, which know nothing of words."""

from __future__ import annotations

import math
from typing import Any

import httpx
import numpy as np
import pytest

from models.tokenizer import Tokenizer
from service.engine.request import Priority
from tests.service.api.asking import answer_to
from tests.service.conftest import Serve
from tests.service.plain_engine import Floats, PlainEngine, PlainLSTM

MASSES = (
    "found_mass",
    "unexplored_mass",
    "non_canonical_mass",
    "no_word_mass",
    "continued_mass",
    "excluded_mass",
)
# A line's start, in a line, behind white space, after a word of more than one chunk, in a character
# spelled in bytes.
CONTEXTS = ["", "the cat", "the cat ", "the cat  ", "nobody\n", "nobody\n ", "x" * 40, "猫"]


async def next_word(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    return await answer_to(client, "/v1/next-word", fields)


async def expected_logprob(
    client: httpx.AsyncClient, tokenizer: Tokenizer, before: str, word: str, **start: Any
) -> float:
    """The sum over the last tokens of the text, and what begins a word after it."""
    body = {"texts": [before + word], "eos": False, "detail": "tokens", "return_state": True}
    scored = (await client.post("/v1/score", json={**body, **start})).json()["data"][0]
    size = len(tokenizer.encode(word))
    assert [token["id"] for token in scored["tokens"]][-size:] == tokenizer.encode(word)
    body = {"state": scored["state"], "full": True}
    after = (await client.post("/v1/next-token", json=body)).json()["logprobs"]
    end = np.logaddexp.reduce(np.array(after)[tokenizer.begins_word])
    return math.fsum(token["logprob"] for token in scored["tokens"][-size:]) + float(end)


@pytest.mark.parametrize("context", CONTEXTS)
async def test_a_word_is_its_tokens_and_its_end(
    client: httpx.AsyncClient, tokenizer: Tokenizer, context: str
) -> None:
    words = ["the", "then", "icecream;", "猫", "Кошка", "y" * 70, "the"]
    answer = await next_word(client, context=context, words=words, top_k=3, max_expansions=60)
    assert [word["word"] for word in answer["words"]] == words
    before = context if context[-1:] in ("", " ", "\n") else context + " "
    for word in [*answer["words"], *answer["top"]]:
        expected = await expected_logprob(client, tokenizer, before, word["word"])
        assert word["logprob"] == pytest.approx(expected, abs=1e-5)
        assert word["num_tokens"] == len(tokenizer.encode(word["word"]))


@pytest.mark.parametrize("context", CONTEXTS)
async def test_a_state_is_as_good_as_the_context_it_was_made_of(
    client: httpx.AsyncClient, context: str
) -> None:
    body = {"context": context, "return_state": True}
    state = (await client.post("/v1/next-token", json=body)).json()["state"]
    fields = {"words": ["the", "猫"], "top_k": 4, "max_expansions": 50}
    resumed = await next_word(client, state=state, **fields)
    whole = await next_word(client, context=context, **fields)
    assert (resumed.pop("bos"), whole.pop("bos")) == (False, True)
    for answer in (resumed, whole):
        del answer["usage"]
    assert resumed == whole


async def test_the_most_probable_words_are_those_of_brute_force(
    client: httpx.AsyncClient, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    """Over all words of one or two tokens, and only those of more in the list may be missing."""
    answer = await next_word(client, context="the cat", top_k=8, max_expansions=1000)
    assert answer["is_complete"]
    state = np.zeros(lstm.state_size, np.float32)
    for token_id in [tokenizer.bos_id, *tokenizer.encode("the cat")]:
        state = lstm.step(token_id, state)
    begins = tokenizer.begins_word
    is_start = [tokenizer.token_bytes(i).startswith(b" ") for i in range(tokenizer.vocab_size)]
    expected: dict[str, float] = {}
    root = lstm.logprobs(state)
    for first in np.flatnonzero(is_start).tolist():
        inner = lstm.step(first, state)
        after = lstm.logprobs(inner)
        paths: list[tuple[list[int], Floats, float]] = [([first], inner, root[first])]
        for second in np.flatnonzero(~begins).tolist():
            # Only what could be in the list: its end takes probability away, never adds.
            if root[first] + after[second] > answer["top"][-1]["logprob"]:
                logprob = root[first] + after[second]
                paths.append(([first, second], lstm.step(second, inner), logprob))
        for ids, at, logprob in paths:
            word = tokenizer.decode(ids)
            if word and tokenizer.encode(word) == ids:
                end = np.logaddexp.reduce(lstm.logprobs(at)[begins])
                expected[word] = float(logprob + end)
    listed = {word["word"]: word for word in answer["top"]}
    for word, logprob in expected.items():
        if word in listed:
            assert listed[word]["logprob"] == pytest.approx(logprob, abs=1e-5)
        else:
            assert logprob <= answer["top"][-1]["logprob"] + 1e-6
    assert {word for word, entry in listed.items() if entry["num_tokens"] <= 2} <= set(expected)


@pytest.mark.parametrize("max_expansions", [1, 2, 20, 200])
async def test_masses_add_up(
    client: httpx.AsyncClient, engine: PlainEngine, max_expansions: int
) -> None:
    answer = await next_word(client, context="you scream", max_expansions=max_expansions)
    assert math.fsum(answer[mass] for mass in MASSES) == pytest.approx(1, abs=1e-5)
    found = math.fsum(math.exp(word["logprob"]) for word in answer["top"])
    assert found <= answer["found_mass"] + 1e-12
    assert answer["num_expansions"] == sum(len(request.prompts) for request in engine.requests)
    assert answer["num_expansions"] <= max_expansions


@pytest.mark.parametrize("context", ["", "nobody\n", "the cat"])
@pytest.mark.parametrize("prefix", ["s", "th", "K", "猫"])
async def test_a_half_typed_word_is_completed_with_the_words_own_probabilities(
    client: httpx.AsyncClient, context: str, prefix: str
) -> None:
    found = await next_word(client, context=context, prefix=prefix, top_k=4, max_expansions=1000)
    assert all(word["word"].startswith(prefix) for word in found["top"])
    assert math.fsum(found[mass] for mass in MASSES) == pytest.approx(1, abs=1e-5)
    same = await next_word(
        client, context=context, words=[word["word"] for word in found["top"]], top_k=0
    )
    assert found["top"] == same["words"]
    # The words that a search without the prefix finds are among them, best first.
    free = await next_word(client, context=context, top_k=1000, max_expansions=1000)
    expected = [word for word in free["top"] if word["word"].startswith(prefix)]
    if found["is_complete"]:
        assert found["top"][: len(expected)] == expected[: len(found["top"])]


async def test_many_contexts_are_answered_as_each_alone(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    places = [("the cat", "s"), ("", ""), ("nobody\n", "th"), ("the cat", "s")]
    shared: dict[str, Any] = {"words": ["sat", "猫"], "top_k": 3, "max_expansions": 40}
    contexts, prefixes = map(list, zip(*places, strict=True))
    answer = await next_word(client, contexts=contexts, prefixes=prefixes, **shared)
    assert [entry.pop("index") for entry in answer["data"]] == [0, 1, 2, 3]
    usage = {"prompt_tokens": 0, "cached_tokens": 0, "total_tokens": 0}
    for entry, (context, prefix) in zip(answer["data"], places, strict=True):
        alone = await next_word(client, context=context, prefix=prefix, **shared)
        usage = {name: usage[name] + alone["usage"][name] for name in usage}
        assert entry == {name: alone[name] for name in entry}
    assert answer["usage"] == usage
    assert engine.active == set()


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"prefix": "a b"}, "prefix", "not one word"),
        ({"contexts": ["a"], "prefixes": ["a\n"]}, "prefixes.0", "not one word"),
        ({"contexts": ["a"], "prefixes": []}, "prefixes", "has 0, contexts 1"),
        ({"contexts": ["a"], "prefixes": ["b"], "prefix": "c"}, "prefix", "takes the place"),
        ({"contexts": ["a"], "context": "b"}, "contexts", "takes the place of context"),
        ({"prefixes": ["a"]}, "prefixes", "needs contexts"),
        ({"contexts": []}, "contexts", "at least 1"),
        ({"contexts": ["a"] * 1000}, "max_expansions", "the limit is 65536"),
        ({"contexts": ["a"] * 100, "words": ["b"] * 1000, "max_expansions": 1}, "words", "limit"),
    ],
)
async def test_refusals_of_many_contexts(
    client: httpx.AsyncClient, engine: PlainEngine, fields: Any, param: str, message: str
) -> None:
    response = await client.post("/v1/next-word", json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert message in error["message"]
    assert engine.requests == []


async def test_words_given_the_contexts_end_multiply_to_the_text(
    client: httpx.AsyncClient,
) -> None:
    """The chain rule over words: what `context_end_logprob` is for."""
    words, total = ["the", "cat", "sat."], 0.0
    for place, word in enumerate(words):
        context = " ".join(words[:place])
        answer = await next_word(client, context=context, words=[word], top_k=0)
        total += answer["words"][0]["logprob"]
        total -= answer["context_end_logprob"]
    whole = await next_word(client, context="the cat sat.", top_k=0)
    body = {"texts": ["the cat sat."], "eos": False}
    text = (await client.post("/v1/score", json=body)).json()["data"][0]["logprob"]
    assert total == pytest.approx(text + whole["context_end_logprob"], abs=1e-5)


async def test_the_search_goes_on_from_one_state_in_a_few_requests(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    await next_word(client, context="the wind blew over the hills " * 20, words=["the"] * 100)
    first, *others = engine.requests
    assert len(first.prompts[0]) > 100
    assert max(len(prompt) for request in others for prompt in request.prompts) < 20
    assert len(others) < 30
    assert {request.priority for request in engine.requests} == {Priority.INTERACTIVE}


async def test_without_top_k_only_the_words_asked_for_are_computed(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    answer = await next_word(client, top_k=0, words=["cat"])
    assert (answer["top"], answer["num_expansions"], len(engine.requests)) == ([], 1, 2)
    usage = {"prompt_tokens": answer["words"][0]["num_tokens"], "cached_tokens": 0}
    assert answer["usage"] == {**usage, "total_tokens": usage["prompt_tokens"]}


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"words": ["a", "two words"]}, "words.1", "not one word"),
        ({"words": ["a\n"]}, "words.0", "not one word"),
        ({"words": [""]}, "words.0", "must not be empty"),
        ({"words": [7]}, "words.0", "string"),
        ({"top_k": -1}, "top_k", "greater than or equal to 0"),
        ({"top_k": 1001}, "top_k", "less than or equal to 1000"),
        ({"max_expansions": 0}, "max_expansions", "greater than or equal to 1"),
        ({"max_expansions": 1025}, "max_expansions", "less than or equal to 1024"),
        ({"context": ["a"]}, "context", "string"),
        ({"context": "a", "state": "x"}, "context", "a state takes the place"),
        ({"state": "x"}, "state", "not a state of this model"),
        ({"bos": False}, "bos", "True"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, engine: PlainEngine, fields: Any, param: str, message: str
) -> None:
    response = await client.post("/v1/next-word", json=fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert message in error["message"]
    assert engine.requests == []


async def test_a_state_before_which_nothing_stands_is_refused(client: httpx.AsyncClient) -> None:
    body = {"texts": ["ca"], "bos": False, "eos": False, "return_state": True}
    state = (await client.post("/v1/score", json=body)).json()["data"][0]["state"]
    others: dict[str, dict[str, Any]] = {"next-word": {}, "rescore": {"utterances": []}}
    for path, rest in others.items():
        response = await client.post(f"/v1/{path}", json={"state": state, **rest})
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "state"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_texts": 2}, "3 words, the limit is 2"),
        ({"max_prompt_tokens": 4}, "tokens or more, the limit is 4"),
    ],
)
async def test_limits_are_checked_before_any_work(
    serve: Serve, engine: PlainEngine, limits: dict[str, int], message: str
) -> None:
    async with serve(**limits) as client:
        response = await client.post("/v1/next-word", json={"words": ["cat", "dog", "weather"]})
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]
    assert engine.requests == []
