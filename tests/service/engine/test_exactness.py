"""The contract: a request's numbers are the same to the last bit alone and in any company.

Requests of every kind arrive at random steps in an engine with few rows and a small cache, are
preempted, aborted, resumed from states and served from cached prefixes. Each is compared with the
same request alone in a fresh engine with one row and no cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st

from models.config import ModelConfig
from service.engine.engine import Engine
from service.engine.request import EngineRequest, NextToken, Priority, SamplingParams
from service.engine.runners.base import ModelRunner
from service.engine.runners.onnx_graph import Arithmetic
from service.engine.runners.onnx_runner import OnnxRunner
from service.engine.runners.torch_runner import TorchRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from service.engine_state import EngineState
from tests.service.engine.driving import Result, collect, make_engine, run, run_one
from tests.service.engine.small_models import random_weights

# A vocabulary large enough that samplers look at blocks of it, with a skip around the last layer.
CONFIG = ModelConfig(vocab_size=1100, embedding_size=16, hidden_sizes=(24, 16, 16), residual=True)
MAX_ROWS = 40  # so that long texts take many steps at once


@dataclass(frozen=True)
class Kernels:
    """crowded: has many rows; alone: is asked one request at a time, in a batch of one row.

    texts: what prompts begin with; starts: states that requests go on from.
    """

    crowded: ModelRunner
    alone: ModelRunner
    texts: tuple[tuple[int, ...], ...]
    starts: tuple[EngineState | None, ...]

    @classmethod
    def of(cls, crowded: ModelRunner, alone: ModelRunner) -> Kernels:
        drawn = np.random.default_rng(1).integers(CONFIG.vocab_size, size=(3, 75))
        texts = tuple(tuple(text) for text in drawn.tolist())
        starts: list[EngineState | None] = [None, None, None]
        for text in texts[:2]:
            result = run_one(make_engine(alone, 1), prompts=(text[-9:],), state_at=(9,))
            starts.append(result.prompts[0].state)
        return cls(crowded, alone, texts, tuple(starts))

    def by_itself(self, request: EngineRequest) -> Result:
        return run(make_engine(self.alone, 1, cache_bytes=0), request)[0]


def kernel(kind: str, max_rows: int) -> ModelRunner:
    weights = random_weights(CONFIG)
    if kind.startswith("torch"):  # has a fixed batch: its bits are those of its number of rows
        device = kind.removeprefix("torch on ")
        return TorchRunner(CONFIG, weights, device=device, max_rows=5)
    arithmetic: Arithmetic = "int8" if kind == "int8" else "fp32"
    return OnnxRunner(CONFIG, weights, arithmetic=arithmetic, max_rows=max_rows)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(
    scope="module",
    params=["fp32", "int8", "torch on cpu", pytest.param("torch on cuda", marks=needs_gpu)],
)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return Kernels.of(kernel(request.param, MAX_ROWS), kernel(request.param, 1))


@dataclass(frozen=True)
class Visit:
    """A request, when it comes, and when it or one of its continuations is ended early.

    rests: the steps in which its client takes nothing.
    """

    request: EngineRequest
    expected: Result
    arrives: int
    aborted: int | None
    stopped: tuple[int, int, int] | None  # step, prompt, sample
    rests: range


def some_sampling(rng: Random) -> SamplingParams:
    beam_width = rng.choice([None, None, None, 1, 3])
    ids = [rng.randrange(CONFIG.vocab_size) for _ in range(30)]
    return SamplingParams(
        max_tokens=rng.randint(1, 12),
        min_tokens=rng.randint(0, 3),
        n=rng.randint(1, beam_width or 4),
        beam_width=beam_width,
        length_penalty=rng.choice([0.0, 1.0]),
        seed=rng.randrange(4),
        temperature=rng.choice([0.0, 0.6, 1.0, 1.0, 1.5]),
        top_k=rng.choice([0, 0, 5, 70, 400]),
        top_p=rng.choice([1.0, 1.0, 0.95, 0.4]),
        min_p=rng.choice([0.0, 0.0, 0.01]),
        typical_p=rng.choice([1.0, 1.0, 0.8]),
        repetition_penalty=rng.choice([1.0, 1.0, 1.3]),
        presence_penalty=rng.choice([0.0, 0.0, 0.5]),
        frequency_penalty=rng.choice([0.0, 0.0, -0.3]),
        logit_bias=rng.choice([{}, {}, {4: 2.0, 1099: 100.0}, {4: -100.0}]),
        allowed_token_ids=rng.choice([None, None, None, tuple(ids)]),
        suppressed_token_ids=rng.choice([(), tuple(ids[:3])]),
        bad_words=rng.choice([(), ((7,), (4, 4))]),
        stop_token_ids=rng.choice([(), (4,), tuple(range(0, 1100, 8))]),
        logprobs=rng.choice([None, 0, 2]),
    )


def some_prompts(
    rng: Random, kernels: Kernels, earlier: Sequence[Visit]
) -> tuple[tuple[tuple[int, ...], ...], EngineState | None]:
    """Prompts with common beginnings and their start; one may go on from a generated text."""
    prompts, start = [], rng.choice(kernels.starts)
    generated = [visit for visit in earlier if visit.expected.tokens]
    if generated and rng.random() < 0.5:
        visit = rng.choice(generated)
        (prompt, sample), tokens = rng.choice(sorted(visit.expected.tokens.items()))
        ids = [token.token_id for token in tokens[: rng.randint(1, len(tokens))]]
        prompts.append((*visit.request.prompts[prompt], *ids, sample))
        start = visit.request.start
    text = rng.choice((kernels.texts[0], *kernels.texts))
    for _ in range(rng.choice([0, 0, 0, 1, 3]) + (not prompts)):
        size = rng.choice([0, 1, 4, 5, 6, 20, 40, 75])
        tail = tuple(rng.choices(range(2), k=rng.randrange(3)))
        prompts.append(text[:size] + tail or ((3,) if start is None else ()))
    return tuple(prompts), start


def some_request(
    rng: Random, name: str, kernels: Kernels, earlier: Sequence[Visit]
) -> EngineRequest:
    """A request of any kind, in any combination of kinds."""
    prompts, start = some_prompts(rng, kernels, earlier)
    fields: dict[str, Any] = {}
    if rng.random() < 0.5:
        fields["prompt_logprobs"] = rng.choice([0, 0, 3])
        if rng.random() < 0.5:
            fields["score_from"] = tuple(rng.randint(0, len(prompt)) for prompt in prompts)
    if rng.random() < 0.4:
        fields["next_token"] = NextToken(top_k=3, token_ids=(5,), full=rng.random() < 0.5)
    if rng.random() < 0.4:
        choices = [(None, rng.randint(0, len(prompt))) for prompt in prompts]
        fields["state_at"] = tuple(rng.choice(pair) for pair in choices)
    if rng.random() < 0.6:
        fields["sampling"] = some_sampling(rng)
    return EngineRequest(
        request_id=name,
        prompts=prompts,
        start=start,
        keep_states=rng.random() < 0.5,
        priority=rng.choice(list(Priority)),
        **fields,
    )


def some_visits(rng: Random, kernels: Kernels) -> list[Visit]:
    visits: list[Visit] = []
    arrives = 0
    for k in range(rng.randint(3, 12)):
        request = some_request(rng, str(k), kernels, visits)
        arrives += rng.choice([0, 1, 3, 15, 40, 40])
        aborted = arrives + rng.randrange(30) if rng.random() < 0.15 else None
        stopped = None
        if rng.random() < 0.2 and request.sampling and not request.sampling.beam_width:
            prompt = rng.randrange(len(request.prompts))
            stopped = (arrives + rng.randrange(30), prompt, rng.randrange(request.sampling.n))
        held = arrives + rng.randrange(20)
        rests = range(held, held + rng.choice([0, 0, 1, 30]))
        visits.append(Visit(request, kernels.by_itself(request), arrives, aborted, stopped, rests))
    return visits


def crowd(engine: Engine, guests: list[Visit], is_awaited: Callable[[], bool]) -> dict[str, Result]:
    """What everyone gets when they come and go as they please, in the middle of bursts or not."""
    results = {visit.request.request_id: Result() for visit in guests}
    step, latest = 0, max(max(visit.arrives, visit.rests.stop) for visit in guests)
    while step <= latest or engine.has_work:
        for visit in guests:
            name = visit.request.request_id
            if visit.arrives == step:
                engine.add_request(visit.request)
            if visit.aborted == step:
                engine.abort(name)
            if visit.stopped and visit.stopped[0] == step:
                engine.stop_sample(name, *visit.stopped[1:])
            if step in visit.rests:
                engine.hold(name)
            elif step == visit.rests.stop:
                engine.resume(name)
        collect(engine.step(is_awaited), results)
        step += 1
        assert len(engine.scheduler.running) <= engine.scheduler.max_num_seqs
        assert step < 5000, "the engine does not come to an end"
    assert not engine.scheduler.running
    return results


def check_beginning(found: dict[Any, Any], expected: dict[Any, Any]) -> None:
    """What was said before an early end is how the whole of it begins."""
    for key, value in found.items():
        if isinstance(value, list):
            assert value == expected[key][: len(value)]
        elif key != "end":
            assert value == expected[key]


@settings(max_examples=20, deadline=None)
@given(rng=st.randoms(use_true_random=True))
def test_company_changes_no_bit(kernels: Kernels, rng: Random) -> None:
    guests = some_visits(rng, kernels)
    scheduler = Scheduler[Any](
        rng.randint(1, 5),
        bulk_rows=rng.randint(1, 2),
        wide_rows=rng.randint(1, 4),
        quantum=rng.choice([1, 3, 256]),
        calm_steps=rng.choice([0, 3]),
    )
    entry = 4 * kernels.crowded.layout.size + 1000
    cache = StateCache(rng.choice([0, 3 * entry, 50 * entry, 50 * entry]))
    engine = Engine(
        kernels.crowded, scheduler, cache, burst_s=rng.choice([0, 2, 9]), clock=count().__next__
    )
    results = crowd(engine, guests, lambda: rng.random() < 0.1)
    event(f"cache hits: {min(cache.hits, 3)}")
    for visit in guests:
        found = results[visit.request.request_id].bits()
        expected = visit.expected.bits()
        if visit.aborted is not None:
            check_beginning(found, expected)
        elif visit.stopped is not None:
            check_beginning(found, expected)
            stopped = visit.stopped[1:]
            if visit.expected.error is None:
                assert found["end"] == expected["end"]
                others = expected.keys() - {stopped}
                assert {key: found[key] for key in others} == {key: expected[key] for key in others}
        else:
            assert found == expected
