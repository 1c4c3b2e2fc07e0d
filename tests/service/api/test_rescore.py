"""`POST /v1/rescore` against `/v1/score` and the formula, and every refusal it promises."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.tokenizer import Tokenizer
from service.api.rescore_schemas import RescoreRequest
from service.engine.request import Priority
from tests.service.conftest import Serve
from tests.service.plain_engine import PlainEngine

ROOT = Path(__file__).parents[3]
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
    response = await client.post("/v1/rescore", json=fields)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert isinstance(answer, dict)
    return answer


async def score(client: httpx.AsyncClient, *texts: str, **fields: Any) -> list[float]:
    response = await client.post("/v1/score", json={"texts": texts, **fields})
    assert response.status_code == 200, response.text
    return [entry["logprob"] for entry in response.json()["data"]]


async def refusal(client: httpx.AsyncClient, **fields: Any) -> tuple[str, str]:
    response = await client.post("/v1/rescore", json=fields)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error["param"], error["message"]


def by_index(utterance: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(utterance["hypotheses"], key=lambda hypothesis: int(hypothesis["index"]))


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


def hypotheses(*items: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"hypotheses": [{"text": "fine"}]}, {"hypotheses": list(items)}]


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "utterances", "is required"),
        ({"utterances": {}}, "utterances", "list"),
        ({"utterances": [{}]}, "utterances.0.hypotheses", "is required"),
        ({"utterances": hypotheses({})}, "utterances.1.hypotheses.0.text", "is required"),
        ({"utterances": hypotheses({"text": 3})}, "utterances.1.hypotheses.0.text", "string"),
        (
            {"utterances": hypotheses({"text": "a", "score": "-3"})},
            "utterances.1.hypotheses.0.score",
            "number",
        ),
        (
            {"utterances": hypotheses({"text": "a", "scores": {"n": 1.0}})},
            "utterances.1.hypotheses.0.scores",
            "no weight is given for the score 'n'",
        ),
        (
            {"utterances": [{"hypotheses": [{"text": "a"}]}], "weights": {"ngram": 0.5}},
            "utterances.0.hypotheses.0.scores",
            "the score 'ngram', which has a weight, is missing",
        ),
        (
            {"utterances": hypotheses({"text": "a", "score": 1}, {"text": "b"})},
            "utterances.1.hypotheses.1.score",
            "is missing, while others",
        ),
        (
            {"utterances": hypotheses({"text": "a", "rank": 1})},
            "utterances.1.hypotheses.0.rank",
            "rename",
        ),
        (
            {"utterances": [{"id": "u", "hypotheses": []}] * 2},
            "utterances.1.id",
            "'u' is the id of utterances.0",
        ),
        (
            {"utterances": hypotheses({"text": "a", "score": 1.7e308}), "length_bonus": 1.7e308},
            "utterances.1.hypotheses.0",
            "not a finite number",
        ),
        ({"utterances": [], "normalize": "chars"}, "normalize", "'none', 'tokens' or 'words'"),
        ({"utterances": [], "top_n": 0}, "top_n", "greater than or equal to 1"),
        ({"utterances": [], "lm_weight": "big"}, "lm_weight", "number"),
        ({"utterances": [], "bos": False}, "bos", "True"),
        ({"utterances": [], "context": "a", "state": "x"}, "context", "a state takes the place"),
        ({"utterances": [], "state": "x"}, "state", "not a state of this model"),
    ],
)
async def test_refusals_name_the_field(
    client: httpx.AsyncClient, engine: PlainEngine, fields: Any, param: str, message: str
) -> None:
    got_param, got_message = await refusal(client, **fields)
    assert got_param == param
    assert message in got_message
    # Only a total can be seen to overflow no sooner than it is computed.
    assert not engine.requests or "finite" in message


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400"])
@pytest.mark.parametrize("field", ["score", "confidence"])
async def test_numbers_must_be_finite(client: httpx.AsyncClient, field: str, value: str) -> None:
    """Also in fields that only come back."""
    body = json.dumps({"utterances": [{"hypotheses": [{"text": "a", field: "?"}]}]})
    response = await client.post(
        "/v1/rescore",
        content=body.replace('"?"', value),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 400
    assert response.json()["error"]["param"] == f"utterances.0.hypotheses.0.{field}"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_utterances": 2}, "3 utterances, the limit is 2"),
        ({"max_hypotheses": 3}, "4 hypotheses, the limit is 3"),
        ({"max_prompt_tokens": 20}, "tokens or more, the limit is 20"),
    ],
)
async def test_limits_are_checked_before_any_work(
    serve: Serve, engine: PlainEngine, limits: dict[str, int], message: str
) -> None:
    async with serve(**limits) as client:
        param, got = await refusal(client, **REQUEST)
    assert param == "utterances"
    assert message in got
    assert engine.requests == []


async def test_a_full_queue_refuses_the_whole_call_before_any_work(
    serve: Serve, engine: PlainEngine
) -> None:
    engine.max_active = 0
    async with serve() as client:
        for more in ({}, {"context": "the cat"}, {"carry_context": True}):
            response = await client.post("/v1/rescore", json={**REQUEST, **more})
            assert response.status_code == 429
            assert "retry-after" in response.headers
    assert engine.requests == []


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


def test_the_examples_of_the_documentation_are_taken() -> None:
    """Every JSON block of docs/rescoring.md is a whole request."""
    text = (ROOT / "docs" / "rescoring.md").read_text("utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        RescoreRequest.model_validate_json(block)


WORD_SCORES = {"utterances": [{"hypotheses": [
    {"text": "the cat sat", "score": -2.0, "word_scores": {"old": [-2.0, -3.0, -4.0, -1.5]}},
    {"text": "the dog", "score": -1.0, "word_scores": {"old": [-2.0, -3.5, -1.0]}},
    {"text": "", "score": -9.0, "word_scores": {"old": [-5.0]}},
]}]}  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
async def test_a_mixture_word_by_word(serve: Serve, share: float) -> None:
    mixture = {"with": "old", "share": share}
    async with serve() as client:
        answer = await rescore(client, lm_weight=2.0, mixture=mixture, **WORD_SCORES)
        assert answer["mixture"] == mixture
        for own in answer["utterances"][0]["hypotheses"]:
            body = {"texts": [own["text"]], "detail": "words"}
            scored = (await client.post("/v1/score", json=body)).json()["data"][0]["words"]
            pairs = zip([w["logprob"] for w in scored], own["word_scores"]["old"], strict=True)
            mixed = sum(math.log(share * math.exp(a) + (1 - share) * math.exp(b)) for a, b in pairs)
            assert own["mixed_logprob"] == pytest.approx(mixed)
            assert own["total"] == pytest.approx(own["score"] + 2 * mixed)


async def test_hot_words_are_a_term_of_their_own(serve: Serve) -> None:
    async with serve() as client:
        plain = await rescore(client, **WORD_SCORES)
        hot = await rescore(client, hot_words={"cat": 3.5, "the dog": 1.0}, **WORD_SCORES)
    before = {own["text"]: own for own in plain["utterances"][0]["hypotheses"]}
    for own in hot["utterances"][0]["hypotheses"]:
        expected = {"the cat sat": 3.5, "the dog": 1.0, "": 0.0}[own["text"]]
        assert own["hot_words"] == expected
        assert own["total"] == pytest.approx(before[own["text"]]["total"] + expected)
        assert "hot_words" not in before[own["text"]]


@pytest.mark.parametrize(
    ("fields", "param", "fault"),
    [
        (
            {"mixture": {"with": "new", "share": 0.5}},
            ".0.word_scores",
            "the word scores 'new' of the mixture are missing",
        ),
        (
            {"mixture": {"with": "old", "share": 0.5}, "eos": False},
            ".0.word_scores.old",
            "has 4 scores, not 3: one for each word",
        ),
        ({"mixture": {"with": "old", "share": 1.5}}, "mixture.share", ""),
        ({"mixture": {"with": "old"}}, "mixture.share", ""),
    ],
)
async def test_mixtures_that_cannot_be(
    serve: Serve, fields: dict[str, Any], param: str, fault: str
) -> None:
    async with serve() as client:
        found, message = await refusal(client, **WORD_SCORES, **fields)
    assert found.endswith(param)
    assert fault in message
