"""A sentence word by word, many sentences at a time: what beam searches and lattices ask.

Words are complete when they come, so that nothing of them stays open, as the text of a `TextState`
does, and a step costs a word's own tokens. The same numbers as `POST /v1/score` gives of the whole
sentence, word for word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

import numpy as np

from models.tokenizer import Tokenizer
from service.engine.hosts.blocking import BlockingEngine
from service.engine.request import EngineRequest, PromptOutput
from service.engine_state import EngineState


@dataclass(frozen=True, slots=True)
class WordState:
    """After a word. before: the engine's state without the word's last token, None for nothing.

    The last token goes into the network together with those of the next word: their first one is
    then scored in the same batched step as everything else.
    """

    before: EngineState | None = field(repr=False)
    last: int


class WordStates:
    """Any number of states advance in one call, by as many steps as the longest word has tokens."""

    def __init__(self, engine: BlockingEngine, tokenizer: Tokenizer) -> None:
        self._engine, self._tokenizer = engine, tokenizer

    def start(self) -> WordState:
        """Before a sentence's first word."""
        return WordState(None, self._tokenizer.bos_id)

    def advance(
        self, states: Sequence[WordState], words: Sequence[str]
    ) -> tuple[list[float], list[WordState]]:
        """ln P(word | state) for each pair, and the states after the words.

        Raises ValueError for a word that is empty or holds white space.
        """
        for word in words:
            if not word or word.split() != [word]:
                raise ValueError(f"a word is not empty and holds no white space: {word!r}")
        ids = [tuple(self._tokenizer.encode(word)) for word in words]
        outputs = self._compute(states, ids, wants_states=True)
        after = [WordState(output.state, own[-1]) for output, own in zip(outputs, ids, strict=True)]
        return [_sum(output) for output in outputs], after

    def sentences(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """ln P of each word of every text and of its end; all texts are one prefix tree.

        The bulk form of `advance` and `end`: each different word is segmented once. White space
        between words counts as one space.
        """
        encode = lru_cache(maxsize=None)(lambda word: tuple(self._tokenizer.encode(word)))
        words = [[encode(word) for word in text.split()] for text in texts]
        begin, end = self._tokenizer.bos_id, self._tokenizer.eos_id
        request = EngineRequest(
            request_id="",
            prompts=tuple((begin, *chain.from_iterable(own), end) for own in words),
            prompt_logprobs=0,
            score_from=(1,) * len(texts),
        )
        outputs = self._engine.compute([request])[0].prompts if texts else []
        return [_by_word(output, own) for output, own in zip(outputs, words, strict=True)]

    def end(self, states: Sequence[WordState]) -> list[float]:
        """ln P(end of sequence | state) for each state."""
        ids = [(self._tokenizer.eos_id,)] * len(states)
        return [_sum(output) for output in self._compute(states, ids, wants_states=False)]

    def _compute(
        self, states: Sequence[WordState], ids: Sequence[tuple[int, ...]], *, wants_states: bool
    ) -> list[PromptOutput]:
        """One request for all states that continue the same one of the engine's."""
        groups: dict[int, list[int]] = {}
        for index, state in enumerate(states):
            groups.setdefault(id(state.before), []).append(index)
        prompts = [(state.last, *own) for state, own in zip(states, ids, strict=True)]
        requests = [
            EngineRequest(
                request_id="",
                prompts=tuple(prompts[index] for index in group),
                start=states[group[0]].before,
                prompt_logprobs=0,
                score_from=(1,) * len(group),
                state_at=tuple(len(prompts[i]) - 1 for i in group) if wants_states else (),
            )
            for group in groups.values()
        ]
        found: dict[int, PromptOutput] = {}
        for group, computed in zip(groups.values(), self._engine.compute(requests), strict=True):
            found.update(zip(group, computed.prompts, strict=True))
        return [found[index] for index in range(len(states))]


def _by_word(output: PromptOutput, words: Sequence[tuple[int, ...]]) -> tuple[float, ...]:
    """ln P of each word, whose tokens are given, and of the end."""
    assert output.logprobs is not None
    values = output.logprobs.tolist()
    found, first = [], 1
    for ids in words:
        stop = first + len(ids)
        found.append(values[first] if len(ids) == 1 else math.fsum(values[first:stop]))
        first = stop
    return (*found, values[first])


def _sum(output: PromptOutput) -> float:
    assert output.logprobs is not None
    return float(output.logprobs[1:].sum(dtype=np.float64))
