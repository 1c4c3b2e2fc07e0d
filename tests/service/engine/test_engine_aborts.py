"""Requests and samples that end before their time."""

from __future__ import annotations

from service.engine.request import EngineRequest, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from tests.service.engine.driving import Result, make_engine, run, some_start, stream


def test_an_aborted_requests_rows_are_free_in_the_next_step(runner: OnnxRunner) -> None:
    engine = make_engine(runner, 2)
    engine.add_request(stream("gone", n=2))
    for _ in range(5):
        engine.step()
    engine.add_request(stream("next", n=2))
    assert [u.request_id for u in engine.scheduler.running] == ["gone", "gone"]
    engine.abort("gone")
    assert engine.scheduler.running == []
    outputs = [output for _ in range(3) for output in engine.step()]
    assert {output.request_id for output in outputs} == {"next"}
    assert {t.sample for output in outputs for t in output.tokens} == {0, 1}


def test_aborting_what_is_unknown_or_over_does_nothing(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    engine.abort("unknown")
    run(engine, stream("over", max_tokens=2))
    engine.abort("over")
    assert not engine.has_work


def test_an_aborted_request_says_nothing_more(runner: OnnxRunner) -> None:
    engine = make_engine(runner)
    engine.add_request(stream("gone", start=some_start(runner)))  # may have news before any step
    engine.abort("gone")
    assert engine.step() == []
    assert not engine.has_work


def test_a_stopped_sample_leaves_the_others_going(runner: OnnxRunner) -> None:
    (expected,) = run(make_engine(runner), stream("r", max_tokens=9, n=3))
    for max_num_seqs in (1, 6):  # waiting or running when it is stopped
        engine, result = make_engine(runner, max_num_seqs), Result()
        engine.add_request(stream("r", max_tokens=9, n=3))
        stopped = False
        while engine.has_work:
            for output in engine.step():
                result.add(output)
            if not stopped and len(result.tokens) == 3:
                engine.stop_sample("r", 0, 1)
                stopped = True
        assert result.finished
        assert result.error is None
        assert len(result.tokens[0, 1]) < 9
        assert result.tokens[0, 1][-1].finish_reason is None
        assert result.tokens[0, 1] == expected.tokens[0, 1][: len(result.tokens[0, 1])]
        assert all(result.tokens[0, k] == expected.tokens[0, k] for k in (0, 2))


def test_a_request_whose_last_sample_is_stopped_is_finished(runner: OnnxRunner) -> None:
    engine, result = make_engine(runner), Result()
    engine.add_request(stream("r"))
    while not result.tokens:
        for output in engine.step():
            result.add(output)
    engine.stop_sample("r", 0, 0)
    assert engine.has_work
    for output in engine.step():
        result.add(output)
    assert result.finished
    assert not engine.has_work
    engine.stop_sample("r", 0, 0)
    engine.stop_sample("unknown", 0, 0)
    assert not engine.has_work


def test_stopping_a_sample_of_a_request_that_has_failed_does_nothing(runner: OnnxRunner) -> None:
    engine, sampling = make_engine(runner), SamplingParams(allowed_token_ids=())
    start = some_start(runner)
    engine.add_request(EngineRequest(request_id="r", prompts=((),), start=start, sampling=sampling))
    engine.stop_sample("r", 0, 0)
    (output,) = engine.step()
    assert output.error is not None
    assert not engine.has_work
