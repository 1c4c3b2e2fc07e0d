"""What a request must satisfy before any of it is computed."""

from __future__ import annotations

from collections.abc import Iterable

from service.engine.request import Request, SamplingParams

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


def check_request(request: Request, vocab_size: int, state_size: int) -> None:
    """Raise ValueError, naming the field and the fault, for what cannot be computed."""
    if not request.prompts:
        raise ValueError("prompts must not be empty")
    for index, prompt in enumerate(request.prompts):
        if not prompt and request.start is None:
            raise ValueError(f"prompts[{index}] is empty and there is no start state")
        _check_ids(f"prompts[{index}]", prompt, vocab_size)
    if request.start is not None and request.start.shape != (state_size,):
        raise ValueError(f"start must have {state_size} floats, not {request.start.shape}")
    _check_positions(request)
    _check_count("prompt_logprobs", request.prompt_logprobs)
    if request.next_token is not None:
        _check_count("next_token.top_k", request.next_token.top_k)
        _check_ids("next_token.token_ids", request.next_token.token_ids, vocab_size)
    if request.sampling is not None:
        _check_sampling(request.sampling, vocab_size)


def _check_positions(request: Request) -> None:
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


def _check_ids(name: str, ids: Iterable[int], vocab_size: int) -> None:
    for token in ids:
        if not 0 <= token < vocab_size:
            raise ValueError(f"{name}: token id {token} is outside 0..{vocab_size - 1}")
