"""An engine in terms of texts: prompts, histories and states in, log-probabilities and texts out.

What `LanguageModel` asks; the same requests as those of the HTTP routes, so the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.tokenizer import Tokenizer
from service.engine.hosts.blocking import BlockingEngine
from service.engine.request import (
    EngineRequest,
    NextToken,
    NextTokenOutput,
    PromptOutput,
    SamplingParams,
)
from service.engine_state import EngineState
from service.text.generated_text import Continuation, TextRules
from service.text.history import History, Prompt
from service.text.stop_strings import StopStrings
from service.text.word_search import Path, Word, word_end_logprob, word_logprob

Floats = NDArray[np.float32]

_DISTRIBUTIONS_AT_ONCE = 64  # each is a vocabulary wide


class TextEngine:
    """Blocking calls; several threads may make them."""

    def __init__(self, engine: BlockingEngine, tokenizer: Tokenizer) -> None:
        """`engine`: of the model whose tokenizer this is."""
        self._engine, self._tokenizer = engine, tokenizer

    def close(self) -> None:
        self._engine.close()

    def scores(self, prompts: Sequence[Prompt], *, num_top: int) -> list[PromptOutput | None]:
        """ln P of each prompt's tokens; None for a prompt that leaves nothing to compute.

        num_top: alternatives beside each token. Prompts behind one state are one request, which
        computes what they share once.
        """
        outputs: list[PromptOutput | None] = [None] * len(prompts)
        places = [index for index, prompt in enumerate(prompts) if len(prompt.ids) > prompt.first]
        groups = _by_start(places, [prompt.before.start for prompt in prompts])
        requests = [
            EngineRequest(
                request_id="",
                prompts=tuple(prompts[index].ids for index in group),
                start=prompts[group[0]].before.start,
                prompt_logprobs=num_top,
                score_from=tuple(prompts[index].first for index in group),
            )
            for group in groups
        ]
        for group, computed in zip(groups, self._engine.compute(requests), strict=True):
            for index, output in zip(group, computed.prompts, strict=True):
                outputs[index] = output
        return outputs

    def settled(self, histories: Sequence[History]) -> list[History]:
        """Each history with its final tokens in its state: a few steps where they are cached."""
        settled = list(histories)
        places = [index for index, history in enumerate(histories) if history.ids]
        groups = _by_start(places, [history.start for history in histories])
        requests = [
            EngineRequest(
                request_id="",
                prompts=tuple(histories[index].ids for index in group),
                start=histories[group[0]].start,
                state_at=tuple(len(histories[index].ids) for index in group),
            )
            for group in groups
        ]
        for group, computed in zip(groups, self._engine.compute(requests), strict=True):
            for index, output in zip(group, computed.prompts, strict=True):
                settled[index] = replace(histories[index], start=output.state, ids=())
        return settled

    def next_token(self, history: History, wanted: NextToken) -> NextTokenOutput:
        """The distribution after `history`, its pending text taken as finished."""
        request = EngineRequest(
            request_id="", prompts=(history.tokens(),), start=history.start, next_token=wanted
        )
        distribution = self._engine.compute([request])[0].prompts[0].next_token
        assert distribution is not None
        return distribution

    def distributions(self, start: History, paths: Sequence[Path]) -> list[Floats]:
        """ln P of every token, (V,), after the state of `start` and each path of token ids."""
        request = EngineRequest(
            request_id="",
            prompts=tuple(paths),
            start=start.start,
            next_token=NextToken(full=True),
        )
        return [_full(output) for output in self._engine.compute([request])[0].prompts]

    def word_ends(self, prompt: Prompt, counts: Sequence[int]) -> list[float]:
        """ln P(a word begins) after so many of the prompt's tokens, for each of `counts`."""
        masses: list[float] = []
        for first in range(0, len(counts), _DISTRIBUTIONS_AT_ONCE):
            request = EngineRequest(
                request_id="",
                prompts=tuple(
                    prompt.ids[:count] for count in counts[first : first + _DISTRIBUTIONS_AT_ONCE]
                ),
                start=prompt.before.start,
                next_token=NextToken(full=True),
            )
            (computed,) = self._engine.compute([request])
            masses += [
                word_end_logprob(_full(output), self._tokenizer) for output in computed.prompts
            ]
        return masses

    def words(self, start: History, words: Sequence[str]) -> list[Word]:
        """Each word behind the state of `start`, its end included in its probability."""
        paths = [tuple(self._tokenizer.encode(word)) for word in words]
        if not paths:
            return []
        request = EngineRequest(
            request_id="",
            prompts=tuple(paths),
            start=start.start,
            prompt_logprobs=0,
            next_token=NextToken(full=True),
        )
        found = []
        outputs = self._engine.compute([request])[0].prompts
        for word, path, output in zip(words, paths, outputs, strict=True):
            assert output.logprobs is not None
            logprob = word_logprob(output.logprobs, _full(output), self._tokenizer)
            found.append(Word(word=word, token_ids=path, logprob=logprob))
        return found

    def continuations(
        self, prompt: Prompt, sampling: SamplingParams, stops: Sequence[str]
    ) -> Iterator[list[Continuation]]:
        """The `sampling.n` continuations of a prompt, each time that one of them has grown.

        Leaving early aborts the work. stops: strings that end a continuation.
        """
        rules = TextRules(
            tokenizer=self._tokenizer,
            stops=StopStrings(stops) if stops else None,
            min_tokens=sampling.min_tokens,
            list_tokens=False,
        )
        grown = [Continuation(rules, in_line=prompt.ends_in_line) for _ in range(sampling.n)]
        request = EngineRequest(
            request_id="",
            prompts=(prompt.ids,),
            start=prompt.before.start,
            sampling=sampling,
        )
        stream = self._engine.submit(request)
        with closing(stream):  # type: ignore[type-var]
            for output in stream:
                for token in output.tokens:
                    is_stopped = grown[token.sample].push(token)
                    if is_stopped and not output.finished:
                        self._engine.stop_sample(output.request_id, token.prompt, token.sample)
                yield grown


def _by_start(places: Sequence[int], starts: Sequence[EngineState | None]) -> list[list[int]]:
    """Places whose sequences continue one and the same state object, together."""
    groups: dict[int, list[int]] = {}
    for index in places:
        groups.setdefault(id(starts[index]), []).append(index)
    return list(groups.values())


def _full(output: PromptOutput) -> Floats:
    assert output.next_token is not None
    assert output.next_token.full is not None
    return output.next_token.full
