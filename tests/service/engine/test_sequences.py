"""Sequences in an engine whose kernel gives numbers that are not finite, or counts its work."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.config import ModelConfig
from service.engine.engine import Engine
from service.engine.progress import NOT_FINITE
from service.engine.request import EngineRequest, Floats, NextToken, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from tests.service.engine.driving import make_engine, run, run_one
from tests.service.engine.small_models import SHAPES, random_weights

Spoil = Callable[[Floats], None]


def all_nan(logprobs: Floats) -> None:
    logprobs[:] = np.nan


def one_infinite(logprobs: Floats) -> None:
    """What a softmax makes of a logit that is infinite."""
    logprobs[:] = -np.inf
    logprobs[:, 5] = np.nan


class DamagedRunner(OnnxRunner):
    """Gives good numbers for `healthy` distributions, then bad ones."""

    def __init__(self, spoil: Spoil, healthy: int) -> None:
        config, self.healthy = SHAPES["tied"], 1 << 30
        super().__init__(config, random_weights(config), arithmetic="fp32", max_rows=6)
        self.spoil, self.healthy, self.sequence_length = spoil, healthy, 0

    def logprobs(self, rows: NDArray[np.int64]) -> Floats:
        logprobs = super().logprobs(rows)
        self.healthy -= 1
        if self.healthy < 0:
            self.spoil(logprobs)
        return logprobs


REQUESTS: dict[str, dict[str, Any]] = {
    "greedy": {"sampling": SamplingParams(temperature=0, max_tokens=9)},
    "pure": {"sampling": SamplingParams(max_tokens=9, n=2)},
    "nucleus": {"sampling": SamplingParams(max_tokens=9, top_p=0.5, logprobs=2)},
    "best": {"sampling": SamplingParams(max_tokens=9, top_k=3, repetition_penalty=1.2)},
    "beams": {"sampling": SamplingParams(max_tokens=9, beam_width=3)},
    "scores": {"prompt_logprobs": 1},
    "next token": {"next_token": NextToken(full=True)},
}


@pytest.mark.parametrize("fields", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("spoil", [all_nan, one_infinite])
@pytest.mark.parametrize("healthy", [0, 1])
def test_numbers_that_are_not_finite_end_the_request_and_are_never_served(
    fields: dict[str, Any], spoil: Spoil, healthy: int
) -> None:
    prompt = (1, 2, 3) if "prompt_logprobs" in fields or not healthy else (1, 2)
    if "next_token" in fields:
        healthy = 0
    engine = make_engine(DamagedRunner(spoil, healthy))
    request = EngineRequest(request_id="r", prompts=(prompt,), **fields)
    (result,) = run(engine, request)
    assert result.error == NOT_FINITE
    for tokens in result.tokens.values():
        assert len(tokens) <= healthy
        assert all(math.isfinite(token.logprob) for token in tokens)
        assert all(math.isfinite(value) for token in tokens for _, value in token.top)
    assert not result.prompts


POISON = 60  # a token


class PoisonedRunner(OnnxRunner):
    """A row that is fed a certain token has a state that is not finite from then on."""

    def __init__(self) -> None:
        config = SHAPES["tied"]
        super().__init__(config, random_weights(config), arithmetic="fp32", max_rows=8)
        self.sequence_length = 0

    def step(self, ids: NDArray[np.int64]) -> None:
        super().step(ids)
        for name in self.layout.slices():
            self._buffers_of(name)[np.flatnonzero(ids == POISON)] = np.nan


@pytest.mark.parametrize("burst_s", [0, 1.0])
def test_rows_that_are_damaged_end_their_requests_and_leave_the_others_alone(
    burst_s: float,
) -> None:
    sampling = SamplingParams(n=2, max_tokens=40, suppressed_token_ids=(POISON,), logprobs=2)
    sound = [
        EngineRequest(request_id="stream", prompts=((1, 2),), sampling=sampling),
        EngineRequest(request_id="text", prompts=((3, 4, 5),) * 2, prompt_logprobs=1),
    ]
    damaged = [
        EngineRequest(request_id=name, prompts=((1, 2, POISON, 9),), **fields)
        for name, fields in REQUESTS.items()
    ]
    damaged += [EngineRequest(request_id="state", prompts=((7, POISON, 3),), state_at=(2,))]
    runner = PoisonedRunner()
    alone = [run(make_engine(runner), request)[0] for request in sound]
    engine = make_engine(runner, burst_s=burst_s)
    results = run(engine, *sound, *damaged)
    assert [r.bits() for r in results[:2]] == [r.bits() for r in alone]
    for result in results[2:]:
        assert result.error is not None
        assert not result.prompts
        assert not result.tokens
    # Nothing that is not finite was kept for who comes later.
    (after,) = run(
        engine, EngineRequest(request_id="later", prompts=((1, 2, 3),), prompt_logprobs=0)
    )
    assert after.error is None


# What one request may cost: orders of magnitude, with room for a busy machine


@pytest.fixture(scope="module")
def wide() -> OnnxRunner:
    """A small network over a vocabulary of the usual size, with the usual number of rows."""
    config = ModelConfig(vocab_size=8192, embedding_size=16, hidden_sizes=(16,))
    return OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=128)


HEAVY: dict[str, dict[str, Any]] = {
    "biases and a repetition penalty": {
        "sampling": SamplingParams(
            n=16, max_tokens=32, logit_bias=dict.fromkeys(range(8192), 0.1), repetition_penalty=1.2
        )
    },
    "long bad words": {
        "sampling": SamplingParams(
            n=64, max_tokens=32, bad_words=tuple((k, *[9] * 500, 7) for k in range(256))
        )
    },
    "beams with stop tokens": {
        "sampling": SamplingParams(beam_width=128, max_tokens=8, stop_token_ids=tuple(range(8000)))
    },
    "states of many continuations": {
        "prompts": (tuple(range(8000)) * 2,),
        "keep_states": True,
        "sampling": SamplingParams(n=128, max_tokens=16),
    },
}


@pytest.mark.parametrize("fields", HEAVY.values(), ids=HEAVY.keys())
def test_no_combination_of_settings_costs_more_than_its_tokens(
    wide: OnnxRunner, fields: dict[str, Any]
) -> None:
    """Each took minutes of the processor when settings were gone through again at every token."""
    plain = SamplingParams(
        n=fields["sampling"].beam_width or fields["sampling"].n,
        max_tokens=fields["sampling"].max_tokens,
    )
    prompts = fields.get("prompts", ((1, 2, 3),))
    engine = Engine(wide, Scheduler(128), StateCache(64 << 20))
    spent = []
    for own in ({"sampling": plain}, fields):
        begin = time.process_time()
        run_one(engine, **{"prompts": prompts, **own})
        spent.append(time.process_time() - begin)
    assert spent[1] < 25 * spent[0] + 3  # minutes before; slow machines have their share
