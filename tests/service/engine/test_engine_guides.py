"""Continuations that must spell something: what they may say, drawn as defined, in any company."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from models.config import ModelConfig
from service.engine.engine import Engine
from service.engine.request import (
    EngineRequest,
    Floats,
    Grammar,
    Guide,
    SamplingParams,
    TokenChoices,
)
from service.engine.runners.base import StateLayout
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.sampling.draw import stream_key, uniform
from service.engine.sampling.guides import Guides, allowed_tokens
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from tests.service.engine.driving import Result, make_engine, run
from tests.service.engine.exact_sampling import exact_draw
from tests.service.engine.small_models import Oracle, random_weights

pytest.importorskip("llguidance", reason="the extra 'guided' is not installed")

END = 1
SPELLINGS = [b"", b"", b"\n", b" ", *(b"%c" % c for c in b"abcdefghij0123456789"), b" a", b"ab"]
CONFIG = ModelConfig(vocab_size=len(SPELLINGS), embedding_size=12, hidden_sizes=(20, 12))
PROMPTS = ((3, 4), (9, 9, 5))


def regex(pattern: str) -> Grammar:
    from llguidance import LLMatcher

    lark = f'%llguidance {{"no_forcing": true}}\nstart: /{pattern}/\n'
    return Grammar(LLMatcher.grammar_from_lark(lark))


GUIDES: dict[str, tuple[Guide, ...]] = {
    "choices": (TokenChoices(((4, 5), (4, 6, 7), (10,))), TokenChoices(((5,), (6, 6, 6, 6)))),
    "grammars": (regex("(ab|[0-9]{2})*c"), regex("[a-j]{3,9}")),
}


@pytest.fixture(scope="module")
def runner() -> OnnxRunner:
    return OnnxRunner(CONFIG, random_weights(CONFIG), arithmetic="fp32", max_rows=12)


def guided(name: str, request_id: str = "r", **fields: Any) -> EngineRequest:
    sampling = SamplingParams(
        guides=GUIDES[name], stop_token_ids=(END,), max_tokens=12, n=3, logprobs=2, **fields
    )
    return EngineRequest(request_id=request_id, prompts=PROMPTS, sampling=sampling)


def new_engine(runner: OnnxRunner, rows: int = 12, burst_s: float = 0) -> Engine:
    return Engine(
        runner,
        Scheduler(rows),
        StateCache(1 << 20),
        spellings=SPELLINGS,
        burst_s=burst_s,
        clock=count().__next__,
    )


SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"top_k": 2, "seed": 5},
    {"top_p": 0.7, "seed": 6, "temperature": 1.5},
    {"repetition_penalty": 1.4, "logit_bias": {5: 1.0}},
]


@pytest.mark.parametrize("name", GUIDES)
@pytest.mark.parametrize("fields", SETTINGS, ids=str)
def test_each_token_is_drawn_as_defined_from_those_that_the_guide_allows(
    runner: OnnxRunner, name: str, fields: dict[str, Any]
) -> None:
    request = guided(name, **fields)
    (result,) = run(new_engine(runner), request)
    assert result.error is None
    oracle = Oracle(CONFIG, random_weights(CONFIG))
    params = request.sampling
    assert params is not None
    for (prompt, sample), tokens in result.tokens.items():
        state = Guides(SPELLINGS).begin(GUIDES[name][prompt])
        key, text = stream_key(params.seed, prompt, sample), list(PROMPTS[prompt])
        for position, token in enumerate(tokens):
            mask = allowed_tokens(state, np.array([END]))
            head = oracle.read(text).logprobs[-1]
            open_to_it = SamplingParams(
                allowed_token_ids=tuple(np.flatnonzero(mask).tolist()), **fields
            )
            expected = exact_draw(
                logits_of(oracle, head, text),
                open_to_it,
                lambda attempt, key=key, at=position: uniform(key, at, attempt),  # type: ignore[misc]
                PROMPTS[prompt],
                text[len(PROMPTS[prompt]) :],
            )
            assert token.token_id == expected
            assert token.logprob == pytest.approx(head[token.token_id], abs=1e-4), "the model's own"
            assert [each for each, _ in token.top] == np.argsort(-head)[:2].tolist()
            state.advance(token.token_id)
            text.append(token.token_id)
        if tokens[-1].finish_reason == "stop":
            assert mask[END], "it ends where a sentence may end"


def logits_of(oracle: Oracle, head: Floats, text: list[int]) -> Floats:
    """Unnormalised, for a repetition penalty looks at their signs."""
    features = oracle.read(text).states[-1][StateLayout.of(CONFIG).slices()["features"]]
    logits = oracle.model.logits(torch.from_numpy(features)[None])[0].detach().numpy()
    assert np.allclose(logits - np.log(np.exp(logits).sum()), head)
    result: Floats = logits.astype(np.float32)
    return result


@pytest.mark.parametrize("name", GUIDES)
def test_bursts_and_company_change_no_bit(runner: OnnxRunner, name: str) -> None:
    requests = [guided(name, str(seed), seed=seed) for seed in range(3)]
    alone = [run(new_engine(runner, 1), request)[0].bits() for request in requests]
    free = EngineRequest(
        request_id="free", prompts=((2,),), sampling=SamplingParams(max_tokens=50, n=3)
    )
    for burst_s in (0, 9):
        results = run(new_engine(runner, burst_s=burst_s), *requests, free)
        assert [result.bits() for result in results[:3]] == alone
        assert results[3].bits() == run(make_engine(runner, 1), free)[0].bits()


def test_outputs_told_in_bursts_are_those_told_token_by_token(runner: OnnxRunner) -> None:
    engine, told = new_engine(runner, burst_s=9), Result()
    engine.add_request(guided("grammars"))
    most = 0
    while engine.has_work:
        for output in engine.step():
            most = max(most, len(output.tokens))
            told.add(output)
    assert most > 6, "several tokens of six continuations came at once"
    assert told.bits() == run(new_engine(runner), guided("grammars"))[0].bits()


def test_a_grammar_that_is_none_is_refused_before_any_work(runner: OnnxRunner) -> None:
    engine = new_engine(runner)
    sampling = SamplingParams(guides=(Grammar("{"),))
    with pytest.raises(ValueError, match="no usable grammar"):
        engine.add_request(EngineRequest(request_id="r", prompts=((3,),), sampling=sampling))
    assert not engine.has_work


def test_a_guide_that_other_settings_forbid_is_named_as_its_request_names_it(
    runner: OnnxRunner,
) -> None:
    guide = TokenChoices(((4,),), "guided_choice")
    sampling = SamplingParams(guides=(guide,), bad_words=((4,),))
    request = EngineRequest(request_id="r", prompts=((3,),), sampling=sampling)
    (found,) = run(new_engine(runner), request)
    assert found.error == "no token is left by bad_words and guided_choice"
    assert guide == TokenChoices(((4,),)), "who asked is no part of what is asked"
