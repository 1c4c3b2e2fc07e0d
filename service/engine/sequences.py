"""What takes rows of the batch: texts that are read, continuations, beams of a search.

Each kind knows what happens after a step of it: what it notes, and what follows it. What it needs
from the engine in turn it leaves with the `Step`, which the engine carries out.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from service.engine.beam_candidates import beam_candidates
from service.engine.beam_search import BeamSearch
from service.engine.prefix_memory import PrefixMemory
from service.engine.prefix_tree import Node
from service.engine.progress import NAN, NOT_FINITE, RequestProgress, Scores
from service.engine.request import FinishReason, Floats, TokenOutput, TopLogprobs
from service.engine.sampling.draw import stream_key
from service.engine.sampling.logits_processors import SampleState
from service.engine.sampling.sampler import top_logprobs
from service.engine.state_cache import CachedPrefix
from service.engine.step import Step

# Quicker than calling the class, which is done for every token.
token_output = cast("Callable[[tuple[Any, ...]], TokenOutput]", partial(tuple.__new__, TokenOutput))
_NEAR_END = 8  # steps: whoever waits for a text's end does not wait for others' long ones
_KEEP_EVERY = 8  # tokens between kept states of a continuation: reading these again costs little


def _nothing_left(progress: RequestProgress) -> str:
    """What to tell where no token can be drawn: which settings have excluded them."""
    sampling = progress.request.sampling
    names = sampling.exclusions if sampling is not None else ()
    return f"no token is left by {' and '.join(names)}" if names else NOT_FINITE


class EngineSequence(ABC):
    """Holds a row of the batch for some steps; a token of it is fed in each.

    start: the state before its next token, None for that of nothing; looked at when it gets a row.
    next_id: the token to feed; wants_head: whether the distribution after it is of use.
    since: the step that gave it its row.
    """

    __slots__ = ("next_id", "progress", "request_id", "since", "start", "wants_head")

    def __init__(self, progress: RequestProgress, start: Floats | None, next_id: int) -> None:
        self.progress, self.request_id = progress, progress.request.request_id
        self.start, self.next_id = start, next_id
        self.wants_head, self.since = True, 0

    @abstractmethod
    def after_step(self, step: Step, row: int, place: int | None) -> None:
        """Its `next_id` was fed in `row`; the distribution after it, if wanted, is at `place`."""

    def tokens_ahead(self, limit: int) -> Sequence[int] | None:  # noqa: ARG002
        """Tokens that can be fed before anyone need look; None where nobody should read ahead, for
        each token of this one needs a look, or it should not wait for others to read."""
        return None

    def read_ahead(self, features: Floats, logprobs_of: Callable[[Floats], Floats]) -> int:
        """`tokens_ahead` were fed, with features (T, F) after each; distributions looked at."""
        raise NotImplementedError


class NodeSequence(EngineSequence):
    """Reads the tokens of a tree's node, and scores them where that is asked.

    position: tokens read. num_fed: how many must be; the last one of a text that is only scored
    need not. scores: what is known of tokens 0..position.
    """

    __slots__ = ("_first_head", "node", "num_fed", "position", "scores")

    def __init__(self, progress: RequestProgress, node: Node, start: Floats | None) -> None:
        super().__init__(progress, start, 0)
        self.node, self.position = node, 0
        self.scores = progress.scores[node] = Scores()
        self.num_fed = len(node.tokens) - (not progress.needs_end(node))
        self._first_head = node.score_from - node.depth - 1  # what follows it is scored
        self._look()

    def _look(self) -> None:
        """What is fed next."""
        position, tokens = self.position, self.node.tokens
        if position < len(tokens):
            self.next_id = tokens[position]
        if position + 1 < len(tokens):
            self.wants_head = position >= self._first_head
        else:
            self.wants_head = self.progress.ends_with_head(self.node)

    @property
    def is_done(self) -> bool:
        """Whether all that is asked of the node is known."""
        return self.position >= self.num_fed

    def after_step(self, step: Step, row: int, place: int | None) -> None:
        self.position += 1
        if self.position == len(self.node.tokens):
            step.spent.append(self)
            step.ends.append((self, place, step.read_state(row)))
            return
        self._look()
        if self.is_done:
            step.spent.append(self)
            step.ends.append((self, None, None))
        if place is None:
            self.add_unscored()
        else:
            step.scored.append((place, self))

    def add_score(self, logprob: float, top: TopLogprobs) -> None:
        """Note ln P of the token at `position` and its alternatives.

        What is not finite is noted as -inf, which fails the request when the node is closed.
        """
        self.scores.logprobs.append(logprob if math.isfinite(logprob) else -math.inf)
        if self.progress.request.prompt_logprobs:
            self.scores.tops.append(top)

    def add_unscored(self) -> None:
        """Note that the token at `position` has no score."""
        self.scores.logprobs.append(NAN)
        if self.progress.request.prompt_logprobs:
            self.scores.tops.append(())

    def add_scored(self, head: Floats) -> None:
        """Note the token at `position`, given the distribution (V,) before it."""
        count = self.progress.request.prompt_logprobs
        top = top_logprobs(head[None], [count])[0] if count else ()
        self.add_score(float(head[self.next_id]), top)

    def tokens_ahead(self, limit: int) -> Sequence[int] | None:
        left = self.num_fed - self.position
        if left <= _NEAR_END:
            return None
        # One token at least stays for the step that follows, so no node ends here.
        if left <= limit:
            return ()
        return self.node.tokens[self.position : self.position + limit]

    def read_ahead(self, features: Floats, logprobs_of: Callable[[Floats], Floats]) -> int:
        first_scored = min(max(0, self._first_head - self.position), len(features))
        for _ in range(first_scored):
            self.position += 1
            self.add_unscored()
        if first_scored < len(features):
            for head in logprobs_of(features[first_scored:]):
                self.position += 1
                self.next_id = self.node.tokens[self.position]
                self.add_scored(head)
        self._look()
        return len(features) - first_scored

    def begin_after_cached(self, memory: PrefixMemory) -> None:
        """Let a request's first node begin after its longest kept prefix."""
        progress, node = self.progress, self.node
        found = memory.find(progress, node)
        if found is None:
            self._note_first(None)
            return
        self.start, self.position = found.state, found.size
        self._look()
        self.scores.logprobs[:] = found.logprobs.tolist()
        self.scores.tops[:] = [()] * (found.size if progress.request.prompt_logprobs else 0)
        progress.cached_tokens = found.size
        self._note_first(memory.head_of(found.state) if node.score_from <= found.size else None)

    def _note_first(self, head: Floats | None) -> None:
        """Note the token at `position`; head: the distribution before it, None for no score."""
        if head is None:
            self.add_unscored()
        else:
            self.add_scored(head)

    def close(self, step: Step, place: int | None, state: Floats | None) -> None:
        """Hand the node's end on: to the cache, to its children, to the prompts that end here."""
        progress, node = self.progress, self.node
        step.touch(progress)
        if -math.inf in self.scores.logprobs:
            progress.fail(NOT_FINITE)
            return
        if state is not None:
            progress.states.update(dict.fromkeys(node.taken_by, state))
            step.memory.keep_node(progress, node, state)
        self._open_children(step, place, state)
        for index in node.prompts:
            progress.report_prompt(index, None if place is None else step.logprobs[place])
            if progress.rules is not None:
                assert place is not None
                assert state is not None
                self._continue(step, index, place, state)

    def _open_children(self, step: Step, place: int | None, state: Floats | None) -> None:
        """Let the children wait for rows; their first tokens are scored here."""
        node = self.node
        is_first = not node.tokens and not node.prompts and not node.taken_by
        for child in node.children.values():
            sequence = NodeSequence(self.progress, child, state)
            if child.score_from <= node.end:
                assert place is not None
                sequence.add_scored(step.logprobs[place])
            elif is_first and len(node.children) == 1:
                sequence.begin_after_cached(step.memory)
            else:
                sequence.add_unscored()
            if sequence.is_done:  # a single token, whose score is all that is asked
                sequence.close(step, None, None)
            else:
                step.waiting.append(sequence)

    def _continue(self, step: Step, prompt: int, place: int, state: Floats) -> None:
        """Begin the continuations of a prompt that ends with the node."""
        progress = self.progress
        rules = progress.rules
        assert rules is not None
        if rules.params.beam_width is not None:
            progress.open_searches += 1
            beam = BeamSequence(progress, prompt, BeamSearch(rules.params), 0, None)
            step.beams.append((place, beam, state))
            return
        for sample in range(rules.params.n):
            sequence = SampleSequence(progress, prompt, sample, state)
            progress.open_samples[prompt, sample] = sequence
            step.draws.append((place, sequence, None))


class SampleSequence(EngineSequence):
    """One continuation of one prompt; feeds the token that it drew last.

    generated, logprobs: its tokens and ln P of each. kept: where its newest state lies in the
    cache, which is that after num_kept of its tokens.
    """

    __slots__ = (
        "generated", "keeps_states", "kept", "logprobs", "max_tokens", "num_kept", "prompt",
        "sample", "state", "stops",
    )  # fmt: skip

    def __init__(self, progress: RequestProgress, prompt: int, sample: int, start: Floats) -> None:
        super().__init__(progress, start, -1)
        rules = progress.rules
        assert rules is not None
        self.prompt, self.sample = prompt, sample
        key = stream_key(rules.params.seed, prompt, sample)
        self.state = SampleState(rules, key, progress.prompt_tokens(prompt))
        self.generated, self.logprobs = self.state.generated, list[float]()
        self.stops, self.max_tokens = rules.stops, rules.params.max_tokens
        self.keeps_states = progress.request.keep_states
        self.kept: CachedPrefix | None = None
        self.num_kept = 0

    def after_step(self, step: Step, row: int, place: int | None) -> None:
        assert place is not None
        step.draws.append((place, self, row))

    def take(
        self, step: Step, row: int | None, token: int | None, logprob: float, top: TopLogprobs
    ) -> bool:
        """Take the token that was drawn; whether the continuation goes on after it.

        token: None where the settings exclude every one.
        """
        progress, generated = self.progress, self.generated
        if token is None or not -math.inf < logprob < math.inf:
            progress.fail(_nothing_left(progress) if token is None else NOT_FINITE)
            return False
        if self.keeps_states and row is not None and len(generated) % _KEEP_EVERY == 0:
            fed = len(generated)
            step.memory.keep_sample(self, step.read_state(row), fed, is_last=False)
        self.state.append(token)
        self.logprobs.append(logprob)
        self.next_id = token
        reason: FinishReason | None = None
        if token in self.stops:
            reason = "stop"
        elif len(generated) >= self.max_tokens:
            reason = "length"
        progress.new_tokens.append(
            token_output((self.prompt, self.sample, token, logprob, top, reason))
        )
        if reason is not None:
            progress.open_samples.pop((self.prompt, self.sample), None)
            if row is not None:
                self.leave(step.memory, step.read_state(row))
                step.spent.append(self)
        elif row is None:
            step.waiting.append(self)
        return reason is None

    def leave(self, memory: PrefixMemory, state: Floats) -> None:
        """Keep what its row holds, the state before its last token, for who goes on from here."""
        memory.keep_sample(self, state, len(self.generated) - 1, is_last=True)


class BeamSequence(EngineSequence):
    """One beam of a search; feeds the last token of its hypothesis."""

    __slots__ = ("beam", "prompt", "search")

    def __init__(
        self,
        progress: RequestProgress,
        prompt: int,
        search: BeamSearch,
        beam: int,
        start: Floats | None,
    ) -> None:
        tokens = search.beams[beam].tokens
        super().__init__(progress, start, tokens[-1] if tokens else -1)
        self.prompt, self.search, self.beam = prompt, search, beam

    def after_step(self, step: Step, row: int, place: int | None) -> None:
        assert place is not None
        step.spent.append(self)
        step.beams.append((place, self, step.read_state(row)))

    @staticmethod
    def report(step: Step, beams: Sequence[tuple[int, BeamSequence, Floats]]) -> None:
        """Hand candidates of some beams of one search to it; when all have reported, it moves on.

        Each with the place of its distribution and its state.
        """
        first = beams[0][1]
        progress, search, rules = first.progress, first.search, first.progress.rules
        assert rules is not None
        places = [place for place, _, _ in beams]
        heads = step.logprobs[places]
        found = beam_candidates(
            heads,
            [search.beams[sequence.beam].tokens for _, sequence, _ in beams],
            rules,
            progress.prompt_tokens(first.prompt),
            search.width,
            lambda: step.logits()[places],
        )
        tops = top_logprobs(heads, [search.params.logprobs] * len(beams))
        if not all(np.isfinite(own.logprobs).all() for own in found):
            progress.fail(NOT_FINITE)
            step.touch(progress)
            return
        have_all = False
        for (_, sequence, state), own, top in zip(beams, found, tops, strict=True):
            have_all = search.report(sequence.beam, own, top, state)
        if have_all:
            first._move_on(step)

    def _move_on(self, step: Step) -> None:
        search = self.search
        states = search.advance()
        step.waiting += (
            BeamSequence(self.progress, self.prompt, search, beam, start)
            for beam, start in enumerate(states)
        )
        if not states:
            self._finish(step)

    def _finish(self, step: Step) -> None:
        """Tell what the search has found."""
        best = self.search.best()
        if not best:
            self.progress.fail(_nothing_left(self.progress))
        found = []
        for sample, (hypothesis, is_stopped) in enumerate(best):
            reasons: list[FinishReason | None] = [None] * len(hypothesis.tokens)
            reasons[-1] = "stop" if is_stopped else "length"
            parts = zip(
                hypothesis.tokens, hypothesis.logprobs, hypothesis.tops, reasons, strict=True
            )
            found.append([TokenOutput(self.prompt, sample, *part) for part in parts])
        self.progress.report_search(found)
        step.touch(self.progress)
