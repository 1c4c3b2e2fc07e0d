"""Streams that go on for a while by themselves: the same tokens, told less often."""

from __future__ import annotations

from itertools import count

import pytest

from service.engine.engine import Engine
from service.engine.request import EngineRequest, RequestOutput, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from tests.service.engine.driving import make_engine, run, some_start, stream

LENGTH = 10  # tokens of a burst: the clock of these tests ticks once a token


def bursting(runner: OnnxRunner, max_num_seqs: int = 6) -> Engine:
    ticks = count()
    return Engine(
        runner,
        Scheduler(max_num_seqs),
        StateCache(1 << 20),
        burst_s=LENGTH,
        clock=lambda: next(ticks),
    )


def sizes(outputs: list[RequestOutput]) -> list[int]:
    return [len(output.tokens) for output in outputs]


def test_a_stream_is_told_in_bursts_after_its_first_tokens(runner: OnnxRunner) -> None:
    engine = bursting(runner)
    engine.add_request(stream("r", max_tokens=40))
    told = []
    while engine.has_work:
        told += sizes(engine.step())
    assert told[0] == 1, "the first token is not kept back"
    assert sum(told) == 40
    assert max(told) == LENGTH
    assert len(told) < 10


@pytest.mark.parametrize("stops", [(), (4, 5, 6)])
def test_a_burst_ends_with_any_continuation_of_it(
    runner: OnnxRunner, stops: tuple[int, ...]
) -> None:
    sampling = SamplingParams(max_tokens=30, n=5, stop_token_ids=stops, logprobs=2, top_k=20)
    request = EngineRequest(request_id="r", prompts=((1, 2), (3,)), sampling=sampling)
    (expected,) = run(make_engine(runner), request)
    (found,) = run(bursting(runner), request)
    assert found.bits() == expected.bits()


def test_a_burst_ends_when_somebody_waits(runner: OnnxRunner) -> None:
    engine = bursting(runner)
    engine.add_request(stream("r"))
    for _ in range(3):
        engine.step()
    asked = count()
    (output,) = engine.step(lambda: next(asked) == 2)
    assert len(output.tokens) == 3  # that of the step itself, and two more
    engine.abort("r")
    assert not engine.scheduler.running


def test_there_are_no_bursts_while_others_wait_for_rows_or_are_read(runner: OnnxRunner) -> None:
    engine = bursting(runner, max_num_seqs=2)
    engine.add_request(stream("a", max_tokens=20))
    engine.add_request(stream("b", max_tokens=20))
    for _ in range(4):
        engine.step()
    engine.add_request(stream("c"))
    assert sizes(engine.step()) == [1, 1]
    engine.abort("a")
    text = EngineRequest(request_id="text", prompts=((9,) * 9,), prompt_logprobs=0)
    engine.step()
    engine.abort("b")
    engine.add_request(text)
    while "text" in {sequence.request_id for sequence in engine.scheduler.running} or (
        engine.scheduler.num_waiting
    ):
        assert max(sizes(engine.step())) <= 1


def test_a_long_text_is_read_for_as_long_and_no_longer_when_somebody_waits(
    runner: OnnxRunner,
) -> None:
    length, prompt = runner.sequence_length, tuple(k % 50 for k in range(1000))
    engine = bursting(runner)
    engine.add_request(EngineRequest(request_id="text", prompts=(prompt,), prompt_logprobs=0))
    engine.step()
    assert engine.counters.step_rows == LENGTH * length + 1
    engine.step(lambda: True)
    assert engine.counters.step_rows == (LENGTH + 1) * length + 2


def test_settings_that_come_to_exclude_every_token_end_a_burst(runner: OnnxRunner) -> None:
    """A bad word that forbids the only token allowed, once it has been drawn often enough."""
    sampling = SamplingParams(max_tokens=30, allowed_token_ids=(3,), bad_words=((3,) * 9,))
    request = EngineRequest(
        request_id="r", prompts=((),), start=some_start(runner), sampling=sampling
    )
    (found,) = run(bursting(runner), request)
    assert found.ids() == [3] * 8
    assert found.error == "no token is left by allowed_token_ids and bad_words"
