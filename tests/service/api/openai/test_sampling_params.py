"""From request fields to the engine's sampling parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.api.openai.requests import CompletionRequest
from service.api.openai.sampling_params import sampling_params
from service.engine.request import SamplingParams
from service.http.errors import ApiError
from service.served_model import ServedModel


def params(model: ServedModel, *, max_tokens: int = 16, **fields: Any) -> SamplingParams:
    return sampling_params(
        CompletionRequest(**fields),
        model,
        max_tokens=max_tokens,
        logprobs=None,
        end_ids=(model.tokenizer.eos_id,),
        seed=1,
    )


def test_defaults_are_openais(served: ServedModel) -> None:
    chosen = params(served)
    controls = set(served.tokenizer.control_ids.values())
    assert chosen == SamplingParams(
        seed=1,
        stop_token_ids=(served.tokenizer.eos_id,),
        suppressed_token_ids=tuple(
            token_id
            for token_id in served.tokenizer.control_ids.values()
            if token_id != served.tokenizer.eos_id
        ),
    )
    assert set(chosen.suppressed_token_ids) == controls - {served.tokenizer.eos_id}


def test_the_checkpoints_defaults_hold_where_the_request_sets_none(served: ServedModel) -> None:
    model = replace(served, sampling_defaults={"temperature": 0.7, "top_p": 0.9, "min_tokens": 2})
    assert params(model).temperature == 0.7
    chosen = params(model, temperature=1.0, top_p=None)
    assert (chosen.temperature, chosen.top_p, chosen.min_tokens) == (1.0, 0.9, 2)


def test_a_default_of_min_tokens_gives_way_to_a_smaller_max_tokens(served: ServedModel) -> None:
    model = replace(served, sampling_defaults={"min_tokens": 8})
    assert params(model, max_tokens=3).min_tokens == 3
    with pytest.raises(ApiError, match="min_tokens"):
        params(model, max_tokens=3, min_tokens=8)


@pytest.mark.parametrize(
    ("field", "given", "reached"),
    [
        ("temperature", 0.5, 0.5),
        ("top_p", 0.5, 0.5),
        ("top_k", 7, 7),
        ("top_k", -1, 0),
        ("min_p", 0.1, 0.1),
        ("typical_p", 0.5, 0.5),
        ("repetition_penalty", 1.2, 1.2),
        ("presence_penalty", -1, -1),
        ("frequency_penalty", 1, 1),
        ("min_tokens", 3, 3),
        ("logit_bias", {"17": 2.5}, {17: 2.5}),
        ("allowed_token_ids", [20, 21, 20], (20, 21)),
    ],
)
def test_a_field_reaches_the_engine(
    served: ServedModel, field: str, given: Any, reached: Any
) -> None:
    assert getattr(params(served, **{field: given}), field) == reached


def test_top_p_of_zero_still_keeps_a_token(served: ServedModel) -> None:
    assert 0 < params(served, top_p=0).top_p < 1e-6


def test_which_tokens_end_the_text(served: ServedModel) -> None:
    eos = served.tokenizer.eos_id
    assert params(served, stop_token_ids=[30, 31]).stop_token_ids == (eos, 30, 31)
    ignoring = params(served, stop_token_ids=[30], ignore_eos=True)
    assert ignoring.stop_token_ids == (30,)
    assert eos in ignoring.suppressed_token_ids


def test_of_the_control_tokens_only_those_that_end_a_text_are_generated(
    served: ServedModel,
) -> None:
    role, eos = served.tokenizer.control_ids["<|user|>"], served.tokenizer.eos_id
    assert role in params(served).suppressed_token_ids
    assert role not in params(served, stop_token_ids=[role]).suppressed_token_ids
    assert role in params(served, allowed_token_ids=[role, 40]).suppressed_token_ids
    for fields in ({"allowed_token_ids": [role]}, {"allowed_token_ids": [eos], "ignore_eos": True}):
        with pytest.raises(ApiError, match="leaves no token") as refusal:
            params(served, **fields)
        assert (refusal.value.param, refusal.value.code) == (
            "allowed_token_ids",
            "impossible_request",
        )
    ignoring = params(served, allowed_token_ids=[eos, 40], ignore_eos=True)
    assert eos in ignoring.suppressed_token_ids
    assert ignoring.stop_token_ids == ()


def test_biases_by_id_by_name_and_by_text(served: ServedModel) -> None:
    piece = served.tokenizer.piece_to_id
    the, e = piece("▁the"), piece("e")
    chosen = params(served, logit_bias={"40": 1, "▁the": 2, "e": 3, " a": 4})
    assert chosen.logit_bias == {40: 1, the: 2, e: 3, piece("▁a"): 4}
    assert params(served, logit_bias={" the": 2, "▁the": 2}).logit_bias == {the: 2}


def test_bad_words_in_both_places(served: ServedModel) -> None:
    encode = served.tokenizer.encode
    wanted = {tuple(encode("cat")), tuple(encode("cat", continuation=True))}
    assert set(params(served, bad_words=["cat"]).bad_words) == wanted
    assert set(params(served, bad_words=[" cat"]).bad_words) == wanted


def test_beams(served: ServedModel) -> None:
    model = replace(served, sampling_defaults={"temperature": 0.7})
    chosen = params(model, use_beam_search=True, n=2, best_of=5, length_penalty=0.5, temperature=1)
    assert (chosen.n, chosen.beam_width, chosen.length_penalty) == (2, 5, 0.5)
    assert chosen.temperature == 0
    assert params(served, n=2, best_of=5).n == 5


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop_token_ids": [5, 360]}, "stop_token_ids.1"),
        ({"allowed_token_ids": [360]}, "allowed_token_ids.0"),
        ({"logit_bias": {"360": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"1" * 5000: 1}}, "logit_bias"),
        ({"logit_bias": {"²": 1}}, "logit_bias"),
        ({"logit_bias": {"no such token": 1}}, "logit_bias"),
        ({"logit_bias": {"x" * 10**6: 1}}, "logit_bias"),
        ({"logit_bias": {" the": 2, "▁the": 3}}, "logit_bias"),
        ({"stop_token_ids": [2], "ignore_eos": True}, "stop_token_ids"),
        ({"min_tokens": 17}, "min_tokens"),
        ({"min_tokens": 1, "allowed_token_ids": [8], "stop_token_ids": [8]}, "min_tokens"),
        ({"length_penalty": 0.5}, "length_penalty"),
        ({"use_beam_search": True, "temperature": 0.5}, "temperature"),
        ({"use_beam_search": True, "top_p": 0.5}, "top_p"),
        ({"use_beam_search": True, "frequency_penalty": 0.5}, "frequency_penalty"),
    ],
)
def test_refusals_name_the_field(served: ServedModel, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        params(served, **fields)
    assert refusal.value.status_code == 400
    assert refusal.value.param == param
    assert refusal.value.message.startswith(param)


def test_negative_seeds_are_seeds_too(served: ServedModel) -> None:
    body = CompletionRequest(seed=-3)
    chosen = sampling_params(body, served, max_tokens=1, logprobs=None, end_ids=(), seed=-3)
    assert chosen.seed == 2**64 - 3
