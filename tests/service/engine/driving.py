"""Engines driven by hand: requests in, everything that comes out of them collected and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.engine.engine import Engine
from service.engine.request import (
    EngineRequest,
    PromptOutput,
    RequestOutput,
    SamplingParams,
    TokenOutput,
)
from service.engine.runners.base import ModelRunner
from service.engine.scheduler import Scheduler
from service.engine.state_cache import StateCache
from service.engine_state import EngineState


@dataclass
class Result:
    """All that an engine said of one request: prompts by index, tokens by (prompt, sample)."""

    prompts: dict[int, PromptOutput] = field(default_factory=dict)
    tokens: dict[tuple[int, int], list[TokenOutput]] = field(default_factory=dict)
    cached_tokens: int = 0
    finished: bool = False
    error: str | None = None

    def add(self, output: RequestOutput) -> None:
        assert not self.finished, "output after the last"
        for prompt in output.prompts:
            assert prompt.index not in self.prompts, "a prompt was reported twice"
            self.prompts[prompt.index] = prompt
        for token in output.tokens:
            self.tokens.setdefault((token.prompt, token.sample), []).append(token)
        self.cached_tokens = output.cached_tokens
        self.finished, self.error = output.finished, output.error

    def ids(self, prompt: int = 0, sample: int = 0) -> list[int]:
        return [token.token_id for token in self.tokens[prompt, sample]]

    def bits(self) -> dict[Any, Any]:
        """Everything, in a form that is equal only if every bit is."""
        return {
            **{index: prompt_bits(output) for index, output in self.prompts.items()},
            **{key: [token_bits(token) for token in tokens] for key, tokens in self.tokens.items()},
            "end": (self.finished, self.error),
        }


def prompt_bits(output: PromptOutput) -> tuple[Any, ...]:
    after = output.next_token
    return (
        None if output.logprobs is None else output.logprobs.tobytes(),
        output.top,
        None if after is None else (after.top, after.chosen),
        None if after is None or after.full is None else after.full.tobytes(),
        None if output.state is None else output.state.to_bytes(),
    )


def token_bits(token: TokenOutput) -> tuple[Any, ...]:
    return token.token_id, token.logprob.hex(), token.top, token.finish_reason


def make_engine(
    runner: ModelRunner,
    max_num_seqs: int | None = None,
    cache_bytes: int = 1 << 20,
    burst_s: float = 0,
) -> Engine:
    rows = runner.max_rows if max_num_seqs is None else max_num_seqs
    return Engine(runner, Scheduler(rows), StateCache(cache_bytes), burst_s=burst_s)


def collect(outputs: Iterable[RequestOutput], results: Mapping[str, Result]) -> None:
    for output in outputs:
        results[output.request_id].add(output)


def run(engine: Engine, *requests: EngineRequest) -> list[Result]:
    """Everything that comes of requests which arrive together."""
    results = {request.request_id: Result() for request in requests}
    for request in requests:
        engine.add_request(request)
    while engine.has_work:
        collect(engine.step(), results)
    assert all(result.finished for result in results.values())
    assert not engine.scheduler.has_work
    engine.cache.check_integrity()
    return list(results.values())


def run_one(engine: Engine, **fields: Any) -> Result:
    """The result of one request that succeeds."""
    (result,) = run(engine, EngineRequest(request_id="only", **fields))
    assert result.error is None
    return result


def stream(request_id: str, max_tokens: int = 1000, n: int = 1, **fields: Any) -> EngineRequest:
    """A request that draws tokens until it is told otherwise."""
    sampling = SamplingParams(max_tokens=max_tokens, n=n, seed=3)
    return EngineRequest(request_id=request_id, prompts=((1, 2),), sampling=sampling, **fields)


def some_start(runner: ModelRunner, ids: tuple[int, ...] = (7, 7, 3)) -> EngineState:
    """The state after some tokens."""
    state = run_one(make_engine(runner), prompts=(ids,), state_at=(len(ids),)).prompts[0].state
    assert state is not None
    return state
