"""An engine asked from many threads, each of which waits for its own answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from service.engine.engine import Engine
from service.engine.hosts.blocking import BlockingEngine
from service.engine.request import EngineRequest, NextToken, RequestOutput, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.asking import REQUESTS, endless
from tests.service.engine.driving import Result, make_engine, run
from tests.service.engine.small_models import SHAPES, random_weights


@pytest.fixture(scope="module")
def small() -> OnnxRunner:
    config = SHAPES["tied"]
    return OnnxRunner(config, random_weights(config), arithmetic="fp32", max_rows=6)


@pytest.fixture
def engine(small: OnnxRunner) -> Iterator[BlockingEngine]:
    blocking = BlockingEngine(make_engine(small))
    yield blocking
    blocking.close()


def result_of(outputs: Iterator[RequestOutput]) -> Result:
    result = Result()
    for output in outputs:
        result.add(output)
    return result


def test_the_bits_are_those_of_an_engine_driven_by_hand(
    engine: BlockingEngine, small: OnnxRunner
) -> None:
    """Queued at once, so that they advance together, and read one after the other."""
    streams = [engine.submit(request) for request in REQUESTS]
    found = [result_of(stream) for stream in streams]
    expected = run(make_engine(small), *REQUESTS)
    assert [each.bits() for each in found] == [each.bits() for each in expected]


def test_threads_that_choose_the_same_id_get_their_own_answers(engine: BlockingEngine) -> None:
    found: dict[int, list[int]] = {}

    def ask(seed: int) -> None:
        sampling = SamplingParams(max_tokens=20, seed=seed)
        request = EngineRequest(request_id="same", prompts=((1, 2),), sampling=sampling)
        found[seed] = result_of(engine.submit(request)).ids()

    expected = {}
    for seed in range(4):
        ask(seed)
        expected[seed] = found.pop(seed)
    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == expected


def test_computed_prompts_come_in_the_order_asked(engine: BlockingEngine) -> None:
    prompts = ((5, 6, 7), (5,), (5, 6))
    requests = [
        EngineRequest(request_id="", prompts=some, next_token=NextToken(full=True))
        for some in (prompts, prompts[::-1])
    ]
    first, second = engine.compute(requests)
    assert [output.index for output in first.prompts] == [0, 1, 2]
    for one, other in zip(first.prompts, second.prompts[::-1], strict=True):
        assert one.next_token is not None
        assert other.next_token is not None
        assert np.array_equal(one.next_token.full, other.next_token.full)  # type: ignore[arg-type]
    assert engine.compute([]) == []


def test_what_cannot_be_computed_is_a_value_error_and_harms_nobody(engine: BlockingEngine) -> None:
    with pytest.raises(ValueError, match="token id 1000000"):
        list(engine.submit(EngineRequest(request_id="bad", prompts=((10**6,),))))
    assert result_of(engine.submit(REQUESTS[1])).finished


def test_leaving_a_stream_aborts_it(engine: BlockingEngine) -> None:
    with closing(engine.submit(endless())) as outputs:  # type: ignore[type-var]
        next(outputs)
    assert result_of(engine.submit(REQUESTS[1])).finished
    assert engine._channel.outboxes == {}


def test_a_continuation_is_ended_by_the_id_that_its_outputs_tell(engine: BlockingEngine) -> None:
    outputs = engine.submit(endless("mine"))
    first = next(outputs)
    assert first.request_id != "mine"
    engine.stop_sample(first.request_id, 0, 0)
    *_, last = outputs
    assert (last.finished, last.error) == (True, None)


def test_a_closed_engine_answers_nothing_more(small: OnnxRunner) -> None:
    engine = BlockingEngine(make_engine(small))
    engine.close()
    engine.close()
    with pytest.raises(RuntimeError, match="the model is closed"):
        engine.submit(REQUESTS[0])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_who_waits_is_told_when_the_engine_fails(
    small: OnnxRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> list[RequestOutput]:
        raise MemoryError("too much")

    monkeypatch.setattr(Engine, "step", failing)
    engine = BlockingEngine(make_engine(small))
    with pytest.raises(RuntimeError, match="the engine failed") as failure:
        next(engine.submit(endless()))
    assert isinstance(failure.value.__cause__, MemoryError)
    with pytest.raises(RuntimeError, match="closed"):
        engine.submit(endless())
    for thread in threading.enumerate():
        if thread.name == "engine":
            thread.join(5)  # so that its end is seen here, and in no other test
