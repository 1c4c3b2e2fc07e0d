"""Requests beside one another, faults, and every shape."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from models.config import ModelConfig
from service.engine.engine import Engine
from service.engine.request import EngineRequest, Priority, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from tests.service.engine.driving import make_engine, run, run_one, some_start, stream
from tests.service.engine.small_models import random_weights


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (SamplingParams(allowed_token_ids=()), "allowed_token_ids"),
        (
            SamplingParams(allowed_token_ids=(3,), bad_words=((3, 3),), n=2),
            "allowed_token_ids and bad_words",
        ),
        (
            SamplingParams(
                allowed_token_ids=(3, 4), stop_token_ids=(3, 4), min_tokens=1, top_p=0.5
            ),
            "allowed_token_ids and min_tokens",
        ),
        (SamplingParams(allowed_token_ids=(), beam_width=2), "allowed_token_ids"),
        (
            SamplingParams(allowed_token_ids=(3,), bad_words=((3, 3),), beam_width=2),
            "allowed_token_ids and bad_words",
        ),
    ],
    ids=["nothing", "a dead end", "stops too early", "beams", "a dead end for beams"],
)
def test_settings_that_exclude_every_token_fail_alone(
    runner: OnnxRunner, params: SamplingParams, named: str
) -> None:
    other = EngineRequest(
        request_id="other", prompts=((1, 2),), prompt_logprobs=1, sampling=SamplingParams(n=2)
    )
    (expected,) = run(make_engine(runner), other)
    for start in (None, some_start(runner)):
        prompts = ((5, 6),) if start is None else ((),)
        failing = EngineRequest(request_id="failing", prompts=prompts, start=start, sampling=params)
        failed, unharmed = run(make_engine(runner, 3), failing, other)
        assert failed.error == f"no token is left by {named}"
        assert unharmed.bits() == expected.bits()


def test_what_cannot_be_computed_is_refused_and_leaves_nothing(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    with pytest.raises(ValueError, match="token id 9999"):
        engine.add_request(EngineRequest(request_id="r", prompts=((9999,),)))
    assert not engine.has_work
    assert engine.step() == []


def test_a_request_that_asks_nothing_is_finished_all_the_same(runner: OnnxRunner) -> None:
    result = run_one(make_engine(runner), prompts=((1, 2), (1, 3)))
    assert result.bits() == {"end": (True, None)}


def test_bulk_scoring_does_not_stall_a_stream(runner: OnnxRunner) -> None:
    """A token a step for the stream, however much there is to score."""
    engine = make_engine(runner, 4)
    texts = tuple((k, *range(30)) for k in range(20))
    engine.add_request(
        EngineRequest(request_id="bulk", prompts=texts, prompt_logprobs=0, priority=Priority.BULK)
    )
    for _ in range(3):
        engine.step()
    engine.add_request(stream("stream", max_tokens=12))
    steps = [engine.step() for _ in range(14)]
    tokens = [sum(len(o.tokens) for o in step if o.request_id == "stream") for step in steps]
    assert tokens == [0, *[1] * 12, 0]


def test_long_texts_take_many_tokens_a_step(runner: OnnxRunner) -> None:
    """While nothing else waits for a step; `sequence_length` tokens and the step's own."""
    engine, size = make_engine(runner), runner.sequence_length
    prompt = tuple(k % 50 for k in range(40 * (size + 1)))
    run_one(engine, prompts=(prompt,), prompt_logprobs=0)
    assert engine.counters.steps < 50
    assert engine.counters.step_rows == len(prompt)


def test_outputs_say_when_they_are_the_last(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    engine.add_request(stream("r", max_tokens=5))
    outputs = []
    while engine.has_work:
        outputs += engine.step()
    assert [output.finished for output in outputs] == [False] * 4 + [True]
    assert [len(output.tokens) for output in outputs] == [1] * 5
    assert all(not a.finished for a, _ in pairwise(outputs))


def test_how_long_a_request_waited_is_told_once(runner: OnnxRunner) -> None:
    """To the first step of it, on the engine's own clock; the second one waits for the first."""
    now = 0.0
    engine = Engine(runner, Scheduler(1), StateCache(0), clock=lambda: now)
    for request_id in ("first", "second"):
        engine.add_request(replace(stream(request_id, max_tokens=3), arrived=0.0))
    engine.add_request(stream("unasked", max_tokens=3))
    told: dict[str, list[float | None]] = {"first": [], "second": [], "unasked": []}
    while engine.has_work:
        now += 1
        for output in engine.step():
            told[output.request_id].append(output.queued_s)
    assert told["first"] == [1.0, None, None]
    waited, *later = told["second"]
    assert waited is not None
    assert waited > 1
    assert later == [None, None]
    assert told["unasked"] == [None] * 3


def test_every_shape_is_served(config: ModelConfig) -> None:
    """A kernel of a single row is enough for everything."""
    runner = OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=1)
    params = SamplingParams(beam_width=2, n=2, max_tokens=2)
    result = run_one(
        make_engine(runner), prompts=((1, 2), (3,)), prompt_logprobs=1, sampling=params
    )
    assert len(result.prompts) == 2
    assert len(result.tokens) == 4
