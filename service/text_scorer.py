"""Scores, distributions and rankings of a checkpoint in this process."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import CheckpointError
from models.tokenizer import Tokenizer
from service.engine.hosts.async_engine import EngineInfo, EngineOptions
from service.engine.hosts.blocking import BlockingEngine
from service.engine.hosts.loading import load_engine
from service.engine.request import NextToken, PromptOutput
from service.results import (
    Advanced,
    ListedToken,
    NextTokens,
    NextWords,
    ScoredWord,
    TextScore,
    TextState,
)
from service.served_model import ModelFacts, read_facts
from service.text.history import History, Prompt, begin, build_prompt
from service.text.nbest import Hypothesis, RankedHypothesis, ranked_list
from service.text.rescoring import Combination, Normalize
from service.text.score_figures import Detail, describe_score
from service.text.surprisal import word_logprobs, word_spans
from service.text.word_search import (
    check_prefix,
    check_word,
    context_tokens,
    search_words,
    starts_line,
    word_end_logprob,
)
from service.text_engine import TextEngine
from service.word_states import WordStates

T = TypeVar("T")
Floats = NDArray[np.float32]
_DEFAULT_OPTIONS = EngineOptions()


class TextScorer:
    """What a checkpoint says of texts; `LanguageModel` also writes them.

    `state` is a `TextState` of this model: with it a method goes on where the text stood, and no
    begin-of-sequence is put. Bad values raise ValueError, which names the argument. `words` takes
    many sentences a word further at a time.
    """

    def __init__(self, facts: ModelFacts, info: EngineInfo, engine: BlockingEngine) -> None:
        """See `load`."""
        self.facts, self.info = facts, info
        self._texts = TextEngine(engine, facts.tokenizer)
        self.words = WordStates(engine, facts.tokenizer)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = _DEFAULT_OPTIONS.device,
        precision: str = _DEFAULT_OPTIONS.precision,
        threads: int = _DEFAULT_OPTIONS.threads,
        max_num_seqs: int = _DEFAULT_OPTIONS.max_num_seqs,
        cache_bytes: int = _DEFAULT_OPTIONS.cache_bytes,
    ) -> Self:
        """The checkpoint in folder `path`; options as those of the service.

        Raises CheckpointError for a folder that is none, ValueError for one that cannot be served.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise CheckpointError(f"no checkpoint at {folder}: there is no such folder")
        options = EngineOptions(
            device=_choice("device", device, ("auto", "cpu", "cuda")),
            precision=_choice("precision", precision, ("auto", "int8", "fp32")),
            threads=threads,
            max_num_seqs=max_num_seqs,
            cache_bytes=cache_bytes,
        )
        facts = read_facts(folder)
        engine, info = load_engine(folder, options)
        if info.digest != facts.digest:
            raise CheckpointError(f"checkpoint {folder} was replaced while it was read")
        return cls(facts, info, BlockingEngine(engine))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the engine up; a closed model answers nothing more."""
        self._texts.close()

    @property
    def tokenizer(self) -> Tokenizer:
        return self.facts.tokenizer

    # Where a text stands

    def state(
        self, text: str = "", *, state: TextState | None = None, bos: bool = True
    ) -> TextState:
        """After `text`, which may follow an earlier state."""
        return self._settled([self._begin("", state, bos).with_text(text)])[0]

    def advance(self, states: Sequence[TextState], texts: Sequence[str]) -> list[Advanced]:
        """Each text behind the state of its place, all in the same steps of the engine.

        What a beam search asks for: what a further word costs each hypothesis, and its new state.
        """
        befores = [self._history_of(state) for state in states]
        prompts = [
            build_prompt(before, text, eos=False)
            for before, text in zip(befores, texts, strict=True)
        ]
        outputs = self._texts.scores(prompts, num_top=0)
        afters = self._settled([prompt.after for prompt in prompts])
        return [
            Advanced(logprob=_sum(prompt, output), state=after)
            for prompt, output, after in zip(prompts, outputs, afters, strict=True)
        ]

    # Scores

    @overload
    def score(self, texts: str, **options: Any) -> TextScore: ...
    @overload
    def score(self, texts: Sequence[str], **options: Any) -> list[TextScore]: ...
    def score(self, texts: str | Sequence[str], **options: Any) -> TextScore | list[TextScore]:
        """How probable a text is, or each of several; options as those of `scores`."""
        return (
            self.scores([texts], **options)[0]
            if isinstance(texts, str)
            else self.scores(texts, **options)
        )

    def scores(
        self,
        texts: Sequence[str],
        *,
        context: str = "",
        state: TextState | None = None,
        bos: bool = True,
        eos: bool = True,
        detail: Detail = "totals",
        top_logprobs: int = 0,
        return_state: bool = False,
    ) -> list[TextScore]:
        """How probable each text is, after a context or state that they share.

        eos: score end-of-sequence after each text. detail: "words" adds the words, "tokens" both.
        top_logprobs: alternatives beside each token; needs detail "tokens".
        """
        _choice("detail", detail, ("totals", "words", "tokens"))
        if top_logprobs and detail != "tokens":
            raise ValueError("top_logprobs needs detail 'tokens', where it is reported")
        before = self._begin(context, state, bos)
        prompts = [build_prompt(before, text, eos=eos) for text in texts]
        outputs = self._texts.scores(prompts, num_top=top_logprobs)
        afters: Sequence[TextState | None] = [None] * len(prompts)
        if return_state:
            afters = self._settled([prompt.after for prompt in prompts])
        return [
            TextScore.of(describe_score(prompt, output, eos=eos, detail=detail), after)
            for prompt, output, after in zip(prompts, outputs, afters, strict=True)
        ]

    def surprisals(
        self, text: str, *, context: str = "", state: TextState | None = None
    ) -> list[ScoredWord]:
        """Each word with its own end in its probability, as studies of reading want it.

        See `service.text.surprisal`; `score` with detail "words" takes tokens as they are.
        """
        prompt = build_prompt(self._begin(context, state, bos=True), text, eos=False)
        spans = word_spans(prompt)
        if not spans:
            return []
        (output,) = self._texts.scores([prompt], num_top=0)
        assert output is not None
        assert output.logprobs is not None
        counts = [prompt.first + stop for stop in (0, *(span.stop for span in spans))]
        ends = self._texts.word_ends(prompt, counts)
        logprobs = word_logprobs(spans, output.logprobs[prompt.first :], ends)
        return [
            ScoredWord(word=span.word, logprob=logprob, start=span.start, end=span.end)
            for span, logprob in zip(spans, logprobs, strict=True)
        ]

    def rescore(
        self,
        lists: Sequence[Sequence[Mapping[str, Any] | str]],
        *,
        lm_weight: float = 1.0,
        length_bonus: float = 0.0,
        weights: Mapping[str, float] | None = None,
        normalize: Normalize = "none",
        eos: bool = True,
        context: str = "",
        state: TextState | None = None,
    ) -> list[list[RankedHypothesis]]:
        """N-best lists, best hypothesis first; each is evaluated as one prefix tree.

        A hypothesis is a text, or a mapping with "text", and perhaps "score" and "scores" (by
        name, each with its factor in `weights`). The total is that of `POST /v1/rescore`.
        """
        combination = Combination(
            lm_weight=lm_weight,
            length_bonus=length_bonus,
            weights=dict(weights or {}),
            normalize=_choice("normalize", normalize, ("none", "tokens", "words")),
        )
        before = self._begin(context, state, bos=True)
        given = [[Hypothesis.of(each) for each in hypotheses] for hypotheses in lists]
        prompts = [build_prompt(before, h.text, eos=eos) for each in given for h in each]
        outputs = self._texts.scores(prompts, num_top=0)
        scored = iter(
            (_sum(prompt, output), len(prompt.ids) - prompt.first, eos)
            for prompt, output in zip(prompts, outputs, strict=True)
        )
        return [
            ranked_list(hypotheses, [next(scored) for _ in hypotheses], combination)
            for hypotheses in given
        ]

    # What comes next

    def next_token(
        self,
        context: str = "",
        *,
        state: TextState | None = None,
        bos: bool = True,
        top_k: int = 10,
        tokens: Sequence[int | str] = (),
        full: bool = False,
    ) -> NextTokens:
        """The most probable next tokens, and `tokens`, by id or by SentencePiece's name."""
        chosen = tuple(self._token_id(token) for token in tokens)
        history = self._begin(context, state, bos)
        found = self._texts.next_token(history, NextToken(top_k=top_k, token_ids=chosen, full=full))
        return NextTokens(
            top=tuple(self._listed(*pair) for pair in found.top),
            tokens=tuple(self._listed(*pair) for pair in found.chosen),
            logprobs=found.full,
        )

    def next_word(
        self,
        context: str = "",
        *,
        state: TextState | None = None,
        top_k: int = 10,
        words: Sequence[str] = (),
        max_expansions: int = 256,
        prefix: str = "",
    ) -> NextWords:
        """The `top_k` most probable next words, and the exact probability of `words`.

        prefix: what has been typed of the next word; only words that begin with it are looked for.
        """
        for word in words:
            check_word(word)
        check_prefix(prefix)
        history = self._begin(context, state, bos=True)
        own = context_tokens(self.tokenizer, history.pending, continuation=history.continuation)
        (begun,) = self._texts.settled(
            [replace(history, ids=(*history.ids, *own), pending="", continuation=False)]
        )
        (root,) = self._texts.distributions(begun, [()])
        is_first = starts_line(history.pending, continuation=history.continuation)

        async def expand(paths: Sequence[tuple[int, ...]]) -> Sequence[Floats]:
            return [root] if paths == [()] else self._texts.distributions(begun, paths)

        search = search_words(
            expand, self.tokenizer, top_k=top_k, max_expansions=max_expansions, prefix=prefix
        )
        found = _result_of(search)
        return NextWords(
            top=found.words,
            words=tuple(self._texts.words(begun, words)),
            is_complete=found.is_complete,
            context_end_logprob=0.0 if is_first else word_end_logprob(root, self.tokenizer),
            found_mass=found.found_mass,
            unexplored_mass=found.unexplored_mass,
            non_canonical_mass=found.non_canonical_mass,
            no_word_mass=found.no_word_mass,
            continued_mass=found.continued_mass,
            excluded_mass=found.excluded_mass,
        )

    # Between arguments and the engine

    def _begin(self, text: str, state: TextState | None, bos: bool) -> History:
        if state is None:
            return begin(self.tokenizer, bos=bos).with_text(text)
        if text:
            raise ValueError("a state takes the place of context; give one of the two")
        return self._history_of(state)

    def _history_of(self, state: TextState) -> History:
        if state.digest != self.facts.digest:
            raise ValueError("state: belongs to another model")
        return state.history

    def _settled(self, histories: Sequence[History]) -> list[TextState]:
        return [TextState(each, self.facts.digest) for each in self._texts.settled(histories)]

    def _listed(self, token_id: int, logprob: float) -> ListedToken:
        return ListedToken(id=token_id, token=self.tokenizer.piece(token_id), logprob=logprob)

    def _token_id(self, token: int | str) -> int:
        found = self.tokenizer.piece_to_id(token) if isinstance(token, str) else token
        if found is None or not 0 <= found < self.tokenizer.vocab_size:
            raise ValueError(f"tokens: {token!r} is no token of this model")
        return found


def _choice(name: str, value: str, choices: Sequence[str]) -> Any:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _sum(prompt: Prompt, output: PromptOutput | None) -> float:
    """ln P of the prompt's own tokens, in double precision; 0 for none."""
    if output is None:
        return 0.0
    assert output.logprobs is not None
    return float(output.logprobs[prompt.first :].sum(dtype=np.float64))


def _result_of(search: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that never has to wait. No event loop: a notebook has its own."""
    try:
        search.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError("the coroutine waits")
