"""What cannot be computed is refused by a message that names the field; the rest is let through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.engine.request import EngineRequest, NextToken, SamplingParams, check_request
from service.engine_state import EngineState

VOCAB, STATE_SIZE = 10, 6
START = EngineState(np.zeros(STATE_SIZE, np.float32))


def check(**fields: Any) -> None:
    fields = {"prompts": ((1, 2, 3),), **fields}
    check_request(EngineRequest(request_id="r", **fields), VOCAB, STATE_SIZE)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompts": ((0,), (9,), (0,))},
        {"prompts": ((),), "start": START},
        {"score_from": (3,), "state_at": (None,)},
        {"score_from": (0,), "state_at": (3,)},
        {"prompt_logprobs": 0, "next_token": NextToken()},
        {"next_token": NextToken(top_k=1000, token_ids=(9, 9), full=True)},
    ],
    ids=str,
)
def test_what_can_be_computed_passes(fields: dict[str, Any]) -> None:
    check(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompts": ()}, "prompts must not be empty"),
        ({"prompts": ((1,), ())}, r"prompts\[1\] is empty and there is no start state"),
        ({"prompts": ((1,), (1, 10))}, r"prompts\[1\]: token id 10 is outside 0\.\.9"),
        ({"prompts": ((-1,),)}, r"prompts\[0\]: token id -1"),
        ({"start": EngineState(START.vector[1:])}, "start must have 6 floats"),
        pytest.param(
            {"start": EngineState(START.vector + np.nan)}, "start holds numbers", id="nan"
        ),
        pytest.param(
            {"start": EngineState(START.vector - np.inf)}, "start holds numbers", id="infinity"
        ),
        ({"score_from": (1, 1)}, r"score_from needs an entry a prompt \(1\)"),
        ({"state_at": (1, 1)}, r"state_at needs an entry a prompt \(1\)"),
        ({"score_from": (4,)}, r"score_from\[0\] is 4"),
        ({"state_at": (-1,)}, r"state_at\[0\] is -1"),
        ({"prompt_logprobs": -1}, "prompt_logprobs must be at least 0"),
        ({"next_token": NextToken(token_ids=(10,))}, r"next_token.token_ids: token id 10"),
        ({"next_token": NextToken(top_k=-1)}, r"next_token.top_k must be at least 0"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0, "top_k": 10**9, "top_p": 1e-9, "min_p": 1, "typical_p": 1},
        {"logit_bias": {9: 100.0}, "allowed_token_ids": (), "min_tokens": 100},
        {"n": 3, "beam_width": 3, "length_penalty": -1},
        {"bad_words": ((1,), (1, 2)), "stop_token_ids": (0, 9)},
    ],
    ids=str,
)
def test_settings_that_make_sense_pass(fields: dict[str, Any]) -> None:
    check(sampling=SamplingParams(**fields))


NAN = float("nan")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        *(({name: 0}, f"{name} must be at least 1") for name in ("max_tokens", "n")),
        *(({name: -1}, f"{name} must be at least 0") for name in ("min_tokens", "top_k")),
        ({"logprobs": -1}, "logprobs must be at least 0"),
        ({"temperature": -0.1}, "temperature must be between"),
        *(({name: NAN}, f"{name} must be between") for name in ("temperature", "min_p", "top_p")),
        *(({name: 0}, f"{name} must be above 0") for name in ("top_p", "typical_p")),
        *(({name: 1.1}, f"{name} must be between") for name in ("top_p", "typical_p", "min_p")),
        ({"repetition_penalty": 0}, "repetition_penalty must be between"),
        ({"presence_penalty": float("inf")}, "presence_penalty must be between"),
        ({"frequency_penalty": NAN}, "frequency_penalty must be between"),
        ({"length_penalty": NAN}, "length_penalty must be between"),
        ({"beam_width": 2, "n": 3}, r"beam_width \(2\) must be at least n \(3\)"),
        ({"logit_bias": {10: 1.0}}, "logit_bias: token id 10"),
        ({"logit_bias": {3: NAN}}, "logit_bias of token 3 must be between"),
        ({"logit_bias": {3: 1e39}}, "logit_bias of token 3 must be between"),
        ({"allowed_token_ids": (3, 10)}, "allowed_token_ids: token id 10"),
        ({"suppressed_token_ids": (-1,)}, "suppressed_token_ids: token id -1"),
        ({"stop_token_ids": (10,)}, "stop_token_ids: token id 10"),
        ({"bad_words": ((1,), ())}, "bad_words must not hold an empty sequence"),
        ({"bad_words": ((1, 10),)}, "bad_words: token id 10"),
    ],
    ids=str,
)
def test_settings_without_sense_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(sampling=SamplingParams(**fields))
