"""What travels between the server and an engine process, in forms that pickle fast.

Outputs are flat tuples, and their tokens columns. What is large, the tokens of a long text and the
alternatives of each, are arrays of numbers: objects by the million would have everyone wait while
they are pickled. They are made from objects, and objects from them, in portions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from service.engine.request import (
    EngineRequest,
    Floats,
    PromptOutput,
    RequestOutput,
    TokenOutput,
    TopLogprobs,
)

# Numbers that are read or made into objects without a pause: a fraction of a millisecond.
_AT_ONCE = 1 << 14
Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class LargeRequest:
    """A request of many tokens. request: without its prompts; ids: theirs, one after the other."""

    request: EngineRequest
    ids: Ids
    lengths: tuple[int, ...]

    @staticmethod
    def is_large(request: EngineRequest) -> bool:
        return request.num_tokens > _AT_ONCE

    @classmethod
    async def of(cls, request: EngineRequest) -> LargeRequest:
        """Whoever else is on the event loop has a turn between the portions."""
        ids, lengths = np.empty(request.num_tokens, np.int32), tuple(map(len, request.prompts))
        for prompt, end in zip(request.prompts, accumulate(lengths), strict=True):
            begin = end - len(prompt)
            for start in range(0, len(prompt), _AT_ONCE):
                part = prompt[start : start + _AT_ONCE]
                ids[begin + start : begin + start + len(part)] = part
                await asyncio.sleep(0)
        return cls(replace(request, prompts=()), ids, lengths)

    def unpacked(self) -> EngineRequest:
        """The request as it was."""
        ends = list(accumulate(self.lengths))
        prompts = (
            tuple(self.ids[end - size : end].tolist())
            for size, end in zip(self.lengths, ends, strict=True)
        )
        return replace(self.request, prompts=tuple(prompts))


@dataclass(frozen=True, slots=True)
class LargePrompt:
    """A prompt's output with many alternatives.

    output: without them; counts: how many each token has; ids, values: theirs, in a row.
    """

    output: PromptOutput
    counts: Ids
    ids: Ids
    values: Floats

    @classmethod
    def of(cls, output: PromptOutput) -> LargePrompt:
        assert output.top is not None
        counts = np.fromiter(map(len, output.top), np.int32, len(output.top))
        ids, values = zip(*chain.from_iterable(output.top), strict=True)
        return cls(
            replace(output, top=None), counts, np.array(ids, np.int32), np.array(values, np.float32)
        )

    def unpacked(self) -> PromptOutput:
        """The output as it was, to the last bit; takes a while."""
        pairs = zip(_objects(self.ids), _objects(self.values), strict=True)
        top = (_some(pairs, count) for count in _objects(self.counts))
        return replace(self.output, top=tuple(top))


def _objects(numbers: NDArray[Any]) -> Iterator[Any]:
    for start in range(0, len(numbers), _AT_ONCE):
        yield from numbers[start : start + _AT_ONCE].tolist()


def _some(pairs: Iterator[tuple[int, float]], count: int) -> TopLogprobs:
    return tuple(next(pairs) for _ in range(count))


def pack_outputs(outputs: Iterable[RequestOutput]) -> list[tuple[Any, ...]]:
    """Tuples of plain values for the pipe; `unpack_outputs` reads them."""
    return [
        (
            output.request_id,
            tuple(map(_packed, output.prompts)),
            tuple(zip(*output.tokens, strict=True)),
            output.cached_tokens,
            output.finished,
            output.error,
            output.queued_s,
        )
        for output in outputs
    ]


def _packed(prompt: PromptOutput) -> PromptOutput | LargePrompt:
    if prompt.top and len(prompt.top) * len(prompt.top[-1]) > _AT_ONCE:
        return LargePrompt.of(prompt)
    return prompt


# Quicker than TokenOutput._make, which is written in Python.
_token_output = cast(
    "Callable[[tuple[Any, ...]], TokenOutput]", partial(tuple.__new__, TokenOutput)
)


def unpack_outputs(packed: Iterable[tuple[Any, ...]]) -> list[RequestOutput]:
    """Prompts of many alternatives stay packed: see `with_prompts`."""
    return [
        RequestOutput(
            request_id=request_id,
            prompts=prompts,
            tokens=tuple(map(_token_output, zip(*columns, strict=True))),
            cached_tokens=cached_tokens,
            finished=finished,
            error=error,
            queued_s=queued_s,
        )
        for request_id, prompts, columns, cached_tokens, finished, error, queued_s in packed
    ]


async def with_prompts(output: RequestOutput) -> RequestOutput:
    """An output whose prompts are all unpacked, in a thread where that takes a while."""
    if not any(isinstance(prompt, LargePrompt) for prompt in output.prompts):
        return output
    prompts = await asyncio.to_thread(lambda: tuple(map(_unpacked, output.prompts)))
    return output._replace(prompts=prompts)


def _unpacked(prompt: PromptOutput | LargePrompt) -> PromptOutput:
    return prompt.unpacked() if isinstance(prompt, LargePrompt) else prompt
