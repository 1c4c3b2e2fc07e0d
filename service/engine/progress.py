"""A request on its way: what of it is known, what is still open, what has not been told yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from service.engine.prefix_tree import Node, PrefixTree
from service.engine.request import (
    EngineRequest,
    Floats,
    Guide,
    NextTokenOutput,
    PromptOutput,
    RequestOutput,
    TokenOutput,
    TopLogprobs,
)
from service.engine.sampling.guides import Guides, GuideState
from service.engine.sampling.logits_processors import PromptTokens, SamplingRules
from service.engine.sampling.sampler import top_logprobs
from service.engine.state_cache import CachedPrefix, start_key
from service.engine_state import EngineState

if TYPE_CHECKING:
    from service.engine.sequences import SampleSequence

NAN = float("nan")
NOT_FINITE = "the model gives numbers that are not finite; its weights or the state are damaged"


@dataclass(slots=True, eq=False)
class Scores:
    """What is known of a node's tokens so far: ln P of each (NaN unscored), and alternatives."""

    logprobs: list[float] = field(default_factory=list)
    tops: list[TopLogprobs] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class RequestProgress:
    """scores: of the nodes that were begun. states: by prompt, those asked for and reached.

    guides: what continuations must spell, each at its beginning.
    queued_s: how long it waited for its first step, until that is told.
    kept: where the states at ends of nodes lie in the cache. open_samples: by (prompt, sample).
    """

    request: EngineRequest
    tree: PrefixTree
    start_key: bytes
    rules: SamplingRules | None
    guides: Mapping[Guide, GuideState]
    scores: dict[Node, Scores] = field(default_factory=dict)
    states: dict[int, Floats] = field(default_factory=dict)
    kept: dict[Node, CachedPrefix] = field(default_factory=dict)
    open_prompts: int = 0
    open_samples: dict[tuple[int, int], SampleSequence] = field(default_factory=dict)
    open_searches: int = 0
    cached_tokens: int = 0
    is_waiting: bool = True
    queued_s: float | None = None
    new_prompts: list[PromptOutput] = field(default_factory=list)
    new_tokens: list[TokenOutput] = field(default_factory=list)
    error: str | None = None
    _prompt_tokens: dict[int, PromptTokens] = field(default_factory=dict)

    @classmethod
    def of(cls, request: EngineRequest, guides: Guides) -> RequestProgress:
        """Raises ValueError where what a continuation must spell is no grammar."""
        score_from = None
        if request.prompt_logprobs is not None:
            first = 0 if request.start is not None else 1
            given = request.score_from or (0,) * len(request.prompts)
            score_from = [max(position, first) for position in given]
        return cls(
            request,
            PrefixTree(request.prompts, score_from, request.state_at),
            start_key(request.start, request.cache_scope),
            None if request.sampling is None else SamplingRules(request.sampling),
            {each: guides.begin(each) for each in set(request.sampling.guides)}
            if request.sampling is not None
            else {},
            open_prompts=len(request.prompts),
        )

    def prompt_tokens(self, prompt: int) -> PromptTokens:
        """What the continuations of a prompt share, found when the first of them begins."""
        known = self._prompt_tokens.get(prompt)
        if known is None:
            assert self.rules is not None
            guides = self.rules.params.guides
            guide = self.guides[guides[prompt]] if guides else None
            known = PromptTokens(self.rules, self.request.prompts[prompt], guide)
            self._prompt_tokens[prompt] = known
        return known

    def ends_with_head(self, node: Node) -> bool:
        """Whether the distribution after the node's last token is of use."""
        request = self.request
        if node.prompts and (request.sampling is not None or request.next_token is not None):
            return True
        return any(child.score_from <= node.end for child in node.children.values())

    def needs_end(self, node: Node) -> bool:
        """Whether the node's last token must be fed: for the state or the distribution after it."""
        if node.children or node.taken_by or node.is_trunk:
            return True
        return self.request.sampling is not None or self.request.next_token is not None

    def is_continued_often(self, node: Node) -> bool:
        """Whether several continuations begin at the node's end, or states are kept of one."""
        if self.request.sampling is None or not node.prompts:
            return False
        return self.request.keep_states or len(node.prompts) * self.request.sampling.n > 1

    def path_tokens(self, node: Node) -> list[int]:
        """Tokens from the start to the end of `node`."""
        parts = [part.tokens for part in reversed(list(_upwards(node)))]
        return [token for part in parts for token in part]

    def path_logprobs(self, node: Node) -> list[float]:
        """ln P of the tokens of `path_tokens`, NaN where not computed."""
        parts = [self.scores[part].logprobs for part in reversed(list(_upwards(node)))]
        return [value for part in parts for value in part]

    def end_wait(self, clock: Callable[[], float]) -> None:
        """Its first step begins, or everything was known already and it needs none."""
        if self.is_waiting:
            self.is_waiting = False
            if self.request.arrived is not None:
                self.queued_s = max(0.0, clock() - self.request.arrived)

    def fail(self, message: str) -> None:
        """End the request with an error; its rows are given back when outputs are taken."""
        self.error = message
        self.open_samples.clear()

    @property
    def is_finished(self) -> bool:
        if self.error is not None:
            return True
        return not (self.open_prompts or self.open_samples or self.open_searches)

    @property
    def has_news(self) -> bool:
        return bool(self.new_prompts or self.new_tokens) or self.is_finished

    def take_output(self) -> RequestOutput:
        """Everything new since the last call."""
        output = RequestOutput(
            request_id=self.request.request_id,
            prompts=tuple(self.new_prompts),
            tokens=tuple(self.new_tokens),
            cached_tokens=self.cached_tokens,
            finished=self.is_finished,
            error=self.error,
            queued_s=self.queued_s,
        )
        self.new_prompts, self.new_tokens, self.queued_s = [], [], None
        return output

    def report_prompt(self, index: int, head: Floats | None) -> None:
        """Tell what was asked of a prompt, which has come to its end; head: (V,) after it."""
        request = self.request
        self.open_prompts -= 1
        state = self.states.pop(index, None)
        is_scored, wants_next = request.prompt_logprobs is not None, request.next_token is not None
        if not (is_scored or wants_next) and state is None:
            return
        if any(part is not None and not np.isfinite(part).all() for part in (head, state)):
            self.fail(NOT_FINITE)
            return
        self.new_prompts.append(
            PromptOutput(
                index=index,
                logprobs=self._logprobs_of_prompt(index) if is_scored else None,
                top=self._tops_of_prompt(index) if request.prompt_logprobs else None,
                next_token=self._next_token(head),
                state=None if state is None else EngineState(state),
            )
        )

    def _logprobs_of_prompt(self, index: int) -> Floats:
        """ln P of each token of a prompt, as far as asked for."""
        values = self.path_logprobs(self.tree.leaves[index])
        result = np.array(values, np.float32)
        if self.request.score_from:
            result[: self.request.score_from[index]] = np.nan  # shared with one that scores them
        return result

    def _tops_of_prompt(self, index: int) -> tuple[TopLogprobs, ...]:
        tops = [top for node in self.tree.path(index) for top in self.scores[node].tops]
        if self.request.score_from:
            unscored = self.request.score_from[index]
            tops[:unscored] = [()] * len(tops[:unscored])
        return tuple(tops)

    def _next_token(self, head: Floats | None) -> NextTokenOutput | None:
        wants = self.request.next_token
        if wants is None:
            return None
        assert head is not None
        return NextTokenOutput(
            top=top_logprobs(head[None], [wants.top_k])[0],
            chosen=tuple((token, float(head[token])) for token in wants.token_ids),
            full=head.copy() if wants.full else None,
        )

    def report_search(self, found: Sequence[Sequence[TokenOutput]]) -> None:
        """Tell the continuations that a beam search has found, best first."""
        self.open_searches -= 1
        for tokens in found:
            self.new_tokens += tokens


def _upwards(node: Node) -> Iterator[Node]:
    """The node and its ancestors, without the empty root."""
    current: Node | None = node
    while current is not None and current.tokens:
        yield current
        current = current.parent
