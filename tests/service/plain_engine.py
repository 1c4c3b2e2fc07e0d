"""An honest engine in plain numpy: real numbers from a small LSTM, one sequence at a time.

It keeps the promises of `service.engine.hosts` and nothing else: no batching, no cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.config import ModelConfig
from service.engine.hosts.async_engine import EngineInfo, EngineUnavailableError, QueueFullError
from service.engine.request import (
    EngineRequest,
    NextToken,
    NextTokenOutput,
    PromptOutput,
    RequestOutput,
    SamplingParams,
    TokenOutput,
)
from service.engine.sampling.guides import Guides, allowed_tokens
from service.engine.stats import EngineStats
from service.engine_state import EngineState
from tests.service.plain_sampler import adjusted, choose, log_softmax, top

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def _sigmoid(x: Floats) -> Floats:
    result: Floats = (1 / (1 + np.exp(-x))).astype(np.float32)
    return result


@dataclass(frozen=True)
class PlainLSTM:
    """A stacked LSTM language model with tied weights; parameters as in `LSTMLanguageModel`."""

    config: ModelConfig
    weights: Mapping[str, Floats]

    @classmethod
    def random(cls, config: ModelConfig, seed: int) -> PlainLSTM:
        rng = np.random.default_rng(seed)
        shapes: dict[str, tuple[int, ...]] = {
            "embedding.weight": (config.vocab_size, config.embedding_size)
        }
        sizes = zip(config.input_sizes, config.hidden_sizes, strict=True)
        for k, (inputs, hidden) in enumerate(sizes):
            shapes[f"layers.{k}.weight_ih"] = (4 * hidden, inputs)
            shapes[f"layers.{k}.weight_hh"] = (4 * hidden, hidden)
            shapes[f"layers.{k}.bias"] = (4 * hidden,)
        weights = {n: rng.normal(0, 0.7, s).astype(np.float32) for n, s in shapes.items()}
        return cls(config, weights)

    @property
    def state_size(self) -> int:
        return 2 * sum(self.config.hidden_sizes)

    def step(self, token_id: int, state: Floats) -> Floats:
        """The state, per layer h then c, after one more token."""
        x = self.weights["embedding.weight"][token_id]
        after, at = [], 0
        for k, hidden in enumerate(self.config.hidden_sizes):
            h, c = state[at : at + hidden], state[at + hidden : at + 2 * hidden]
            layer = f"layers.{k}."
            gates = self.weights[layer + "weight_ih"] @ x + self.weights[layer + "weight_hh"] @ h
            i, f, g, o = np.split(gates + self.weights[layer + "bias"], 4)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            x = _sigmoid(o) * np.tanh(c)
            after += [x, c]
            at += 2 * hidden
        return np.concatenate(after)

    def logprobs(self, state: Floats) -> Doubles:
        """ln P of every next token, (V,)."""
        hidden = self.config.hidden_sizes[-1]
        features = state[-2 * hidden : -hidden]
        return log_softmax((self.weights["embedding.weight"] @ features).astype(np.float64))


@dataclass
class PlainEngine:
    """See `AsyncEngine`. `step_s`: seconds each generated token takes, for tests that interrupt.

    fails_after: tokens of a request after which the engine ends, None for never.
    active: ids of the requests in work; finished: of those that came to their end; requests: all
    that were submitted, for tests that look at what the API asks for.
    """

    model: PlainLSTM
    digest: str = "sha256:plain"
    max_active: int = 1000
    spellings: Sequence[bytes] = ()
    step_s: float = 0
    fails_after: int | None = None
    is_ready: bool = False
    fault: Exception | None = None
    num_restarts: int = 0
    active: set[str] = field(default_factory=set)
    finished: list[str] = field(default_factory=list)
    requests: list[EngineRequest] = field(default_factory=list)
    _stopped: set[tuple[str, int, int]] = field(default_factory=set)

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(
            digest=self.digest,
            device="cpu",
            precision="fp32",
            vocab_size=self.model.config.vocab_size,
            state_size=self.model.state_size,
        )

    async def start(self) -> None:
        self.is_ready = True

    async def stop(self, grace_s: float) -> None:
        self.is_ready = False
        async with asyncio.timeout(grace_s + 1):
            while self.active:
                await asyncio.sleep(0.001)

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        self._stopped.add((request_id, prompt, sample))

    def stats(self) -> EngineStats:
        return EngineStats(gauges={"running": len(self.active)})

    async def submit(self, request: EngineRequest) -> AsyncIterator[RequestOutput]:
        if len(self.active) >= self.max_active:
            raise QueueFullError(f"{self.max_active} requests are waiting", retry_after=2)
        self.requests.append(request)
        self.active.add(request.request_id)
        try:
            num_tokens = 0
            for output in self._outputs(request):
                await asyncio.sleep(self.step_s if output.tokens else 0)
                num_tokens += len(output.tokens)
                if not self.is_ready or (self.fails_after or num_tokens) < num_tokens:
                    raise EngineUnavailableError("the engine is not running")
                yield output
            self.finished.append(request.request_id)
            yield RequestOutput(request_id=request.request_id, finished=True)
        finally:
            self.active.discard(request.request_id)

    def _outputs(self, request: EngineRequest) -> Iterator[RequestOutput]:
        self._check(request)
        states = []
        for index in range(len(request.prompts)):
            output, state = self._read(request, index)
            states.append(state)
            yield RequestOutput(request_id=request.request_id, prompts=(output,), queued_s=0.0)
        if request.sampling is not None:
            for token in self._generate(request, request.sampling, states):
                yield RequestOutput(request_id=request.request_id, tokens=(token,))

    def _check(self, request: EngineRequest) -> None:
        assert request.request_id not in self.active - {request.request_id}
        for values in (request.score_from, request.state_at):
            assert len(values) in (0, len(request.prompts))
        for prompt in request.prompts:
            assert prompt or request.start is not None
            assert all(0 <= token_id < self.info.vocab_size for token_id in prompt)

    def _read(self, request: EngineRequest, index: int) -> tuple[PromptOutput, Floats]:
        prompt = request.prompts[index]
        state_at = request.state_at[index] if request.state_at else None
        first = request.score_from[index] if request.score_from else 0
        state = np.zeros(self.info.state_size, np.float32)
        state = state if request.start is None else request.start.vector
        wanted = state if state_at == 0 else None
        logprobs, alternatives = [], []
        for position, token_id in enumerate(prompt):
            is_scored = position >= first and (position > 0 or request.start is not None)
            scores = self.model.logprobs(state)
            logprobs.append(scores[token_id] if is_scored else np.nan)
            alternatives.append(top(scores, request.prompt_logprobs or 0) if is_scored else ())
            state = self.model.step(token_id, state)
            if state_at == position + 1:
                wanted = state
        output = PromptOutput(
            index=index,
            logprobs=None if request.prompt_logprobs is None else np.array(logprobs, np.float32),
            top=tuple(alternatives) if request.prompt_logprobs else None,
            next_token=self._next_token(request.next_token, state),
            state=None if wanted is None else EngineState(wanted),
        )
        return output, state

    def _next_token(self, wanted: NextToken | None, state: Floats) -> NextTokenOutput | None:
        if wanted is None:
            return None
        scores = self.model.logprobs(state)
        return NextTokenOutput(
            top=top(scores, wanted.top_k),
            chosen=tuple((i, float(scores[i])) for i in wanted.token_ids),
            full=scores.astype(np.float32) if wanted.full else None,
        )

    def _generate(
        self, request: EngineRequest, params: SamplingParams, states: Sequence[Floats]
    ) -> Iterator[TokenOutput]:
        if params.beam_width is not None:
            for prompt, state in enumerate(states):
                yield from self._beam_search(prompt, params, state)
            return
        rows = [
            self._sample(request, params, prompt, sample, states[prompt])
            for prompt in range(len(states))
            for sample in range(params.n)
        ]
        while rows:  # a token from each continuation in turn, as in a batch
            alive = []
            for row in rows:
                if (token := next(row, None)) is not None:
                    yield token
                    alive.append(row)
            rows = alive

    def _sample(
        self,
        request: EngineRequest,
        params: SamplingParams,
        prompt: int,
        sample: int,
        state: Floats,
    ) -> Iterator[TokenOutput]:
        rng = np.random.default_rng([params.seed, prompt, sample])
        generated: list[int] = []
        while len(generated) < params.max_tokens:
            if (request.request_id, prompt, sample) in self._stopped:
                return
            scores = self.model.logprobs(state)
            logits = adjusted(scores, params, request.prompts[prompt], generated)
            if params.guides:
                logits[~self._allowed(params, prompt, generated)] = -np.inf
            token_id = choose(logits, params, rng)
            generated.append(token_id)
            yield self._token(prompt, sample, scores, generated, params)
            if token_id in params.stop_token_ids:
                return
            state = self.model.step(token_id, state)

    def _allowed(
        self, params: SamplingParams, prompt: int, generated: Sequence[int]
    ) -> NDArray[np.bool_]:
        """From the beginning of the text for every token anew."""
        guide = Guides(self.spellings).begin(params.guides[prompt])
        for token_id in generated:
            guide.advance(token_id)
        return allowed_tokens(guide, np.array(params.stop_token_ids, np.int64))

    def _token(
        self,
        prompt: int,
        sample: int,
        scores: Doubles,
        generated: list[int],
        params: SamplingParams,
    ) -> TokenOutput:
        stops = generated[-1] in params.stop_token_ids
        return TokenOutput(
            prompt=prompt,
            sample=sample,
            token_id=generated[-1],
            logprob=float(scores[generated[-1]]),
            top=top(scores, params.logprobs or 0),
            finish_reason="stop"
            if stops
            else ("length" if len(generated) == params.max_tokens else None),
        )

    def _beam_search(
        self, prompt: int, params: SamplingParams, state: Floats
    ) -> Iterator[TokenOutput]:
        """Beams of (sum of ln P, ids, states); a finished beam keeps its place until the end."""
        assert params.beam_width is not None
        beams: list[tuple[float, list[int], list[Floats]]] = [(0.0, [], [state])]
        done: list[tuple[float, list[int], list[Floats]]] = []
        for _ in range(params.max_tokens):
            grown = []
            for total, ids, path in beams:
                scores = self.model.logprobs(path[-1])
                logits = adjusted(scores, params, (), ids)
                for token_id, _ in top(logits, 2 * params.beam_width):
                    if np.isfinite(logits[token_id]):
                        grown.append((total + float(scores[token_id]), [*ids, token_id], path))
            grown.sort(key=lambda beam: -beam[0])
            beams = []
            for total, ids, path in grown:
                if ids[-1] in params.stop_token_ids:
                    done.append((total, ids, path))
                elif len(beams) < params.beam_width:
                    beams.append((total, ids, [*path, self.model.step(ids[-1], path[-1])]))
        done += beams
        done.sort(key=lambda beam: -beam[0] / max(1, len(beam[1])) ** params.length_penalty)
        for sample, (_, ids, path) in enumerate(done[: params.n]):
            for k in range(len(ids)):
                scores = self.model.logprobs(path[k])
                yield self._token(prompt, sample, scores, ids[: k + 1], params)
