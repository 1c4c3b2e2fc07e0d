"""A generating request while it runs: continuations that grow with the engine's news."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from service.api.client import ModelClient
from service.engine.request import EngineRequest, PromptOutput, RequestOutput
from service.http.errors import ApiError, impossible
from service.text.generated_text import Continuation, TextRules
from service.text.history import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one output of the engine changed: indices of prompts and of continuations."""

    prompts: tuple[int, ...]
    continuations: tuple[int, ...]


class Generation:
    """One request, run once.

    continuations: those of the first prompt, then those of the second, and so on.
    prompt_outputs: by prompt, as far as they have come.
    """

    def __init__(
        self,
        client: ModelClient,
        request: EngineRequest,
        prompts: Sequence[Prompt],
        rules: TextRules,
    ) -> None:
        """Without sampling in `request` each prompt has one continuation, empty at its limit."""
        self._client, self._request = client, request
        self._per_prompt = request.sampling.n if request.sampling else 1
        self.continuations = [
            Continuation(rules, in_line=prompt.ends_in_line)
            for prompt in prompts
            for _ in range(self._per_prompt)
        ]
        self.prompt_outputs: dict[int, PromptOutput] = {}
        self.cached_tokens = 0

    def indices(self, prompt: int) -> range:
        """Which of the continuations are those of prompt number `prompt`."""
        return range(prompt * self._per_prompt, (prompt + 1) * self._per_prompt)

    @property
    def num_tokens(self) -> int:
        """Tokens generated, those of continuations that are not returned included."""
        return sum(continuation.num_tokens for continuation in self.continuations)

    async def run(self) -> AsyncGenerator[News]:
        """Until every continuation is finished. Closing it early aborts the request."""
        if self._request.sampling is None and self._request.prompt_logprobs is None:
            yield self._end()
            return
        outputs = self._client.submit(self._request)
        async with aclosing(outputs):  # type: ignore[type-var]
            async for output in outputs:
                changed = self._take(output)
                prompts = tuple(prompt.index for prompt in output.prompts)
                if output.finished:
                    yield self._end(prompts)
                    return
                yield News(prompts=prompts, continuations=changed)

    def _take(self, output: RequestOutput) -> tuple[int, ...]:
        """Let what has come in; returns which continuations it made grow."""
        self.cached_tokens = max(self.cached_tokens, output.cached_tokens)
        for prompt in output.prompts:
            self.prompt_outputs[prompt.index] = prompt
        changed: dict[int, None] = {}
        for token in output.tokens:
            index = token.prompt * self._per_prompt + token.sample
            if self.continuations[index].push(token) and not output.finished:
                self._client.stop_sample(self._request.request_id, token.prompt, token.sample)
            changed[index] = None
        return tuple(changed)

    async def run_to_end(self) -> None:
        async with aclosing(self.run()) as news:
            async for _ in news:
                pass

    def _end(self, prompts: tuple[int, ...] = ()) -> News:
        for continuation in self.continuations:
            if self._request.sampling is None:
                continuation.finish_reason = "length"
            elif continuation.finish_reason is None:
                raise self._missing()
        return News(prompts=prompts, continuations=tuple(range(len(self.continuations))))

    def _missing(self) -> ApiError | RuntimeError:
        """What the end of a request means for a continuation that has none.

        A search with few tokens to choose from may find fewer continuations than were asked for.
        """
        sampling = self._request.sampling
        if sampling is None or sampling.beam_width is None:
            return RuntimeError("the engine ended the request before all of its continuations")
        return impossible(f"{sampling.n} is more than the texts that can be generated", param="n")
