"""Work in hand: a request's progress, and the sequences of it that take rows of the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.engine.beam_search import BeamSearch
from service.engine.prefix_tree import Node, PrefixTree
from service.engine.request import (
    EngineRequest,
    Floats,
    PromptOutput,
    RequestOutput,
    TokenOutput,
    TopLogprobs,
)
from service.engine.runners.base import ModelRunner
from service.engine.sampling.draw import stream_key
from service.engine.sampling.logits_processors import SampleState
from service.engine.sampling.sampler import top_logprobs

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

    request: EngineRequest
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
    def of(cls, request: EngineRequest, start_key: bytes) -> Progress:
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


_MOST_SEQUENCES = 2  # rows; with more, steps of all of them together are as fast


@dataclass
class Counters:
    """What the engine has done since it began."""

    steps: int = 0
    step_rows: int = 0
    head_rows: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0


@dataclass
class NodeEnd:
    """The end of a node: which distribution follows it (a row of the step's), and its state.

    Both are None where nothing hangs on them.
    """

    progress: Progress
    node: Node
    head: int | None
    state: Floats | None


def run_sequences(runner: ModelRunner, counters: Counters, running: Sequence[Unit]) -> None:
    """Let long texts take many steps at once while nobody else waits for the next one."""
    length = runner.sequence_length
    if not length or len(running) > _MOST_SEQUENCES:
        return
    units = [unit for unit in running if isinstance(unit, NodeUnit)]
    if len(units) < len(running):
        return
    for row, unit in enumerate(units):
        # One token at least stays for the step that follows, so no node ends here.
        if unit.num_fed - unit.position > length:
            ids = unit.node.tokens[unit.position : unit.position + length]
            _run_sequence(runner, counters, row, unit, np.array(ids, np.int64))


def _run_sequence(
    runner: ModelRunner, counters: Counters, row: int, unit: NodeUnit, ids: NDArray[np.int64]
) -> None:
    features = runner.run_sequence(row, ids)
    counters.step_rows += len(ids)
    first_scored = max(0, unit.node.score_from - unit.node.depth - unit.position - 1)
    for _ in ids[:first_scored]:
        unit.position += 1
        unit.add_unscored()
    if len(features) > first_scored:
        counters.head_rows += len(features) - first_scored
        for head in runner.logprobs_of_features(features[first_scored:]):
            unit.position += 1
            unit.add_scored(head)


def advance_nodes(
    runner: ModelRunner,
    nodes: Sequence[tuple[int, NodeUnit]],
    heads: dict[int, int],
    logprobs: Floats,
) -> list[NodeEnd]:
    """Score the tokens that follow, and tell which nodes have come to their end."""
    ends: list[NodeEnd] = []
    places: list[int] = []
    tokens: list[int] = []
    scored: list[NodeUnit] = []
    for row, unit in nodes:
        unit.position += 1
        if unit.position == len(unit.node.tokens):
            state = runner.read_state(row)
            ends.append(NodeEnd(unit.progress, unit.node, heads.get(row), state))
            continue
        if unit.is_done:
            ends.append(NodeEnd(unit.progress, unit.node, None, None))
        if (place := heads.get(row)) is None:
            unit.add_unscored()
        else:
            places.append(place)
            tokens.append(unit.next_id)
            scored.append(unit)
    if scored:
        values = logprobs[places, tokens].tolist()
        for unit, value in zip(scored, values, strict=True):
            unit.scores.logprobs.append(value)
        _add_tops(scored, places, logprobs)
    return ends


def _add_tops(units: Sequence[NodeUnit], places: Sequence[int], logprobs: Floats) -> None:
    counts = [unit.progress.request.prompt_logprobs for unit in units]
    if any(counts):
        asked = [k for k, count in enumerate(counts) if count]
        tops = top_logprobs(logprobs[[places[k] for k in asked]], [counts[k] for k in asked])
        for k, top in zip(asked, tops, strict=True):
            units[k].scores.tops.append(top)
