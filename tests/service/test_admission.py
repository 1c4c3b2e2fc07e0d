"""Who is let in, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.admission import Admission, QuotaError, Quotas, tokens_to_read
from service.engine.hosts.async_engine import QueueFullError
from service.engine.request import EngineRequest, Priority, SamplingParams


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def reading(size: int, priority: Priority = Priority.BULK) -> EngineRequest:
    return EngineRequest(request_id="r", prompts=((1,) * size,), priority=priority)


def test_work_beyond_the_bound_is_refused_before_it_begins(clock: Clock, stack: ExitStack) -> None:
    admission = Admission(max_wait_s=10, max_tokens=100, clock=clock)
    stack.enter_context(admission.admit(reading(150), waits=False))  # alone: its own bound holds
    with pytest.raises(QueueFullError, match="limit is 100"):
        stack.enter_context(admission.admit(reading(1), waits=False))
    stack.enter_context(admission.admit(reading(1), waits=True))  # goes on with what is done
    stack.close()
    assert sum(admission.num_left.values()) == 0
    with admission.admit(reading(99), waits=False):
        pass


def test_a_wait_is_measured_and_told(clock: Clock, stack: ExitStack) -> None:
    admission = Admission(max_wait_s=10, max_tokens=10**9, clock=clock)
    ticket = stack.enter_context(admission.admit(reading(5000), waits=False))
    assert admission.tokens_per_s is None
    clock.now += 4
    admission.done(ticket, 400)
    assert admission.tokens_per_s == 100
    assert admission.wait_s(Priority.BULK) == 46
    with pytest.raises(QueueFullError, match="about 46 s, the limit is 10 s") as refusal:
        stack.enter_context(admission.admit(reading(5000), waits=False))
    assert refusal.value.retry_after == 23


def test_short_requests_do_not_wait_for_bulk_work(clock: Clock, stack: ExitStack) -> None:
    admission = Admission(max_wait_s=10, max_tokens=10**9, clock=clock)
    ticket = stack.enter_context(admission.admit(reading(5000), waits=False))
    clock.now += 4
    admission.done(ticket, 400)
    assert admission.wait_s(Priority.INTERACTIVE) == 0
    stack.enter_context(admission.admit(reading(1, Priority.INTERACTIVE), waits=False))


def test_generation_is_costed_by_what_is_usual(clock: Clock) -> None:
    admission = Admission(max_wait_s=10, max_tokens=10**9, clock=clock)
    sampling = SamplingParams(n=4, max_tokens=1000)
    request = EngineRequest(request_id="r", prompts=((1, 2), (3,)), sampling=sampling)
    assert admission.cost(request) == 3 + 2 * 4 * 32
    for _ in range(200):
        admission.ended(800, 4)
    assert admission.cost(request) == pytest.approx(3 + 2 * 4 * 200, rel=0.01)
    beams = SamplingParams(n=1, beam_width=8, max_tokens=10)
    assert admission.cost(EngineRequest(request_id="r", prompts=((1,),), sampling=beams)) == 81


def test_more_is_done_than_was_expected(clock: Clock) -> None:
    admission = Admission(max_wait_s=10, max_tokens=10**9, clock=clock)
    with admission.admit(reading(5), waits=False) as ticket:
        admission.done(ticket, 50)
        assert sum(admission.num_left.values()) == 0
    assert sum(admission.num_left.values()) == 0


def test_requests_in_flight_are_bounded_in_all_and_for_each_key(stack: ExitStack) -> None:
    quotas = Quotas(max_requests=3, per_key=2, per_minute=None)
    stack.enter_context(quotas.request("a"))
    with (
        quotas.request("a"),
        pytest.raises(QuotaError, match="this key has 2"),
        quotas.request("a"),
    ):
        pass
    stack.enter_context(quotas.request("a"))
    stack.enter_context(quotas.request("b"))
    with pytest.raises(QuotaError, match="3 requests are in flight"), quotas.request("c"):
        pass
    stack.close()
    with quotas.request("a"):
        pass


def test_a_key_has_so_many_requests_a_minute(clock: Clock) -> None:
    quotas = Quotas(max_requests=10, per_key=None, per_minute=6, clock=clock)
    for _ in range(6):
        with quotas.request("a"):
            pass
    with pytest.raises(QuotaError) as refusal, quotas.request("a"):
        pass
    assert refusal.value.retry_after == pytest.approx(10)
    with quotas.request("b"):
        pass
    clock.now += 10.1
    with quotas.request("a"):
        pass


@given(st.lists(st.lists(st.integers(0, 1), max_size=12), max_size=6), st.integers(0, 3000))
def test_what_all_prompts_begin_with_is_costed_once(ends: list[list[int]], length: int) -> None:
    """128 continuations of a long prompt have 128 states, and no more work than their own ends."""
    prompts = [(5,) * length + tuple(end) for end in ends]
    columns = zip(*prompts, strict=False) if len(prompts) > 1 else ()
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    expected = sum(map(len, prompts)) - shared * max(0, len(prompts) - 1)
    assert tokens_to_read(prompts) == expected


def test_states_of_many_continuations_keep_nobody_out(clock: Clock, stack: ExitStack) -> None:
    """They were costed as so many long prompts, and all others refused until they were computed."""
    admission = Admission(max_wait_s=10, max_tokens=10**6, clock=clock)
    working = stack.enter_context(admission.admit(reading(5_000), waits=False))
    clock.now += 2
    admission.done(working, 4_000)  # 2,000 tokens a second
    prompt = (1,) * 8_000
    states = EngineRequest(request_id="s", prompts=tuple((*prompt, 2, k) for k in range(128)))
    stack.enter_context(admission.admit(states, waits=True))
    stack.enter_context(admission.admit(reading(10), waits=False))


def test_work_that_tells_nothing_before_its_end_keeps_nobody_out(
    clock: Clock, stack: ExitStack
) -> None:
    """A beam search: by what came back alone, the engine seemed to stand still."""
    admission = Admission(max_wait_s=10, max_tokens=10**6, clock=clock)
    beams = SamplingParams(beam_width=128, n=128, max_tokens=100)
    wide = EngineRequest(request_id="b", prompts=((1, 2),), sampling=beams)
    admission.note_fed(50_000)
    stack.enter_context(admission.admit(wide, waits=False))
    with admission.admit(reading(10, Priority.INTERACTIVE), waits=False) as short:
        clock.now += 5
        admission.done(short, 10)
    admission.note_fed(60_000)
    assert admission.tokens_per_s == 2_000
    stack.enter_context(admission.admit(reading(10, Priority.INTERACTIVE), waits=False))
    clock.now += 1
    admission.note_fed(0)  # the engine was restarted
    clock.now += 2
    admission.note_fed(5_000)
    assert admission.tokens_per_s == 2_500


def test_time_without_work_is_not_measured(clock: Clock, stack: ExitStack) -> None:
    admission = Admission(max_wait_s=10, max_tokens=10**6, clock=clock)
    admission.note_fed(0)
    clock.now += 9
    admission.note_fed(0)
    stack.enter_context(admission.admit(reading(5_000), waits=False))
    clock.now += 1
    admission.note_fed(3_000)
    assert admission.tokens_per_s == 3_000


def test_a_huge_request_keeps_no_short_one_out(clock: Clock, stack: ExitStack) -> None:
    """They share the engine: a short one waits for as much of it as it takes itself, or a turn."""
    admission = Admission(max_wait_s=10, max_tokens=10**6, clock=clock)
    short, long = (reading(size, Priority.INTERACTIVE) for size in (10, 50_000))
    huge = stack.enter_context(admission.admit(long, waits=False))
    clock.now += 2
    admission.done(huge, 2_000)  # 1,000 tokens a second: 48 s are left of it
    assert admission.wait_s(Priority.INTERACTIVE, 10) == pytest.approx(0.256)
    stack.enter_context(admission.admit(short, waits=False))
    with pytest.raises(QueueFullError, match="takes about 48 s"):
        stack.enter_context(admission.admit(long, waits=False))
