"""What a burst notes of its continuations, and when it leaves them to be looked at one by one."""

from __future__ import annotations

import numpy as np

from service.engine.burst import Burst
from service.engine.progress import RequestProgress
from service.engine.request import EngineRequest, SamplingParams, TokenOutput
from service.engine.sampling.guides import Guides
from service.engine.sampling.sampler import Sampled
from service.engine.sequences import SampleSequence


def sequences_of(
    count: int, *, keep_states: bool = False, stops: tuple[int, ...] = (), max_tokens: int = 9
) -> list[SampleSequence]:
    params = SamplingParams(n=count, max_tokens=max_tokens, stop_token_ids=stops)
    request = EngineRequest(
        request_id="r", prompts=((1,),), sampling=params, keep_states=keep_states
    )
    progress = RequestProgress.of(request, Guides(()))
    start = np.zeros(4, np.float32)
    return [SampleSequence(progress, 0, sample, start) for sample in range(count)]


def drawn(*ids: int | None, logprob: float = -1.5) -> Sampled:
    return Sampled(list(ids), [logprob] * len(ids), [((7, -0.5),)] * len(ids))


def test_what_was_noted_is_told_once_and_in_order() -> None:
    streams = sequences_of(2)
    burst, progress = Burst(streams), streams[0].progress
    assert burst.note(drawn(3, 4))
    assert burst.note(drawn(5, 6))
    assert progress.new_tokens == []
    burst.tell()
    burst.tell()
    top = ((7, -0.5),)
    assert progress.new_tokens == [
        TokenOutput(0, 0, 3, -1.5, top),
        TokenOutput(0, 0, 5, -1.5, top),
        TokenOutput(0, 1, 4, -1.5, top),
        TokenOutput(0, 1, 6, -1.5, top),
    ]
    assert [stream.next_id for stream in streams] == [5, 6]
    assert [stream.generated for stream in streams] == [[3, 5], [4, 6]]
    assert [stream.logprobs for stream in streams] == [[-1.5, -1.5]] * 2


def test_draws_that_may_end_a_continuation_are_not_noted() -> None:
    refused = (drawn(3, None), drawn(3, 8), drawn(3, 4, logprob=float("nan")))
    for one in refused:
        streams = sequences_of(2, stops=(8,))
        assert not Burst(streams).note(one)
        assert streams[0].generated == []


def test_the_last_token_of_a_length_is_not_noted() -> None:
    burst = Burst(sequences_of(2, max_tokens=3))
    assert [burst.note(drawn(3, 4)) for _ in range(3)] == [True, True, False]


def test_continuations_whose_states_are_kept_are_looked_at_one_by_one() -> None:
    assert not Burst(sequences_of(1, keep_states=True)).note(drawn(3))
