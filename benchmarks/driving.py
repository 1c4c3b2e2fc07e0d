"""Handing requests to an engine and taking everything that it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.engine.engine import Engine
from service.engine.request import EngineRequest, Floats, Priority, RequestOutput


def run(engine: Engine, requests: Iterable[EngineRequest]) -> list[RequestOutput]:
    """Everything that the engine says until the requests are done."""
    for request in requests:
        engine.add_request(request)
    outputs: list[RequestOutput] = []
    while engine.has_work:
        outputs += engine.step()
    for output in outputs:
        if output.error is not None:
            raise RuntimeError(f"request {output.request_id} failed: {output.error}")
    return outputs


def scored_prompts(
    engine: Engine, requests: Sequence[Sequence[Sequence[int]]]
) -> list[list[Floats]]:
    """ln P of the tokens of every prompt of every request, (len(prompt),), NaN for the first."""
    outputs = run(
        engine,
        (
            EngineRequest(
                request_id=str(number),
                prompts=tuple(map(tuple, prompts)),
                prompt_logprobs=0,
                priority=Priority.BULK,
            )
            for number, prompts in enumerate(requests)
        ),
    )
    found: dict[tuple[str, int], Floats] = {}
    for output in outputs:
        for prompt in output.prompts:
            assert prompt.logprobs is not None
            found[output.request_id, prompt.index] = prompt.logprobs
    return [
        [found[str(number), index] for index in range(len(prompts))]
        for number, prompts in enumerate(requests)
    ]
