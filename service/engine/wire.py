"""Commands and outputs as they travel between processes: flat tuples, which pickle fast."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from service.engine.request import RequestOutput, TokenOutput


def pack_outputs(outputs: Iterable[RequestOutput]) -> list[tuple[Any, ...]]:
    return [
        (
            output.request_id,
            output.prompts,
            [tuple(token) for token in output.tokens],
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
            tokens=tuple(map(TokenOutput._make, tokens)),
            cached_tokens=cached_tokens,
            finished=finished,
            error=error,
        )
        for request_id, prompts, tokens, cached_tokens, finished, error in packed
    ]
