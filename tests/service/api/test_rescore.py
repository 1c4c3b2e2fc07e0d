"""`POST /v1/rescore` against `/v1/score` and the documented formula."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from service.engine.request import Priority
from tests.service.api.rescoring import LISTS, REQUEST, by_index, rescore, score
from tests.service.conftest import Serve
from tests.service.plain_engine import PlainEngine


@pytest.mark.parametrize("eos", [True, False])
async def test_totals_are_the_documented_formula_over_the_scores_of_v1_score(
    client: httpx.AsyncClient, eos: bool
) -> None:
    answer = await rescore(client, **REQUEST, eos=eos)
    assert len(answer["utterances"]) == len(LISTS)
    for sent, got in zip(LISTS, answer["utterances"], strict=True):
        hypotheses = sent["hypotheses"]
        expected = await score(client, *[h["text"] for h in hypotheses], eos=eos)
        for hypothesis, logprob, result in zip(hypotheses, expected, by_index(got), strict=True):
            assert result["lm_logprob"] == logprob
            assert result["num_words"] == len(hypothesis["text"].split())
            assert result["total"] == pytest.approx(
                hypothesis["score"]
                + 0.25 * hypothesis["scores"]["ngram"]
                + 0.75 * logprob
                + 0.5 * result["num_words"],
                abs=1e-9,
            )
        totals = [result["total"] for result in got["hypotheses"]]
        assert totals == sorted(totals, reverse=True)
        assert [result["rank"] for result in got["hypotheses"]] == [*range(1, len(totals) + 1)]
        norm = math.fsum(math.exp(total - max(totals)) for total in totals)
        for result in got["hypotheses"]:
            expected_posterior = math.exp(result["total"] - max(totals)) / norm
            assert result["posterior"] == pytest.approx(expected_posterior)


async def test_every_field_comes_back_as_it_was_sent(client: httpx.AsyncClient) -> None:
    answer = await rescore(client, **REQUEST)
    added = {"index", "lm_logprob", "num_tokens", "num_words", "total", "rank", "posterior"}
    for sent, got in zip(LISTS, answer["utterances"], strict=True):
        assert {**sent, "hypotheses": None} == {**got, "hypotheses": None}
        kept = [{k: v for k, v in h.items() if k not in added} for h in by_index(got)]
        assert kept == sent["hypotheses"]
    echoed = {k: v for k, v in answer.items() if k not in ("utterances", "usage")}
    assert echoed == {
        "object": "rescore",
        "model": "default",
        "lm_weight": 0.75,
        "length_bonus": 0.5,
        "weights": {"ngram": 0.25},
        "mixture": None,
        "hot_words": {},
        "normalize": "none",
        "bos": True,
        "eos": True,
        "carry_context": False,
        "top_n": None,
    }


async def test_a_list_is_one_request_and_bulk_work(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    await rescore(client, **REQUEST)
    assert sorted(len(request.prompts) for request in engine.requests) == [1, 3]
    assert {request.priority for request in engine.requests} == {Priority.BULK}


async def test_usage_counts_tokens_and_what_lists_share(
    client: httpx.AsyncClient, tokenizer: Tokenizer
) -> None:
    answer = await rescore(client, **REQUEST)
    texts = [h["text"] for sent in LISTS for h in sent["hypotheses"]]
    sequences = [(*tokenizer.encode(text), tokenizer.eos_id) for text in texts]
    first_list = {ids[:n] for ids in sequences[:3] for n in range(1, len(ids) + 1)}
    assert answer["usage"] == {
        "prompt_tokens": sum(map(len, sequences)),
        "cached_tokens": 0,
        "total_tokens": sum(map(len, sequences)),
        "tree_nodes": len(first_list) + len(sequences[3]),
    }
    for hypothesis in by_index(answer["utterances"][0]):
        assert hypothesis["num_tokens"] == len(tokenizer.encode(hypothesis["text"])) + 1


async def test_duplicates_tie_in_the_order_sent(client: httpx.AsyncClient) -> None:
    texts = ["ice cream", "i scream", "ice cream", "ice cream"]
    hypotheses = [{"text": text, "place": place} for place, text in enumerate(texts)]
    answer = await rescore(client, utterances=[{"hypotheses": hypotheses}])
    (got,) = answer["utterances"]
    same = [h for h in got["hypotheses"] if h["text"] == "ice cream"]
    assert [h["place"] for h in same] == [h["index"] for h in same] == [0, 2, 3]
    assert len({h["posterior"] for h in same}) == 1
    # Three copies are one hypothesis to the tree.
    assert answer["usage"]["tree_nodes"] < answer["usage"]["prompt_tokens"] / 2


@pytest.mark.parametrize(
    ("utterances", "eos", "expected"),
    [([], True, []), ([{"hypotheses": []}], True, [[]])],
)
async def test_empty_lists(
    client: httpx.AsyncClient, engine: PlainEngine, utterances: Any, eos: bool, expected: Any
) -> None:
    answer = await rescore(client, utterances=utterances, eos=eos)
    assert [u["hypotheses"] for u in answer["utterances"]] == expected
    assert engine.requests == []


async def test_empty_texts(client: httpx.AsyncClient) -> None:
    utterances = [{"hypotheses": [{"text": "", "score": -2}, {"text": "a", "score": -9}]}]
    answer = await rescore(client, utterances=utterances, eos=False, normalize="tokens")
    empty = by_index(answer["utterances"][0])[0]
    assert (empty["lm_logprob"], empty["num_tokens"], empty["total"]) == (0, 0, -2)
    answer = await rescore(client, utterances=utterances)
    assert by_index(answer["utterances"][0])[0]["lm_logprob"] == (await score(client, ""))[0]


@pytest.mark.parametrize("normalize", ["tokens", "words"])
async def test_normalize(client: httpx.AsyncClient, normalize: str) -> None:
    answer = await rescore(client, **REQUEST, normalize=normalize)
    for hypothesis in answer["utterances"][0]["hypotheses"]:
        plain = hypothesis["score"] + 0.25 * hypothesis["scores"]["ngram"]
        plain += 0.5 * hypothesis["num_words"]
        length = hypothesis["num_tokens" if normalize == "tokens" else "num_words"]
        length += normalize == "words"  # the end of the sentence
        assert hypothesis["total"] == pytest.approx(
            plain + 0.75 * hypothesis["lm_logprob"] / length
        )


async def test_top_n_cuts_after_ranking_the_whole_list(client: httpx.AsyncClient) -> None:
    whole = await rescore(client, **REQUEST)
    cut = await rescore(client, **REQUEST, top_n=2)
    for all_of_them, best in zip(whole["utterances"], cut["utterances"], strict=True):
        assert best["hypotheses"] == all_of_them["hypotheses"][:2]


@pytest.mark.parametrize("context", ["ice", "ice cream ", "the cat sat.\n", "the cat sat on"])
async def test_context_is_that_of_v1_score(client: httpx.AsyncClient, context: str) -> None:
    answer = await rescore(client, **REQUEST, context=context)
    for got in answer["utterances"]:
        texts = [hypothesis["text"] for hypothesis in by_index(got)]
        expected = await score(client, *texts, context=context)
        assert [h["lm_logprob"] for h in by_index(got)] == expected


async def test_state_is_as_good_as_the_context_it_was_made_of(client: httpx.AsyncClient) -> None:
    context = "the cat sat on the ma"
    response = await client.post(
        "/v1/score", json={"texts": [context], "return_state": True, "eos": False}
    )
    state = response.json()["data"][0]["state"]
    resumed = await rescore(client, **REQUEST, state=state)
    whole = await rescore(client, **REQUEST, context=context)
    assert resumed["utterances"] == whole["utterances"]
    assert (resumed["bos"], whole["bos"]) == (False, True)


async def test_a_context_is_computed_once_for_all_lists(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    await rescore(client, **REQUEST, context="the wind blew over the hills " * 20)
    lengths = [max(map(len, request.prompts)) for request in engine.requests]
    assert max(lengths[1:]) < 30 < lengths[0]
    assert len(lengths) == 3


@pytest.mark.parametrize("context", ["", "nobody heard", "hills.\n"])
async def test_carry_context_puts_each_list_behind_the_best_of_those_before(
    client: httpx.AsyncClient, context: str
) -> None:
    lists = [
        ["one two three", "one too three"],
        [],
        ["four five", "for five", "fore five"],
        ["six seven eight"],
    ]
    utterances = [{"hypotheses": [{"text": text} for text in texts]} for texts in lists]
    answer = await rescore(client, utterances=utterances, context=context, carry_context=True)
    before = context
    for texts, got in zip(lists, answer["utterances"], strict=True):
        expected = await score(client, *texts, context=before) if texts else []
        assert [h["lm_logprob"] for h in by_index(got)] == expected
        if texts:
            before += got["hypotheses"][0]["text"] + "\n"
    assert answer["carry_context"] is True
    apart = await rescore(client, utterances=utterances, context=context)
    assert apart["utterances"][2] != answer["utterances"][2]


async def test_carry_context_changes_nothing_for_a_single_list(client: httpx.AsyncClient) -> None:
    one = {**REQUEST, "utterances": LISTS[:1]}
    carried = await rescore(client, **one, carry_context=True)
    assert carried["utterances"] == (await rescore(client, **one))["utterances"]


texts = st.text(st.sampled_from("ice cream.\n"), max_size=12)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, st.lists(st.lists(texts, max_size=3), max_size=3), st.booleans())
async def test_any_context_and_texts_score_as_if_sent_whole(
    client: httpx.AsyncClient, context: str, lists: list[list[str]], eos: bool
) -> None:
    utterances = [{"hypotheses": [{"text": text} for text in hypotheses]} for hypotheses in lists]
    answer = await rescore(client, utterances=utterances, context=context, eos=eos)
    for hypotheses, got in zip(lists, answer["utterances"], strict=True):
        expected = await score(client, *hypotheses, context=context, eos=eos) if hypotheses else []
        assert [h["lm_logprob"] for h in by_index(got)] == expected


@pytest.mark.parametrize("carry_context", [False, True])
async def test_a_queue_that_fills_later_only_delays(
    serve: Serve, engine: PlainEngine, carry_context: bool
) -> None:
    request = {**REQUEST, "context": "so ", "carry_context": carry_context}
    async with serve() as client:
        expected = await rescore(client, **request)
        engine.max_active = 1
        assert await rescore(client, **request) == expected
    assert not engine.active
