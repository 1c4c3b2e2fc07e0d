"""From a request's fields to `SamplingParams`: defaults, token ids, stops, contradictions.

A field that is null takes the checkpoint's default, and where it declares none, the one of
`SamplingParams`, which is OpenAI's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.pretokenize import MAX_WORD
from models.tokenizer import Tokenizer
from service.api.openai.requests import GenerationRequest
from service.engine.request import SamplingParams
from service.http.errors import check_token_ids, impossible, invalid
from service.sampling_fields import SMALLEST_TOP_P, bad_word_ids, stop_ids, suppressed_ids
from service.served_model import ServedModel

# Neither has a meaning for the beams, which follow the model's own probabilities. Temperature 0
# and 1 are let through: clients send one or the other along with `use_beam_search`.
_NOT_WITH_BEAMS: dict[str, tuple[float, ...]] = {
    "temperature": (0, 1),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "typical_p": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
}


def resolve(body: GenerationRequest, model: ServedModel, name: str, default: Any) -> Any:
    """The value of field `name`: the request's, else the checkpoint's, else `default`."""
    value = getattr(body, name)
    return model.sampling_defaults.get(name, default) if value is None else value


def num_alternatives(num_top: int | None, tokenizer: Tokenizer) -> int | None:
    """How many alternatives `num_top` asks for: -1 stands for the whole vocabulary."""
    return tokenizer.vocab_size if num_top == -1 else num_top


def sampling_params(
    body: GenerationRequest,
    model: ServedModel,
    *,
    max_tokens: int,
    logprobs: int | None,
    end_ids: Sequence[int],
    seed: int,
) -> SamplingParams:
    """How to continue each prompt of `body`.

    end_ids: the tokens that end a text of this kind unless `ignore_eos` is set. Of the control
    tokens only those, and `stop_token_ids`, are ever generated.
    Raises ApiError for contradictions and for ids outside the vocabulary.
    """
    tokenizer = model.tokenizer
    further = _unique_ids(body.stop_token_ids, "stop_token_ids", tokenizer)
    try:
        stops = stop_ids(end_ids, further, ignore_eos=body.ignore_eos)
    except ValueError as error:
        raise invalid("stop_token_ids", str(error).removeprefix("stop_token_ids: ")) from None
    allowed = None
    if body.allowed_token_ids is not None:
        allowed = _unique_ids(body.allowed_token_ids, "allowed_token_ids", tokenizer)
    suppressed = suppressed_ids(tokenizer, stops)
    if allowed is not None and set(allowed) <= set(suppressed):
        fault = "leaves no token: control tokens that end no text are never generated"
        raise impossible(fault, param="allowed_token_ids")
    min_tokens = resolve(body, model, "min_tokens", 0)
    if body.min_tokens is None:
        min_tokens = min(min_tokens, max_tokens)  # a default gives way to what the request says
    if min_tokens > max_tokens:
        raise invalid("min_tokens", f"{min_tokens} is above max_tokens, {max_tokens}")
    if allowed is not None and min_tokens and set(allowed) <= set(stops):
        raise invalid("min_tokens", "allowed_token_ids leaves only tokens that end the text")
    return SamplingParams(
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        n=body.n if body.use_beam_search else body.num_candidates,
        logit_bias=_logit_bias(body, tokenizer),
        allowed_token_ids=allowed,
        suppressed_token_ids=suppressed,
        bad_words=bad_word_ids(body.bad_words, tokenizer),
        stop_token_ids=stops,
        logprobs=logprobs,
        seed=seed % 2**64,
        **(_beams(body, model) if body.use_beam_search else _filters(body, model)),
    )


def _filters(body: GenerationRequest, model: ServedModel) -> dict[str, Any]:
    if body.length_penalty not in (None, 1):
        raise invalid("length_penalty", "has a meaning only with use_beam_search")
    return {
        "temperature": resolve(body, model, "temperature", 1.0),
        "top_k": max(0, resolve(body, model, "top_k", 0)),
        "top_p": max(SMALLEST_TOP_P, resolve(body, model, "top_p", 1.0)),
        "min_p": resolve(body, model, "min_p", 0.0),
        "typical_p": resolve(body, model, "typical_p", 1.0),
        "repetition_penalty": resolve(body, model, "repetition_penalty", 1.0),
        "presence_penalty": resolve(body, model, "presence_penalty", 0.0),
        "frequency_penalty": resolve(body, model, "frequency_penalty", 0.0),
    }


def _beams(body: GenerationRequest, model: ServedModel) -> dict[str, Any]:
    for name, neutral in _NOT_WITH_BEAMS.items():
        value = getattr(body, name)
        if value is not None and value not in neutral:
            raise invalid(name, f"{value} has no meaning with use_beam_search")
    return {
        "temperature": 0.0,
        "beam_width": body.num_candidates,
        "length_penalty": resolve(body, model, "length_penalty", 1.0),
    }


def _unique_ids(token_ids: Sequence[int], param: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Without repetitions, in the order given."""
    check_token_ids(param, token_ids, tokenizer)
    return tuple(dict.fromkeys(token_ids))


def _logit_bias(body: GenerationRequest, tokenizer: Tokenizer) -> dict[int, float]:
    biases: dict[int, float] = {}
    for key, bias in body.logit_bias.items():
        token_id = _token_of(key, tokenizer)
        if biases.setdefault(token_id, bias) != bias:
            raise invalid("logit_bias", f"key {key[:80]!r} is token {token_id}, which has another")
    return biases


def _token_of(key: str, tokenizer: Tokenizer) -> int:
    """The token that a key names: by its id, by its SentencePiece name, or by its text."""
    if key.isascii() and key.isdecimal():
        if int(key[:20]) < tokenizer.vocab_size:
            return int(key)
        fault = f"is not a token id in 0..{tokenizer.vocab_size - 1}"
        raise invalid("logit_bias", f"key {key[:80]!r} {fault}")
    token_id = tokenizer.piece_to_id(key)
    if token_id is None:
        # No token has more characters than a chunk of text.
        ids = tokenizer.encode(key, continuation=True) if len(key) <= MAX_WORD + 1 else ()
        if len(ids) != 1:
            fault = f"key {key[:80]!r} is neither a token id nor one token's text"
            raise invalid("logit_bias", fault)
        token_id = ids[0]
    return token_id
