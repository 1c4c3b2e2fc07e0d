"""Commands and outputs as they travel between processes: flat tuples, which pickle fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.engine.request import RequestOutput, TokenOutput

_TOKEN_FIELDS = ("prompt", "sample", "token_id", "logprob", "top", "finish_reason")


def pack_outputs(outputs: Iterable[RequestOutput]) -> list[tuple[Any, ...]]:
    return [
        (
            output.request_id,
            output.prompts,
            [
                (t.prompt, t.sample, t.token_id, t.logprob, t.top, t.finish_reason)
                for t in output.tokens
            ],
            output.cached_tokens,
            output.finished,
            output.error,
        )
        for output in outputs
    ]


def unpack_outputs(packed: Iterable[tuple[Any, ...]]) -> list[RequestOutput]:
    return [
        RequestOutput(
            request_id=request_id,
            prompts=prompts,
            tokens=tuple(TokenOutput(**dict(zip(_TOKEN_FIELDS, t, strict=True))) for t in tokens),
            cached_tokens=cached_tokens,
            finished=finished,
            error=error,
        )
        for request_id, prompts, tokens, cached_tokens, finished, error in packed
    ]
