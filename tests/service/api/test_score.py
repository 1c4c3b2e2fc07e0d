"""`POST /v1/score` against the definitions, computed afresh in float64."""

from __future__ import annotations

import asyncio
import itertools
import math
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from service.api.score import ScoreResponse
from service.app import create_app
from service.settings import Settings
from tests.service.api.asking import answer_to, refusal_of
from tests.service.conftest import Serve, make_model, running
from tests.service.plain_engine import PlainEngine, PlainLSTM

TEXTS = ["the cat sat on the mat", "", "Кошка 🙂 é", "two\n\nlines  and\tspaces \n", "x"]
texts = st.text("ab thecsot\n  ▁é🙂К\t\0", max_size=50) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=20
)


async def score(client: httpx.AsyncClient, texts: list[Any], **fields: Any) -> dict[str, Any]:
    answered = await answer_to(client, "/v1/score", {"texts": texts, **fields})
    ScoreResponse.model_validate(answered)
    return answered


async def refused(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    return await refusal_of(client, "/v1/score", body)


def reference(lstm: PlainLSTM, ids: list[int]) -> list[float]:
    """ln P of ids[1:], all gates of all layers in float64."""
    weights = {name: w.astype(np.float64) for name, w in lstm.weights.items()}
    hs = [np.zeros(n) for n in lstm.config.hidden_sizes]
    cs = [np.zeros(n) for n in lstm.config.hidden_sizes]
    logprobs = []
    for token_id, following in itertools.pairwise(ids):
        x = weights["embedding.weight"][token_id]
        for k in range(lstm.config.num_layers):
            gates = weights[f"layers.{k}.weight_ih"] @ x + weights[f"layers.{k}.bias"]
            i, f, g, o = np.split(gates + weights[f"layers.{k}.weight_hh"] @ hs[k], 4)
            cs[k] = cs[k] / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
            hs[k] = x = np.tanh(cs[k]) / (1 + np.exp(-o))
        logits = weights["embedding.weight"] @ x
        logprobs.append(float(logits[following] - np.log(np.exp(logits).sum())))
    return logprobs


@pytest.mark.parametrize("eos", [True, False])
async def test_totals_follow_their_definitions(
    client: httpx.AsyncClient, tokenizer: Tokenizer, lstm: PlainLSTM, eos: bool
) -> None:
    body = await score(client, TEXTS, eos=eos)
    assert (body["bos"], body["eos"], body["model"]) == (True, eos, "default")
    for index, (text, entry) in enumerate(zip(TEXTS, body["data"], strict=True)):
        ids = [tokenizer.bos_id, *tokenizer.encode(text)] + [tokenizer.eos_id] * eos
        total = sum(reference(lstm, ids))
        assert entry["index"] == index
        assert entry["logprob"] == pytest.approx(total, abs=1e-4)
        assert entry["num_tokens"] == len(ids) - 1
        assert entry["num_words"] == len(text.split())
        assert entry["num_bytes"] == len(text.encode())
        for key, exponent, events in (
            ("perplexity", 1, entry["num_tokens"]),
            ("word_perplexity", 1, entry["num_words"] + eos),
        ):
            expected = math.exp(-total * exponent / events) if events else None
            assert entry[key] == (expected and pytest.approx(expected, rel=1e-4))
        bits = -total / math.log(2) / len(text.encode()) if text else None
        assert entry["bits_per_byte"] == (bits and pytest.approx(bits, rel=1e-4))
        assert (entry["tokens"], entry["words"], entry["state"]) == (None, None, None)
    num_tokens = sum(entry["num_tokens"] for entry in body["data"])
    assert body["usage"] == {
        "prompt_tokens": num_tokens,
        "cached_tokens": 0,
        "total_tokens": num_tokens,
    }


async def test_an_empty_text_scores_its_end_or_nothing(client: httpx.AsyncClient) -> None:
    (with_eos,) = (await score(client, [""], detail="tokens"))["data"]
    assert with_eos["num_tokens"] == 1
    assert [t["token"] for t in with_eos["tokens"]] == ["</s>"]
    (without,) = (await score(client, [""], eos=False, bos=False))["data"]
    assert (without["logprob"], without["num_tokens"], without["perplexity"]) == (0, 0, None)


async def test_no_texts_no_scores(client: httpx.AsyncClient, engine: PlainEngine) -> None:
    assert (await score(client, []))["data"] == []
    assert engine.requests == []


async def test_tokens_tile_the_text_and_add_up(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    for text in TEXTS:
        (entry,) = (await score(client, [text], detail="tokens"))["data"]
        tokens = entry["tokens"]
        assert [t["id"] for t in tokens] == [*tokenizer.encode(text), tokenizer.eos_id]
        assert [t["token"] for t in tokens] == [tokenizer.piece(t["id"]) for t in tokens]
        assert "".join(text[t["start"] : t["end"]] for t in tokens) == text
        assert sum(t["logprob"] for t in tokens) == pytest.approx(entry["logprob"], abs=1e-9)
        assert all(t["top_logprobs"] is None for t in tokens)


@pytest.mark.parametrize("eos", [False, True])
@pytest.mark.parametrize("text", [" ", "\n \n", "  a ", ""])
async def test_words_add_up_whatever_white_space_there_is(
    client: httpx.AsyncClient, text: str, eos: bool
) -> None:
    answer = await score(client, [text], detail="words", eos=eos)
    (entry,) = answer["data"]
    total = math.fsum(word["logprob"] for word in entry["words"])
    assert total == pytest.approx(entry["logprob"], abs=1e-5)
    assert entry["num_words"] == len(text.split())


async def test_words_have_their_offsets_and_add_up(client: httpx.AsyncClient) -> None:
    for text in TEXTS:
        for eos in (True, False):
            (entry,) = (await score(client, [text], detail="words", eos=eos))["data"]
            words = entry["words"]
            assert entry["tokens"] is None
            named = [text[w["start"] : w["end"]] for w in words]
            assert named == text.split() + [""] * eos
            assert [w["word"] for w in words] == text.split() + ["</s>"] * eos
            if words:
                total = sum(w["logprob"] for w in words)
                assert total == pytest.approx(entry["logprob"], abs=1e-9)


async def test_a_word_has_the_tokens_that_end_in_it(client: httpx.AsyncClient) -> None:
    text = "the cat sat"
    (entry,) = (await score(client, [text], detail="tokens"))["data"]
    for word in entry["words"][:-1]:
        tokens = entry["tokens"][:-1]
        inside = [t for t in tokens if word["start"] < t["end"] <= word["end"]]
        assert "".join(t["token"] for t in inside) == "▁" + word["word"]
        assert word["logprob"] == pytest.approx(sum(t["logprob"] for t in inside), abs=1e-9)


async def test_alternatives_are_the_most_probable_tokens(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    (entry,) = (await score(client, ["the cat"], detail="tokens", top_logprobs=360))["data"]
    for token in entry["tokens"]:
        alternatives = token["top_logprobs"]
        assert sorted(a["id"] for a in alternatives) == list(range(tokenizer.vocab_size))
        logprobs = [a["logprob"] for a in alternatives]
        assert logprobs == sorted(logprobs, reverse=True)
        assert sum(map(math.exp, logprobs)) == pytest.approx(1)
        own = next(a for a in alternatives if a["id"] == token["id"])
        assert own["logprob"] == pytest.approx(token["logprob"], abs=1e-5)
    (few,) = (await score(client, ["the cat"], detail="tokens", top_logprobs=2))["data"]
    assert few["tokens"][0]["top_logprobs"] == entry["tokens"][0]["top_logprobs"][:2]


async def test_ids_score_as_their_text(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    for text in TEXTS:
        for context in ("", "a line\n"):
            body = await score(
                client, [text, tokenizer.encode(text)], detail="tokens", context=context
            )
            as_text, as_ids = body["data"]
            assert {**as_ids, "index": 0} == as_text


async def test_ids_are_taken_as_they_are(client: httpx.AsyncClient, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.control_ids["<|user|>"], *map(tokenizer.piece_to_id, ("▁", "t", "h", "e"))]
    (entry,) = (await score(client, [ids], detail="tokens", eos=False))["data"]
    assert [t["id"] for t in entry["tokens"]] == ids
    assert (entry["num_words"], entry["num_bytes"]) == (1, 3)


async def test_the_first_token_has_no_probability_without_bos(client: httpx.AsyncClient) -> None:
    (entry,) = (await score(client, ["the cat"], bos=False, detail="tokens"))["data"]
    assert entry["tokens"][0]["logprob"] is None
    assert entry["words"][0]["logprob"] is None
    assert entry["num_tokens"] == len(entry["tokens"]) - 1
    assert (entry["word_perplexity"], entry["bits_per_byte"]) == (None, None)
    assert entry["perplexity"] is not None


async def test_context_conditions_and_is_not_scored(
    client: httpx.AsyncClient, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    context, text = "the cat sat", " on the mat"
    ids = [tokenizer.bos_id, *tokenizer.encode(context + text), tokenizer.eos_id]
    num_tokens = len(tokenizer.encode(text, continuation=True)) + 1
    (entry,) = (await score(client, [text], context=context, detail="tokens"))["data"]
    assert entry["logprob"] == pytest.approx(sum(reference(lstm, ids)[-num_tokens:]), abs=1e-4)
    assert entry["num_tokens"] == num_tokens
    assert (entry["tokens"][0]["start"], entry["tokens"][-2]["end"]) == (0, len(text))


@settings(deadline=None, max_examples=40)
@given(parts=st.lists(texts, min_size=2, max_size=4), eos=st.booleans())
def test_resumed_is_sent_whole_bit_for_bit(state_client: Any, parts: list[str], eos: bool) -> None:
    """Wherever the cuts fall: tokens, figures, offsets and the state handed out are equal."""
    runner, client = state_client
    *earlier, last = parts

    async def resumed() -> dict[str, Any]:
        state = None
        for part in earlier:
            body = await score(client, [part], state=state, return_state=True, eos=False)
            state = body["data"][0]["state"]
        return await score(client, [last], state=state, detail="tokens", return_state=True, eos=eos)

    async def whole() -> dict[str, Any]:
        return await score(
            client, [last], context="".join(earlier), detail="tokens", return_state=True, eos=eos
        )

    assert runner.run(resumed())["data"] == runner.run(whole())["data"]


@pytest.fixture(scope="module")
def state_client(tokenizer: Tokenizer, lstm: PlainLSTM) -> Any:
    """A client in a loop of its own, for properties, which are no coroutines."""
    model = make_model("tiny", tokenizer, PlainEngine(lstm))
    with asyncio.Runner() as runner:
        service = running(create_app(Settings(), [model]))
        client = runner.run(service.__aenter__())
        yield runner, client
        runner.run(service.__aexit__(None, None, None))


async def test_a_state_without_history_continues_nothing(client: httpx.AsyncClient) -> None:
    (entry,) = (await score(client, ["th"], bos=False, eos=False, return_state=True))["data"]
    body = await score(client, ["e cat"], state=entry["state"], detail="tokens")
    whole = await score(client, ["e cat"], context="th", bos=False, detail="tokens")
    assert body["data"] == whole["data"]
    assert body["bos"] is False


async def test_state_of_odd_ids_is_that_of_their_text(
    client: httpx.AsyncClient, tokenizer: Tokenizer, engine: PlainEngine
) -> None:
    odd = list(map(tokenizer.piece_to_id, ("▁", "t", "h", "e", "▁")))
    body = await score(client, ["the ", odd, "the "], return_state=True)
    states = [entry["state"] for entry in body["data"]]
    assert states[0] == states[1] == states[2]
    assert len(engine.requests) == 2


async def test_one_request_for_all_texts(client: httpx.AsyncClient, engine: PlainEngine) -> None:
    await score(client, TEXTS, context="shared", return_state=True)
    assert len(engine.requests) == 1


@pytest.mark.parametrize(
    ("fields", "param", "fault"),
    [
        ({"texts": "a"}, "texts", "list"),
        ({}, "texts", "required"),
        ({"texts": [1]}, "texts.0", "string or a list of token ids"),
        ({"texts": [["a"]]}, "texts.0.0", "integer"),
        ({"texts": [[0, 360]]}, "texts.0.1", "not in 0..359"),
        ({"texts": [[-1]]}, "texts.0.0", "greater than or equal to 0"),
        ({"texts": [[2**70]]}, "texts.0.0", "less than or equal"),
        ({"texts": ["a"], "bos": 1}, "bos", "boolean"),
        ({"texts": ["a"], "detail": "all"}, "detail", "'totals', 'words' or 'tokens'"),
        ({"texts": ["a"], "top_logprobs": 1}, "top_logprobs", "needs detail 'tokens'"),
        (
            {"texts": ["a"], "detail": "tokens", "top_logprobs": 361},
            "top_logprobs",
            "more than the vocabulary's 360",
        ),
        ({"texts": ["a"], "top_logprobs": -1}, "top_logprobs", "greater than or equal to 0"),
        ({"texts": ["a"], "state": "abc"}, "state", "altered"),
        ({"texts": ["a"], "state": 5}, "state", "string"),
    ],
)
async def test_faults_are_named(
    client: httpx.AsyncClient,
    engine: PlainEngine,
    fields: dict[str, Any],
    param: str,
    fault: str,
) -> None:
    error = await refused(client, **fields)
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert fault in error["message"]
    assert engine.requests == []


async def test_state_and_context_exclude_each_other(client: httpx.AsyncClient) -> None:
    (entry,) = (await score(client, ["a"], return_state=True))["data"]
    error = await refused(client, texts=["b"], state=entry["state"], context="a")
    assert error["param"] == "context"


async def test_null_means_the_default(client: httpx.AsyncClient) -> None:
    names = ("model", "context", "state", "bos", "eos", "detail", "top_logprobs", "return_state")
    assert await score(client, ["a b"], **dict.fromkeys(names)) == await score(client, ["a b"])


async def test_limits_come_before_work(serve: Serve, engine: PlainEngine) -> None:
    async with serve(max_texts=2, max_prompt_tokens=30, max_logprobs=100) as client:
        for fields, param in (
            ({"texts": ["a"] * 3}, "texts"),
            ({"texts": ["the cat " * 20]}, "texts"),
            ({"texts": ["the cat"] * 2, "context": "the cat " * 8}, "texts"),
            ({"texts": ["a"], "context": "the cat " * 30}, "context"),
            ({"texts": ["the cat"], "detail": "tokens", "top_logprobs": 90}, "top_logprobs"),
        ):
            error = await refused(client, **fields)
            assert (error["code"], error["param"]) == ("limit_exceeded", param)
            assert "the limit is" in error["message"]
        assert engine.requests == []
        assert len((await score(client, ["a", "b"]))["data"]) == 2


async def test_a_long_context_is_computed_once(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    context, texts = "the cat sat. " * 100, ["and the dog", "", "mat"] * 5
    fields = {"context": context, "return_state": True, "detail": "tokens"}
    together = await score(client, texts, **fields)
    assert sum(request.num_tokens for request in engine.requests) < 1500
    for entry, text in zip(together["data"], texts, strict=True):
        (alone,) = (await score(client, [text], **fields))["data"]
        assert {**entry, "index": 0} == alone


async def test_a_state_of_another_model_is_refused(
    serve: Serve, tokenizer: Tokenizer, lstm: PlainLSTM
) -> None:
    other = make_model("other", tokenizer, PlainEngine(lstm, digest="sha256:other"))
    async with serve(other) as client:
        (entry,) = (await score(client, ["a"], return_state=True, model="other"))["data"]
        error = await refused(client, texts=["b"], state=entry["state"])
        assert (error["code"], error["param"]) == ("invalid_state", "state")
        assert "another model" in error["message"]
        assert (await score(client, ["b"], state=entry["state"], model="other"))["data"]


async def test_replicas_with_one_key_share_states(serve: Serve) -> None:
    async with serve(state_key="s" * 16) as one, serve(state_key="s" * 16) as two:
        (entry,) = (await score(one, ["the c"], return_state=True))["data"]
        assert (await score(two, ["at"], state=entry["state"]))["data"]
    async with serve() as one, serve() as two:
        (entry,) = (await score(one, ["the c"], return_state=True))["data"]
        assert (await refused(two, texts=["at"], state=entry["state"]))["code"] == "invalid_state"
