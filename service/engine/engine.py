"""One loop for everything: schedule -> run -> postprocess.

Where nobody waits and only continuations run, nothing need be scheduled or told between one token
and the next: they go on for a burst of some milliseconds, step by step as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from service.engine.burst import Burst
from service.engine.prefix_memory import PrefixMemory
from service.engine.progress import RequestProgress
from service.engine.request import EngineRequest, Floats, RequestOutput, check_request
from service.engine.runners.base import ModelRunner
from service.engine.sampling.guides import Guides
from service.engine.sampling.sampler import Sampled, Scratch, sample
from service.engine.scheduler import Scheduler
from service.engine.sequences import BeamSequence, EngineSequence, NodeSequence, SampleSequence
from service.engine.state_cache import StateCache
from service.engine.step import Step

_SEARCH_ROWS = 16  # a beam's candidates cost more than its row of a step
_MOST_AHEAD = 2  # texts; with more, steps of all of them together are as fast


@dataclass
class Counters:
    """What the engine has done since it began."""

    steps: int = 0
    step_rows: int = 0
    head_rows: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0

    def add_step(self, rows: int, heads: int) -> None:
        self.steps += 1
        self.step_rows += rows
        self.head_rows += heads


def _nobody_waits() -> bool:
    return False


class Engine:
    """Requests in, outputs out; not thread-safe, one owner calls everything.

    A step advances every row by one token, whatever request it belongs to.
    spellings: bytes of each token in a text, b"" for none; only guides ask for them.
    burst_s: seconds that continuations may go on before the tokens they drew are told.
    """

    def __init__(
        self,
        runner: ModelRunner,
        scheduler: Scheduler[EngineSequence],
        cache: StateCache,
        *,
        spellings: Sequence[bytes] = (),
        burst_s: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner, self.scheduler, self.cache = runner, scheduler, cache
        self.counters = Counters()
        self._memory = PrefixMemory(cache, runner.logprobs_of_state)
        self._scratch, self._guides = Scratch(), Guides(spellings)
        self._progress: dict[str, RequestProgress] = {}
        self._touched: dict[str, RequestProgress] = {}
        self._burst_s, self._clock = burst_s, clock
        self._last_running: list[EngineSequence] = []
        self._no_heads = np.empty((0, runner.vocab_size), np.float32)

    def add_request(self, request: EngineRequest) -> None:
        """Queue a request; raises ValueError for one that cannot be computed."""
        check_request(request, self.runner.vocab_size, self.runner.layout.size)
        progress = RequestProgress.of(request, self._guides)
        self._progress[request.request_id] = progress
        is_search = request.sampling is not None and request.sampling.beam_width is not None
        most_rows = _SEARCH_ROWS if is_search else None
        self.scheduler.add_request(request.request_id, request.priority, most_rows)
        self._begin(progress)

    def _begin(self, progress: RequestProgress) -> None:
        """Put a request's first sequences in line: what follows its start."""
        root, start = progress.tree.root, progress.request.start
        state = None if start is None else start.vector
        logprobs, place = self._no_heads, None
        if state is not None and progress.ends_with_head(root):
            logprobs, place = self.runner.logprobs_of_state(state)[None], 0
        if state is None and root.taken_by:
            state = np.zeros(self.runner.layout.size, np.float32)
        step = self._new_step(logprobs)
        NodeSequence(progress, root, state).close(step, place, state)
        self.counters.cached_tokens += progress.cached_tokens
        self._finish(step)
        if progress.is_finished:
            progress.end_wait(self._clock)

    def abort(self, request_id: str) -> None:
        """Forget a request; its rows are free at once."""
        self._release(self.scheduler.remove_request(request_id))
        self._progress.pop(request_id, None)
        self._touched.pop(request_id, None)

    def stop_sample(self, request_id: str, prompt: int, index: int) -> None:
        """End one continuation; a request that has nothing else open is finished by it."""
        progress = self._progress.get(request_id)
        sequence = progress.open_samples.pop((prompt, index), None) if progress else None
        if progress is None or sequence is None:
            return
        if sequence in self.scheduler.running:
            row = self.scheduler.running.index(sequence)
            sequence.leave(self._memory, self.runner.read_state(row))
            self._release([sequence])
        else:
            self.scheduler.withdraw(sequence)
        self._touched[request_id] = progress

    def hold(self, request_id: str) -> None:
        """Let a request rest, its rows free for others, until `resume`; its numbers do not change.

        For whoever takes its outputs more slowly than they are made.
        """
        self._put_aside(self.scheduler.hold(request_id))

    def resume(self, request_id: str) -> None:
        """Let a request that rests go on."""
        self.scheduler.resume(request_id)

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work or bool(self._touched)

    def step(self, is_awaited: Callable[[], bool] = _nobody_waits) -> list[RequestOutput]:
        """Advance every running sequence; returns what is new, by request.

        By one token, or by a burst of them if nothing has changed since the last step. is_awaited:
        whether somebody waits for the end of the step, which then comes with the next token.
        """
        self._schedule()
        if running := list(self.scheduler.running):
            self._read_ahead(running, is_awaited)
            step, places = self._run(running)
            self._postprocess(running, step, places)
            if running == self._last_running:
                self._burst(running, is_awaited)
            self._last_running = running
        return self._take_outputs()

    # Schedule: rows to sequences

    def _schedule(self) -> None:
        self._put_aside(self.scheduler.to_preempt())
        if admitted := self.scheduler.admit():
            first = len(self.scheduler.running) - len(admitted)
            self.runner.write_states(first, [sequence.start for sequence in admitted])
            for sequence in admitted:
                sequence.start = None
                sequence.progress.end_wait(self._clock)
        self.scheduler.steps += 1

    def _put_aside(self, running: Sequence[EngineSequence]) -> None:
        """Take sequences out of their rows, to wait for others with the states that they have."""
        for sequence in running:
            sequence.start = self.runner.read_state(self.scheduler.running.index(sequence))
        self._release(running)
        for sequence in running:
            self.scheduler.push([sequence])

    def _release(self, sequences: Iterable[EngineSequence]) -> None:
        if moves := self.scheduler.release(sequences):
            self.runner.move_rows(list(moves.values()), list(moves))

    # Run: a token to every row

    def _run(self, running: Sequence[EngineSequence]) -> tuple[Step, list[int | None]]:
        """Feed them; each one's place among the distributions, where it wants one."""
        wanting = [row for row, sequence in enumerate(running) if sequence.wants_head]
        self.runner.step(np.array([sequence.next_id for sequence in running], np.int64))
        self.counters.add_step(len(running), len(wanting))
        logprobs = self._no_heads
        if wanting:
            logprobs = self.runner.logprobs(np.array(wanting, np.int64))
        places: list[int | None] = [None] * len(running)
        for place, row in enumerate(wanting):
            places[row] = place
        return self._new_step(logprobs), places

    def _read_ahead(
        self, running: Sequence[EngineSequence], is_awaited: Callable[[], bool]
    ) -> None:
        """Let long texts take many steps at once while nobody else waits for the next one."""
        length = self.runner.sequence_length
        if not length or len(running) > _MOST_AHEAD or self.scheduler.num_waiting:
            return
        deadline, goes_on = self._clock() + self._burst_s, True
        while goes_on:
            ahead = [sequence.tokens_ahead(length) for sequence in running]
            if not any(ahead) or any(tokens is None for tokens in ahead):
                return
            self._read_texts(running, ahead)
            goes_on = self._clock() < deadline and not is_awaited()

    def _read_texts(
        self, running: Sequence[EngineSequence], ahead: Sequence[Sequence[int] | None]
    ) -> None:
        """Feed each row the tokens that can be fed to it at once."""
        for row, (sequence, tokens) in enumerate(zip(running, ahead, strict=True)):
            if tokens:
                features = self.runner.run_sequence(row, np.array(tokens, np.int64))
                heads = sequence.read_ahead(features, self.runner.logprobs_of_features)
                self.counters.step_rows += len(tokens)
                self.counters.head_rows += heads

    # Postprocess: what the numbers mean for each sequence

    def _new_step(self, logprobs: Floats) -> Step:
        runner = self.runner
        return Step(self._memory, runner.read_state, logprobs, runner.logits, self._touched)

    def _postprocess(
        self, running: Sequence[EngineSequence], step: Step, places: Sequence[int | None]
    ) -> None:
        """Row numbers hold until the releases at the end."""
        for row, (sequence, place) in enumerate(zip(running, places, strict=True)):
            sequence.after_step(step, row, place)
        step.close_texts()
        self._finish(step)

    def _finish(self, step: Step) -> None:
        """Do what a step's sequences asked for: beams, draws, then waiting, then free rows."""
        for _, beams in groupby(step.beams, key=lambda found: id(found[1].search)):
            BeamSequence.report(step, list(beams))
        if step.draws:
            self._draw(step, step.draws)
        self.scheduler.push(step.waiting)
        self._release(step.spent)

    def _draw(self, step: Step, draws: Sequence[tuple[int, SampleSequence, int | None]]) -> None:
        """Draw a token for each continuation."""
        places, logprobs, logits = [place for place, _, _ in draws], step.logprobs, step.logits
        if places != list(range(len(logprobs))):
            logprobs = logprobs[places]
            logits = lambda: step.logits()[places]  # noqa: E731
        sequences = [sequence for _, sequence, _ in draws]
        for sequence in sequences:
            step.touch(sequence.progress)
        states = [sequence.state for sequence in sequences]
        drawn = sample(logprobs, states, logits, self._scratch)
        self.counters.generated_tokens += len(sequences)
        self._take(step, sequences, [row for _, _, row in draws], drawn)

    def _take(
        self,
        step: Step,
        sequences: Sequence[SampleSequence],
        rows: Sequence[int | None],
        drawn: Sampled,
    ) -> bool:
        """Give each continuation its token; whether all of them go on."""
        taken = [
            sequence.take(step, row, token, logprob, top)
            for sequence, row, token, logprob, top in zip(
                sequences, rows, drawn.ids, drawn.logprobs, drawn.tops, strict=True
            )
        ]
        return all(taken)

    # Bursts

    def _burst(self, running: Sequence[EngineSequence], is_awaited: Callable[[], bool]) -> None:
        """Let continuations go on while nothing happens but that each draws its next token."""
        streams = [sequence for sequence in running if isinstance(sequence, SampleSequence)]
        changed = running != self.scheduler.running or self.scheduler.num_waiting
        if changed or len(streams) < len(running):
            return
        deadline = self._clock() + self._burst_s
        rows, states = np.arange(len(running)), [sequence.state for sequence in streams]
        ids: Sequence[int | None] = [sequence.next_id for sequence in streams]
        step, goes_on, row_numbers = self._new_step(self._no_heads), True, rows.tolist()
        burst = Burst(streams)
        for sequence in streams:
            step.touch(sequence.progress)
        while goes_on and self._clock() < deadline and not is_awaited():
            self.runner.step(np.array(ids, np.int64))
            step.logprobs = self.runner.logprobs(rows)
            self.counters.add_step(len(rows), len(rows))
            drawn = sample(step.logprobs, states, self.runner.logits, self._scratch)
            self.counters.generated_tokens += len(streams)
            ids = drawn.ids
            if not burst.note(drawn):
                burst.tell()
                goes_on = self._take(step, streams, row_numbers, drawn)
        burst.tell()
        self._finish(step)

    # Outputs

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
