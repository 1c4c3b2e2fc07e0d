"""Work in hand: a request's progress, and the units of it that take rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from service.engine.adjustments import SampleState
from service.engine.beam import BeamSearch
from service.engine.prefix_tree import Node, PrefixTree
from service.engine.random_numbers import stream_key
from service.engine.request import (
    Floats,
    PromptOutput,
    Request,
    RequestOutput,
    TokenOutput,
    TopLogprobs,
)
from service.engine.sampler import top_logprobs

NAN = float("nan")


@dataclass(slots=True, eq=False)
class Scores:
    """What is known of a node's tokens so far: ln P of each (NaN unscored), and alternatives."""

    logprobs: list[float] = field(default_factory=list)
    tops: list[TopLogprobs] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class NodeUnit:
    """Feeds the tokens of a tree node. start: state before token `position`, None for zeros.

    scores: what is known of tokens 0..position. num_fed: tokens that must be fed; the last one of a
    text that is only scored need not.
    """

    progress: Progress
    node: Node
    scores: Scores
    start: Floats | None
    position: int = 0
    since: int = 0
    num_fed: int = field(init=False)
    first_head: int = field(init=False)

    def __post_init__(self) -> None:
        node, progress = self.node, self.progress
        self.num_fed = len(node.tokens) - (not progress.needs_end(node))
        self.first_head = node.score_from - node.depth - 1  # what follows it is scored

    @property
    def request_id(self) -> str:
        return self.progress.request.request_id

    @property
    def next_id(self) -> int:
        return self.node.tokens[self.position]

    @property
    def is_done(self) -> bool:
        """Whether all that is asked of the node is known."""
        return self.position >= self.num_fed

    @property
    def wants_head(self) -> bool:
        """Whether the distribution after the next token is of use."""
        if self.position + 1 < len(self.node.tokens):
            return self.position >= self.first_head
        return self.progress.ends_with_head(self.node)

    def add_scored(self, head: Floats) -> None:
        """Note the token at `position`, given the distribution (V,) before it."""
        self.scores.logprobs.append(float(head[self.next_id]))
        if count := self.progress.request.prompt_logprobs:
            self.scores.tops += top_logprobs(head[None], [count])

    def add_unscored(self) -> None:
        """Note that the token at `position` has no score."""
        self.scores.logprobs.append(NAN)
        if self.progress.request.prompt_logprobs:
            self.scores.tops.append(())


@dataclass(slots=True, eq=False)
class SampleUnit:
    """One continuation of one prompt; feeds the token it drew last."""

    progress: Progress
    prompt: int
    sample: int
    state: SampleState
    start: Floats | None
    since: int = 0
    logprobs: list[float] = field(default_factory=list)
    wants_head: bool = True

    @property
    def request_id(self) -> str:
        return self.progress.request.request_id

    @property
    def next_id(self) -> int:
        return self.state.generated[-1]


@dataclass(slots=True, eq=False)
class Progress:
    """A request on its way: its tree, what is known, and what is still open."""

    request: Request
    tree: PrefixTree
    start_key: bytes
    scores: dict[Node, Scores] = field(default_factory=dict)
    states: dict[int, Floats] = field(default_factory=dict)
    open_prompts: int = 0
    open_samples: dict[tuple[int, int], SampleUnit] = field(default_factory=dict)
    open_beams: int = 0
    cached_tokens: int = 0
    new_prompts: list[PromptOutput] = field(default_factory=list)
    new_tokens: list[TokenOutput] = field(default_factory=list)
    error: str | None = None

    @classmethod
    def of(cls, request: Request, start_key: bytes) -> Progress:
        score_from = None
        if request.prompt_logprobs is not None:
            first = 0 if request.start is not None else 1
            given = request.score_from or (0,) * len(request.prompts)
            score_from = [max(position, first) for position in given]
        tree = PrefixTree(request.prompts, score_from, request.state_at)
        return cls(request, tree, start_key, open_prompts=len(request.prompts))

    def ends_with_head(self, node: Node) -> bool:
        """Whether the distribution after the node's last token is of use."""
        request = self.request
        if node.prompts and (request.sampling is not None or request.next_token is not None):
            return True
        return any(child.score_from <= node.end for child in node.children.values())

    def needs_end(self, node: Node) -> bool:
        """Whether anything hangs on the node's end: its state or the distribution after it."""
        if node.children or node.taken_by or node.is_trunk:
            return True
        return self.request.sampling is not None or self.request.next_token is not None

    def path_tokens(self, node: Node) -> list[int]:
        """Tokens from the start to the end of `node`."""
        parts = [part.tokens for part in reversed(list(_upwards(node)))]
        return [token for part in parts for token in part]

    def path_logprobs(self, node: Node) -> list[float]:
        """ln P of the tokens of `path_tokens`, NaN where not computed."""
        parts = [self.scores[part].logprobs for part in reversed(list(_upwards(node)))]
        return [value for part in parts for value in part]

    def new_sample(self, prompt: int, sample: int, start: Floats | None) -> SampleUnit:
        params = self.request.sampling
        assert params is not None
        key = stream_key(params.seed, prompt, sample)
        state = SampleState(params, key, prompt=self.request.prompts[prompt])
        unit = SampleUnit(self, prompt, sample, state, start)
        self.open_samples[prompt, sample] = unit
        return unit

    @property
    def is_finished(self) -> bool:
        if self.error is not None:
            return True
        return not (self.open_prompts or self.open_samples or self.open_beams)

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
        )
        self.new_prompts, self.new_tokens = [], []
        return output

    def logprobs_of_prompt(self, index: int) -> Floats:
        """ln P of each token of a prompt, as far as asked for."""
        values = self.path_logprobs(self.tree.leaves[index])
        result = np.array(values, np.float32)
        if self.request.score_from:
            result[: self.request.score_from[index]] = np.nan  # shared with one that scores them
        return result

    def tops_of_prompt(self, index: int) -> tuple[TopLogprobs, ...]:
        tops = [top for node in self.tree.path(index) for top in self.scores[node].tops]
        if self.request.score_from:
            unscored = self.request.score_from[index]
            tops[:unscored] = [()] * len(tops[:unscored])
        return tuple(tops)


@dataclass(slots=True, eq=False)
class BeamUnit:
    """One beam of a search; feeds the last token of its hypothesis."""

    progress: Progress
    prompt: int
    search: BeamSearch
    beam: int
    start: Floats | None
    since: int = 0
    wants_head: bool = True

    @property
    def request_id(self) -> str:
        return self.progress.request.request_id

    @property
    def next_id(self) -> int:
        return self.search.beams[self.beam].tokens[-1]


Unit = NodeUnit | SampleUnit | BeamUnit


def _upwards(node: Node) -> Iterable[Node]:
    """The node and its ancestors, without the empty root."""
    current: Node | None = node
    while current is not None and current.tokens:
        yield current
        current = current.parent
