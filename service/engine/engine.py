"""One loop for everything: schedule -> run -> postprocess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from service.engine.beam_search import BeamSearch, Candidate
from service.engine.prefix_tree import Node
from service.engine.request import (
    EngineRequest,
    FinishReason,
    Floats,
    NextTokenOutput,
    PromptOutput,
    RequestOutput,
    TokenOutput,
    check_request,
)
from service.engine.runners.base import ModelRunner
from service.engine.sampling.logits_processors import SampleState, modified
from service.engine.sampling.sampler import Scratch, sample, top_logprobs
from service.engine.sampling.top_candidates import top_candidates
from service.engine.scheduler import Scheduler
from service.engine.sequences import (
    BeamUnit,
    Counters,
    NodeEnd,
    NodeUnit,
    Progress,
    SampleUnit,
    Scores,
    Unit,
    advance_nodes,
    run_sequences,
)
from service.engine.state_cache import PrefixMemory, StateCache, start_key
from service.engine_state import EngineState

_NOTHING_LEFT = "the sampling settings exclude every token"


_NO_HEADS = np.empty((0, 0), np.float32)


class Engine:
    """Requests in, outputs out; not thread-safe, one owner calls everything.

    A step advances every row by one token, whatever request it belongs to.
    """

    def __init__(self, runner: ModelRunner, scheduler: Scheduler[Unit], cache: StateCache) -> None:
        self.runner, self.scheduler, self.cache = runner, scheduler, cache
        self._memory = PrefixMemory(cache, runner.logprobs_of_state)
        self.counters = Counters()
        self._features = runner.layout.slices()["features"]
        self._scratch = Scratch()
        self._progress: dict[str, Progress] = {}
        self._touched: dict[str, Progress] = {}

    def add_request(self, request: EngineRequest) -> None:
        """Queue a request; raises ValueError for one that cannot be computed."""
        check_request(request, self.runner.vocab_size, self.runner.layout.size)
        progress = Progress.of(request, start_key(request.start))
        self._progress[request.request_id] = progress
        self.scheduler.add_request(request.request_id, request.priority)
        self._begin(progress)

    def abort(self, request_id: str) -> None:
        """Forget a request; its rows are free at once."""
        self._release(self.scheduler.remove_request(request_id))
        self._progress.pop(request_id, None)
        self._touched.pop(request_id, None)

    def stop_sample(self, request_id: str, prompt: int, index: int) -> None:
        """End one continuation; a request that has nothing else open is finished by it."""
        progress = self._progress.get(request_id)
        unit = progress.open_samples.pop((prompt, index), None) if progress else None
        if progress is None or unit is None:
            return
        if unit in self.scheduler.running:
            state = self.runner.read_state(self.scheduler.running.index(unit))
            self._memory.keep_sample(unit, state, len(unit.state.generated) - 1)
            self._release([unit])
        else:
            self.scheduler.withdraw(unit)
        self._touched[request_id] = progress

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work or bool(self._touched)

    def step(self) -> list[RequestOutput]:
        """Advance every running unit by one token; returns what is new, by request."""
        self._schedule()
        if running := list(self.scheduler.running):
            run_sequences(self.runner, self.counters, running)
            heads, logprobs = self._run(running)
            self._postprocess(running, heads, logprobs)
        return self._take_outputs()

    # Schedule: rows to units

    def _schedule(self) -> None:
        preempted = self.scheduler.to_preempt()
        for unit in preempted:
            unit.start = self.runner.read_state(self.scheduler.running.index(unit))
        self._release(preempted)
        for unit in preempted:
            self.scheduler.push([unit])
        if admitted := self.scheduler.admit():
            first = len(self.scheduler.running) - len(admitted)
            self.runner.write_states(first, [unit.start for unit in admitted])
            for unit in admitted:
                unit.start = None
        self.scheduler.steps += 1

    def _release(self, units: Iterable[Unit]) -> None:
        if moves := self.scheduler.release(units):
            self.runner.move_rows(list(moves.values()), list(moves))

    # Run: a token to every row

    def _run(self, running: Sequence[Unit]) -> tuple[dict[int, int], Floats]:
        """Distributions of the rows that want one, and row -> place among them."""
        wanting = [row for row, unit in enumerate(running) if unit.wants_head]
        self.runner.step(np.array([unit.next_id for unit in running], np.int64))
        self.counters.steps += 1
        self.counters.step_rows += len(running)
        self.counters.head_rows += len(wanting)
        if not wanting:
            return {}, np.empty((0, self.runner.vocab_size), np.float32)
        logprobs = self.runner.logprobs(np.array(wanting, np.int64))
        return {row: place for place, row in enumerate(wanting)}, logprobs

    # Postprocess: what the numbers mean for each unit

    def _postprocess(
        self, running: Sequence[Unit], heads: dict[int, int], logprobs: Floats
    ) -> None:
        """Row numbers hold until the releases at the end."""
        nodes: list[tuple[int, NodeUnit]] = []
        draws: list[tuple[int, SampleUnit]] = []
        spent: list[Unit] = []
        for row, unit in enumerate(running):
            if isinstance(unit, NodeUnit):
                nodes.append((row, unit))
            elif isinstance(unit, SampleUnit):
                draws.append((heads[row], unit))
                if unit.progress.request.keep_states:
                    state = self.runner.read_state(row)
                    self._memory.keep_sample(unit, state, len(unit.state.generated))
            else:
                spent.append(unit)
                self._report_beam(unit, logprobs[heads[row]], self.runner.read_state(row))
        ends = advance_nodes(self.runner, nodes, heads, logprobs)
        spent += [unit for _, unit in nodes if unit.is_done]
        for end in ends:
            draws += [(end.head, unit) for unit in self._close_node(end, logprobs)]  # type: ignore[misc]
        finished = self._draw(draws, logprobs)
        rows = {id(unit): row for row, unit in enumerate(running)} if finished else {}
        for unit in finished:
            if (row_of := rows.get(id(unit))) is not None:
                state = self.runner.read_state(row_of)
                self._memory.keep_sample(unit, state, len(unit.state.generated) - 1)
                spent.append(unit)
        self._release(spent)

    def _close_node(self, end: NodeEnd, logprobs: Floats) -> list[SampleUnit]:
        """States, children, outputs; returns the continuations that begin here."""
        progress, node = end.progress, end.node
        head = None if end.head is None else logprobs[end.head]
        if end.state is not None:
            for index in node.taken_by:
                progress.states[index] = end.state
            self._memory.keep_node(progress, node, end.state)
        self._open_children(progress, node, end.state, head)
        samples: list[SampleUnit] = []
        for index in node.prompts:
            samples += self._close_prompt(progress, index, end.state, head)
        self._touched[progress.request.request_id] = progress
        return samples

    def _open_children(
        self, progress: Progress, node: Node, state: Floats | None, head: Floats | None
    ) -> list[NodeUnit]:
        """Let the children of a node wait for rows; their first tokens are scored here."""
        units = []
        for child in node.children.values():
            scores = progress.scores[child] = Scores()
            units.append(unit := NodeUnit(progress, child, scores, start=state))
            if child.score_from <= node.end:
                assert head is not None
                unit.add_scored(head)
            else:
                unit.add_unscored()
        self.scheduler.push(unit for unit in units if not unit.is_done)
        for unit in units:
            if unit.is_done:  # a single token, whose score is all that is asked
                self._close_node(NodeEnd(progress, unit.node, None, None), _NO_HEADS)
        return units

    def _close_prompt(
        self, progress: Progress, index: int, state: Floats | None, head: Floats | None
    ) -> list[SampleUnit]:
        request = progress.request
        progress.open_prompts -= 1
        taken = progress.states.pop(index, None)
        wants = request.next_token
        if request.prompt_logprobs is not None or wants is not None or taken is not None:
            scored = request.prompt_logprobs is not None
            progress.new_prompts.append(
                PromptOutput(
                    index=index,
                    logprobs=progress.logprobs_of_prompt(index) if scored else None,
                    top=progress.tops_of_prompt(index) if request.prompt_logprobs else None,
                    next_token=_next_token(request, head),
                    state=None if taken is None else EngineState(taken),
                )
            )
        params = request.sampling
        if params is None:
            return []
        assert head is not None
        assert state is not None
        if params.beam_width is not None:
            search = BeamSearch(params)
            progress.open_beams += 1
            self._report_beam(BeamUnit(progress, index, search, 0, None), head, state)
            return []
        return [progress.new_sample(index, k, state) for k in range(params.n)]

    # Continuations

    def _draw(self, draws: Sequence[tuple[int, SampleUnit]], logprobs: Floats) -> list[SampleUnit]:
        """Draw a token for each continuation; returns those that are finished by it."""
        if not draws:
            return []
        places, units = [place for place, _ in draws], [unit for _, unit in draws]
        if places != list(range(len(logprobs))):
            logprobs = logprobs[places]
        states = [unit.state for unit in units]

        def logits_of(chosen: Sequence[int]) -> Floats:
            return self.runner.logits(self.runner.head_features([places[k] for k in chosen]))

        drawn = sample(logprobs, states, logits_of, self._scratch)
        finished = []
        for unit, token, logprob, top in zip(
            units, drawn.ids, drawn.logprobs, drawn.tops, strict=True
        ):
            if token is None:
                self._fail(unit.progress, _NOTHING_LEFT)
            elif self._take_token(unit, token, logprob, top):
                finished.append(unit)
            elif unit.start is not None:
                self.scheduler.push([unit])
        return finished

    def _take_token(
        self, unit: SampleUnit, token: int, logprob: float, top: tuple[tuple[int, float], ...]
    ) -> bool:
        """Append a drawn token and report it; True if it ends the continuation."""
        unit.state.append(token)
        unit.logprobs.append(logprob)
        params, progress = unit.state.params, unit.progress
        reason: FinishReason | None = None
        if token in params.stop_token_ids:
            reason = "stop"
        elif len(unit.state.generated) >= params.max_tokens:
            reason = "length"
        progress.new_tokens.append(
            TokenOutput(
                prompt=unit.prompt,
                sample=unit.sample,
                token_id=token,
                logprob=logprob,
                top=top,
                finish_reason=reason,
            )
        )
        self.counters.generated_tokens += 1
        self._touched[unit.request_id] = progress
        if reason is not None:
            progress.open_samples.pop((unit.prompt, unit.sample), None)
        return reason is not None

    def _report_beam(self, unit: BeamUnit, head: Floats, state: Floats) -> None:
        """Hand a beam's candidates to its search, and move the search on when all have come."""
        search, progress = unit.search, unit.progress
        hypothesis = search.beams[unit.beam]
        own = SampleState(search.params, 0, prompt=progress.request.prompts[unit.prompt])
        for token in hypothesis.tokens:
            own.append(token)
        row = head[None].copy()
        with modified(row, [own], lambda _: self.runner.logits(state[None, self._features])):
            best = top_candidates(row, min(search.num_candidates, row.shape[1]))
        candidates = [
            Candidate(token, value, float(head[token]))
            for token, value in zip(best.ids[0].tolist(), best.values[0].tolist(), strict=True)
            if value > -np.inf
        ]
        tops = top_logprobs(head[None], [search.params.logprobs])[0]
        if search.report(unit.beam, candidates, tops, state):
            states = search.advance()
            self.scheduler.push(
                BeamUnit(progress, unit.prompt, search, k, start) for k, start in enumerate(states)
            )
            if not states:
                self._finish_beams(unit)

    def _finish_beams(self, unit: BeamUnit) -> None:
        progress = unit.progress
        progress.open_beams -= 1
        best = unit.search.best()
        if not best:
            self._fail(progress, _NOTHING_LEFT)
        for k, (hypothesis, stopped) in enumerate(best):
            last = len(hypothesis.tokens) - 1
            for position, token in enumerate(hypothesis.tokens):
                reason: FinishReason = "stop" if stopped else "length"
                progress.new_tokens.append(
                    TokenOutput(
                        prompt=unit.prompt,
                        sample=k,
                        token_id=token,
                        logprob=hypothesis.logprobs[position],
                        top=hypothesis.tops[position],
                        finish_reason=reason if position == last else None,
                    )
                )
        self._touched[unit.request_id] = progress

    # Requests

    def _begin(self, progress: Progress) -> None:
        """Put a request's first units in line, from its start state or a cached prefix."""
        request, root = progress.request, progress.tree.root
        start = None if request.start is None else request.start.vector
        asks = progress.ends_with_head(root) and start is not None
        head = self.runner.logprobs_of_state(start) if asks and start is not None else None
        if root.prompts or root.taken_by:
            state = np.zeros(self.runner.layout.size, np.float32) if start is None else start
            matrix = _NO_HEADS if head is None else head[None]
            end = NodeEnd(progress, root, None if head is None else 0, state)
            self._draw([(0, unit) for unit in self._close_node(end, matrix)], matrix)
        else:
            units = self._open_children(progress, root, start, head)
            if len(units) == 1:
                self.counters.cached_tokens += self._memory.skip(units[0])

    def _fail(self, progress: Progress, message: str) -> None:
        """End a request with an error; its rows are given back when outputs are taken."""
        progress.error = message
        progress.open_samples.clear()
        self._touched[progress.request.request_id] = progress

    def _take_outputs(self) -> list[RequestOutput]:
        outputs = []
        for request_id, progress in self._touched.items():
            if progress.has_news:
                outputs.append(progress.take_output())
            if progress.is_finished:
                self._release(self.scheduler.remove_request(request_id))
                self._progress.pop(request_id, None)
        self._touched.clear()
        return outputs


def _next_token(request: EngineRequest, head: Floats | None) -> NextTokenOutput | None:
    wants = request.next_token
    if wants is None:
        return None
    assert head is not None
    top = top_logprobs(head[None], [wants.top_k])[0]
    chosen = tuple((token, float(head[token])) for token in wants.token_ids)
    return NextTokenOutput(top=top, chosen=chosen, full=head.copy() if wants.full else None)
