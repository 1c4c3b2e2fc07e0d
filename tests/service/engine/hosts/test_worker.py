"""The loop around an engine, with commands that are given beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from models.config import ModelConfig
from service.engine.hosts import worker
from service.engine.hosts.commands import Abort, Add, Command, Quit, StopSample
from service.engine.hosts.worker import stats_of, work
from service.engine.request import EngineRequest, RequestOutput, SamplingParams
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.stats import EngineStats
from tests.service.engine.asking import endless
from tests.service.engine.driving import Result, make_engine
from tests.service.engine.small_models import random_weights

CONFIG = ModelConfig(vocab_size=30, embedding_size=4, hidden_sizes=(4,))


class Script:
    """A channel that gives the commands of one step after the other, and Quit when all is done.

    sent: what came back, with the numbers. sleeps: how often the worker waited for a command.
    """

    def __init__(self, *steps: list[Command]) -> None:
        self._steps = [list(step) for step in steps]
        self.sent: list[tuple[list[RequestOutput], EngineStats]] = []
        self.sleeps = 0

    def receive(self, *, wait: bool) -> Command | None:
        self.sleeps += wait
        if self._steps and self._steps[0]:
            return self._steps[0].pop(0)
        if self._steps:
            self._steps.pop(0)
        if wait:
            return self._steps[0].pop(0) if self._steps else Quit()
        return None

    def has_command(self) -> bool:
        return bool(self._steps and self._steps[0])

    def send(self, outputs: list[RequestOutput], stats: EngineStats) -> None:
        self.sent.append((outputs, stats))

    @property
    def outputs(self) -> list[RequestOutput]:
        return [output for outputs, _ in self.sent for output in outputs]


def serve(*steps: list[Command]) -> Script:
    runner = OnnxRunner(CONFIG, random_weights(CONFIG), arithmetic="fp32", max_rows=4)
    script = Script(*steps)
    work(make_engine(runner), script)
    return script


def short(request_id: str, **fields: Any) -> EngineRequest:
    sampling = SamplingParams(max_tokens=2, **fields)
    return EngineRequest(request_id=request_id, prompts=((1,),), sampling=sampling)


def test_requests_are_served_until_told_to_quit() -> None:
    script = serve([Add((short("a"),)), Add((short("b"),))])
    results = {"a": Result(), "b": Result()}
    for output in script.outputs:
        results[output.request_id].add(output)
    assert all(result.finished and len(result.ids()) == 2 for result in results.values())


def test_a_request_that_cannot_be_computed_is_answered_with_its_fault() -> None:
    script = serve([Add((short("bad", top_p=2.0),)), Add((short("good"),))])
    errors = {output.request_id: output.error for output in script.outputs if output.finished}
    assert errors["bad"] is not None
    assert "top_p must be between 0 and 1" in errors["bad"]
    assert errors["good"] is None


def test_an_aborted_request_is_gone_from_the_numbers_at_once() -> None:
    script = serve([Add((endless(),))], [], [Abort(("endless",))])
    assert [sum(map(s.gauges.__getitem__, ("running", "waiting"))) for _, s in script.sent] == [
        1,
        1,
        0,
    ]
    assert not script.sent[-1][0]


def test_a_stopped_sample_ends_a_request() -> None:
    script = serve([Add((endless(),))], [], [StopSample(("endless", 0, 0))])
    assert [output.finished for output in script.outputs] == [False, False, True]


def test_the_worker_sleeps_only_without_work() -> None:
    script = serve([Add((short("a"),))], [], [])
    assert len(script.outputs) == 2
    assert script.sleeps == 2  # before the request, and after it


def test_work_in_hand_is_left_when_told_to_quit() -> None:
    script = serve([Add((endless(),))], [], [Quit(), Add((short("late"),))])
    assert [output.request_id for output in script.outputs] == ["endless"] * 2


def test_numbers_tell_what_has_been_done() -> None:
    runner = OnnxRunner(CONFIG, random_weights(CONFIG), arithmetic="fp32", max_rows=4)
    engine = make_engine(runner)
    work(engine, Script([Add((short("a"),))]))
    counters, gauges = stats_of(engine).counters, stats_of(engine).gauges
    assert counters["generated_tokens"] == 2
    assert counters["steps"] == counters["step_rows"] == 2
    assert (gauges["running"], gauges["waiting"]) == (0, 0)
    assert gauges["cache_bytes"] == engine.cache.num_bytes


@pytest.mark.parametrize("seconds", [0, 60])
def test_the_cache_is_checked_when_idle_but_not_after_every_request(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_CHECK_EVERY_S", seconds)
    runner = OnnxRunner(CONFIG, random_weights(CONFIG), arithmetic="fp32", max_rows=4)
    engine, script = make_engine(runner), Script([Add((short("a"),))])
    engine.cache.num_bytes += 1
    if seconds:
        work(engine, script)
    else:
        with pytest.raises(AssertionError):
            work(engine, script)
    assert script.outputs[-1].finished, "the client does not wait for the check"
