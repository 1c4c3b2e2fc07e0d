"""The one request type behind every endpoint, and what comes back for it.

A request is a set of prompts (token-id sequences, sharing their common prefixes as one tree) from
one start state. For each prompt it may ask for the log-probabilities of its tokens, the
distribution after it, the state at a position of it, and continuations of it, in any combination.
Log-probabilities are natural logarithms.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine_state import EngineState

Floats = NDArray[np.float32]
TopLogprobs = tuple[tuple[int, float], ...]  # (token id, ln P), most probable first
FinishReason = Literal["stop", "length"]


class Priority(enum.IntEnum):
    """Short interactive work goes before bulk scoring; lower runs first."""

    INTERACTIVE = 0
    BULK = 1


@dataclass(frozen=True, slots=True)
class TokenChoices:
    """A continuation is one of these token sequences, and then ends.

    asked_by: the request's field, for messages.
    """

    sequences: tuple[tuple[int, ...], ...]
    asked_by: str = field(default="guided decoding", compare=False)


@dataclass(frozen=True, slots=True)
class Grammar:
    """A continuation spells a sentence of this grammar, and then ends. text: in llguidance's form;
    it is about the tokens' own spellings, the space before a line's first word included.

    max_tokens: it is led to its end within so many tokens, if a way there is found; None: it is
    cut off where it stands. asked_by: the request's field, for messages.
    """

    text: str
    max_tokens: int | None = None
    asked_by: str = field(default="guided decoding", compare=False)


Guide = TokenChoices | Grammar


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingParams:
    """How to continue a prompt. Defaults change nothing: pure sampling from the model.

    n: independent continuations of each prompt (sample k of a prompt has its own random stream).
    temperature: divides the logits; 0 is greedy.
    top_k: keep the k most probable tokens; 0 keeps all.
    top_p: keep the smallest set of tokens whose mass reaches p (Holtzman et al. 2020).
    min_p: keep tokens at least min_p times as probable as the best one.
    typical_p: locally typical sampling (Meister et al. 2023).
    repetition_penalty: divide positive / multiply negative logits of tokens in the prompt or the
        continuation (Keskar et al. 2019); presence and frequency penalties look at the
        continuation alone, as OpenAI defines them.
    logit_bias: added to the logits of given tokens before anything else.
    allowed_token_ids: if given, nothing else is sampled; suppressed_token_ids are never sampled.
    bad_words: token sequences that are never completed.
    guides: what the continuations of each prompt must spell before a stop token that stands for no
        text may come; empty for nothing, else one a prompt.
    stop_token_ids: end the continuation (end-of-sequence must be listed to have that effect);
        they are not sampled before min_tokens. The stopping token is part of the output.
    logprobs: number of most probable alternatives reported with each token; None reports the
        sampled token's own log-probability only. Always those of the model itself, before
        temperature and every filter.
    seed: with the sample's and the token's index it fully determines the random numbers.
    beam_width: if given, beam search with that many beams instead of sampling; the best n come
        back at the end, by sum of ln P / length ** length_penalty.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    n: int = 1
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    allowed_token_ids: tuple[int, ...] | None = None
    suppressed_token_ids: tuple[int, ...] = ()
    bad_words: tuple[tuple[int, ...], ...] = ()
    guides: tuple[Guide, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None
    seed: int = 0
    beam_width: int | None = None
    length_penalty: float = 1.0

    @property
    def exclusions(self) -> tuple[str, ...]:
        """The settings that exclude tokens for certain, by their names in requests.

        Together they may leave none; every other setting leaves the best at least.
        """
        names = {
            "allowed_token_ids": self.allowed_token_ids is not None,
            "bad_words": bool(self.bad_words),
            "min_tokens": self.min_tokens > 0,
        }
        guides = dict.fromkeys(guide.asked_by for guide in self.guides)
        return (*(name for name, excludes in names.items() if excludes), *guides)


@dataclass(frozen=True, kw_only=True, slots=True)
class NextToken:
    """What to report of the distribution after a prompt."""

    top_k: int = 0
    token_ids: tuple[int, ...] = ()
    full: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRequest:
    """One unit of work.

    prompts: token ids, begin-of-sequence included by the caller where it is wanted. Without a
        start state a prompt must not be empty.
    start: the state that every prompt continues, None for nothing.
        With a start the first token of a prompt can be scored, without one it cannot.
    prompt_logprobs: None for no scores, else the number of most probable alternatives to report
        with each scored token (0: the token's own ln P alone).
    score_from: per prompt, how many leading tokens are not scored (a shared context); empty for
        none. Those tokens come back as NaN.
    state_at: per prompt, after how many of its tokens to report the state; None for no state;
        empty for none at all.
    keep_states: keep a state every few generated tokens in the cache, because the caller will
        come back for one near the end.
    cache_scope: requests find in the cache only what requests of the same scope left there.
    arrived: when it began to wait, on the clock of `time.monotonic`, which processes share; None
        where nobody asks how long that was.
    """

    request_id: str
    prompts: tuple[tuple[int, ...], ...]
    start: EngineState | None = None
    prompt_logprobs: int | None = None
    score_from: tuple[int, ...] = ()
    next_token: NextToken | None = None
    state_at: tuple[int | None, ...] = ()
    sampling: SamplingParams | None = None
    keep_states: bool = False
    cache_scope: str = ""
    priority: Priority = Priority.INTERACTIVE
    arrived: float | None = None

    @property
    def num_tokens(self) -> int:
        """Work that the prompts alone cause, before any prefix is shared."""
        return sum(len(prompt) for prompt in self.prompts)


@dataclass(frozen=True, kw_only=True, slots=True)
class NextTokenOutput:
    """The distribution after a prompt: top by probability, chosen in the order asked, full (V,)."""

    top: TopLogprobs = ()
    chosen: TopLogprobs = ()
    full: Floats | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptOutput:
    """What was asked of one prompt; sent once, when all of it is known.

    logprobs: ln P of each token, (len(prompt),), NaN where unscored; None if not asked for.
    top: per token the alternatives, () where unscored; None unless prompt_logprobs > 0.
    """

    index: int
    logprobs: Floats | None = None
    top: tuple[TopLogprobs, ...] | None = None
    next_token: NextTokenOutput | None = None
    state: EngineState | None = None


class TokenOutput(NamedTuple):
    """One generated token of continuation `sample` of prompt `prompt`."""

    prompt: int
    sample: int
    token_id: int
    logprob: float
    top: TopLogprobs = ()
    finish_reason: FinishReason | None = None


class RequestOutput(NamedTuple):
    """News of one request. The last one has `finished` set (and `error` if it failed).

    queued_s: seconds that it waited for its first step; told once, with the first news after that.
    """

    request_id: str
    prompts: tuple[PromptOutput, ...] = ()
    tokens: tuple[TokenOutput, ...] = ()
    cached_tokens: int = 0
    finished: bool = False
    error: str | None = None
    queued_s: float | None = None


_RANGES = {
    "temperature": (0, 1e4),
    "top_p": (0, 1),
    "typical_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 100),
    "presence_penalty": (-100, 100),
    "frequency_penalty": (-100, 100),
    "length_penalty": (-100, 100),
}
_LARGEST_BIAS = 10_000


def check_request(request: EngineRequest, vocab_size: int, state_size: int) -> None:
    """Raise ValueError, naming the field and the fault, for what cannot be computed."""
    if not request.prompts:
        raise ValueError("prompts must not be empty")
    for index, prompt in enumerate(request.prompts):
        if not prompt and request.start is None:
            raise ValueError(f"prompts[{index}] is empty and there is no start state")
        _check_ids(f"prompts[{index}]", prompt, vocab_size)
    if request.start is not None and request.start.num_floats != state_size:
        raise ValueError(f"start must have {state_size} floats, not {request.start.num_floats}")
    if request.start is not None and not np.isfinite(request.start.vector).all():
        raise ValueError("start holds numbers that are not finite")
    _check_positions(request)
    _check_count("prompt_logprobs", request.prompt_logprobs)
    if request.next_token is not None:
        _check_count("next_token.top_k", request.next_token.top_k)
        _check_ids("next_token.token_ids", request.next_token.token_ids, vocab_size)
    if request.sampling is not None:
        _check_sampling(request.sampling, vocab_size)
        if len(request.sampling.guides) not in (0, len(request.prompts)):
            raise ValueError(f"guides needs an entry a prompt ({len(request.prompts)})")


def _check_positions(request: EngineRequest) -> None:
    for name, per_prompt in (("score_from", request.score_from), ("state_at", request.state_at)):
        if per_prompt and len(per_prompt) != len(request.prompts):
            raise ValueError(f"{name} needs an entry a prompt ({len(request.prompts)})")
        for index, position in enumerate(per_prompt):
            if position is not None and not 0 <= position <= len(request.prompts[index]):
                raise ValueError(f"{name}[{index}] is {position}, outside its prompt")


def _check_sampling(params: SamplingParams, vocab_size: int) -> None:
    for name, least in (("max_tokens", 1), ("n", 1), ("min_tokens", 0), ("top_k", 0)):
        if getattr(params, name) < least:
            raise ValueError(f"{name} must be at least {least}, not {getattr(params, name)}")
    _check_count("logprobs", params.logprobs)
    _check_ranges(params)
    if params.beam_width is not None and params.beam_width < params.n:
        raise ValueError(f"beam_width ({params.beam_width}) must be at least n ({params.n})")
    _check_ids("logit_bias", params.logit_bias, vocab_size)
    _check_ids("allowed_token_ids", params.allowed_token_ids or (), vocab_size)
    _check_ids("suppressed_token_ids", params.suppressed_token_ids, vocab_size)
    _check_ids("stop_token_ids", params.stop_token_ids, vocab_size)
    for word in params.bad_words:
        if not word:
            raise ValueError("bad_words must not hold an empty sequence")
        _check_ids("bad_words", word, vocab_size)


def _check_ranges(params: SamplingParams) -> None:
    for name, (lowest, highest) in _RANGES.items():
        # Written so that NaN fails too.
        if not lowest <= getattr(params, name) <= highest:
            value = getattr(params, name)
            raise ValueError(f"{name} must be between {lowest} and {highest}, not {value}")
    for name in ("top_p", "typical_p"):
        if getattr(params, name) == 0:
            raise ValueError(f"{name} must be above 0")
    for token, bias in params.logit_bias.items():
        if not abs(bias) <= _LARGEST_BIAS:
            raise ValueError(
                f"logit_bias of token {token} must be between -{_LARGEST_BIAS} and "
                f"{_LARGEST_BIAS}, not {bias}; ban tokens by suppressed_token_ids"
            )


def _check_count(name: str, count: int | None) -> None:
    if count is not None and count < 0:
        raise ValueError(f"{name} must be at least 0, not {count}")


def _check_ids(name: str, ids: Collection[int], vocab_size: int) -> None:
    for token in (min(ids), max(ids)) if ids else ():
        if not 0 <= token < vocab_size:
            raise ValueError(f"{name}: token id {token} is outside 0..{vocab_size - 1}")
