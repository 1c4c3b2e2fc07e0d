"""A short request beside work that once starved it: how much is computed until its answer."""

from __future__ import annotations

from typing import Any

import pytest

from service.engine.engine import Engine
from service.engine.request import EngineRequest, NextToken, Priority, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from tests.service.engine.small_models import SHAPES, random_weights

ROWS = 128
VOCAB = SHAPES["tied"].vocab_size
EVERY = tuple(range(VOCAB))
LONG = tuple(token % VOCAB for token in range(900))

HEAVY: dict[str, list[dict[str, Any]]] = {
    "n=128 of a long prompt": [{"prompts": (LONG,), "sampling": {"n": 128}}],
    "its states kept": [{"prompts": (LONG,), "sampling": {"n": 128}, "keep_states": True}],
    "four clients with n=128": [{"sampling": {"n": 128}}] * 4,
    "128 beams": [{"sampling": {"n": 1, "beam_width": 128}}],
    "128 beams and many stop ids": [
        {"sampling": {"n": 1, "beam_width": 128, "stop_token_ids": EVERY[10:]}}
    ],
    "every token biased": [
        {"sampling": {"n": 64, "logit_bias": dict.fromkeys(EVERY, 0.1), "repetition_penalty": 1.1}}
    ],
    "long bad words": [{"sampling": {"n": 64, "bad_words": tuple(LONG[k:] for k in range(99))}}],
    "many long texts": [
        {
            "prompts": tuple((k % VOCAB, k // VOCAB, *LONG) for k in range(300)),
            "prompt_logprobs": 0,
            "priority": Priority.BULK,
        }
    ],
}


@pytest.fixture(scope="module")
def wide() -> OnnxRunner:
    config = SHAPES["tied"]
    return OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=ROWS)


def ask(engine: Engine, name: str, prompt: tuple[int, ...]) -> tuple[int, int]:
    """(steps, rows fed) until a short request is answered."""
    before = engine.counters.steps, engine.counters.step_rows
    engine.add_request(
        EngineRequest(request_id=name, prompts=(prompt,), next_token=NextToken(top_k=5))
    )
    answered = False
    while not answered:
        outputs = engine.step()
        answered = any(each.request_id == name and each.finished for each in outputs)
    return engine.counters.steps - before[0], engine.counters.step_rows - before[1]


@pytest.mark.parametrize("requests", HEAVY.values(), ids=HEAVY.keys())
def test_short_requests_wait_for_few_rows(wide: OnnxRunner, requests: list[dict[str, Any]]) -> None:
    """Beside its own row there are only a few in each step, and there is no step without it."""
    engine = Engine(wide, Scheduler(ROWS), StateCache(1 << 20))
    alone_steps, alone_rows = ask(engine, "alone", (1, 2, 3, 4))
    assert (alone_steps, alone_rows) == (4, 4)
    for number, fields in enumerate(requests):
        given = {"prompts": ((5, 6),), **fields}
        if "sampling" in given:
            given["sampling"] = SamplingParams(**{"max_tokens": 5000, **given["sampling"]})
        engine.add_request(EngineRequest(request_id=f"heavy {number}", **given))
    for _ in range(5):
        engine.step()
    is_bulk = requests[0].get("priority") is Priority.BULK
    most = engine.scheduler.bulk_rows if is_bulk else 2 * engine.scheduler.wide_rows
    for number in range(20):
        steps, rows = ask(engine, f"short {number}", (number, 2, 3, 4))
        assert steps == alone_steps
        assert rows <= alone_rows + steps * most
        engine.step()
    assert engine.scheduler.has_work, "the heavy work outlasts them"
