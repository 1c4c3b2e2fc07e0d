"""Requests that come, go, rest and are resumed in any order: no row is lost, doubled or idle."""

from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from service.engine.request import Priority
from tests.service.engine.simulated_rows import Work, simulate


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come and go at any time; no sequence is lost or doubled, and no bound is passed."""

    requests: Bundle[str] = Bundle("requests")

    @initialize(
        max_num_seqs=st.integers(1, 6),
        bulk_rows=st.integers(1, 6),
        wide_rows=st.integers(1, 4),
        quantum=st.integers(1, 4),
        calm_steps=st.integers(0, 3),
    )
    def begin(
        self, max_num_seqs: int, bulk_rows: int, wide_rows: int, quantum: int, calm_steps: int
    ) -> None:
        bulk_rows = min(bulk_rows, max_num_seqs)
        self.rows = simulate(max_num_seqs, quantum, bulk_rows, wide_rows, calm_steps)
        self.company_at = -100  # the step that last had an interactive request of few sequences
        self.names = count()
        self.priorities: dict[str, Priority] = {}
        self.pushed: list[Work] = []
        self.held: set[str] = set()

    def waiting(self, *, held: bool = False) -> list[Work]:
        """Without those of requests that are held, or those alone."""
        rows = self.rows
        without = [u for u in self.pushed if u not in rows.rows and u not in rows.finished]
        return [u for u in without if (u.request_id in self.held) == held]

    @rule(
        target=requests,
        priority=st.sampled_from(Priority),
        sequences=st.lists(st.integers(1, 9), max_size=5),
    )
    def add(self, priority: Priority, sequences: list[int]) -> str:
        name = str(next(self.names))
        self.priorities[name] = priority
        self.pushed += self.rows.add(name, sequences, priority)
        return name

    @rule(name=requests, tokens=st.lists(st.integers(1, 9), max_size=3))
    def push(self, name: str, tokens: list[int]) -> None:
        sequences = [Work(name, number) for number in tokens]
        self.rows.scheduler.push(sequences)
        self.pushed += sequences

    @rule(name=requests, newest=st.booleans())
    def withdraw(self, name: str, newest: bool) -> None:
        waiting = self.waiting(held=name in self.held)
        mine = [sequence for sequence in waiting if sequence.request_id == name]
        if mine:
            sequence = mine[-1 if newest else 0]
            self.rows.scheduler.withdraw(sequence)
            self.pushed.remove(sequence)

    @rule(name=consumes(requests))
    def remove(self, name: str) -> None:
        self.rows.remove(name)
        self.held.discard(name)
        del self.priorities[name]
        self.pushed = [sequence for sequence in self.pushed if sequence.request_id != name]

    @rule(name=requests)
    def hold(self, name: str) -> None:
        self.rows.hold(name)
        self.held.add(name)

    @rule(name=requests)
    def resume(self, name: str) -> None:
        self.rows.scheduler.resume(name)
        self.held.discard(name)

    @rule(steps=st.integers(1, 5))
    def run(self, steps: int) -> None:
        for _ in range(steps):
            sizes = self.interactive_sizes()
            self.rows.schedule()
            self.check_shares(sizes)
            self.rows.advance()

    def interactive_sizes(self) -> Counter[str]:
        """Sequences that run or want to, by interactive request."""
        active = [u.request_id for u in [*self.rows.rows, *self.waiting()]]
        return Counter(n for n in active if self.priorities[n] is Priority.INTERACTIVE)

    def check_shares(self, sizes: Counter[str]) -> None:
        """Rows are idle, and bulk work and wide requests have few, for the sake of others only."""
        scheduler, waiting = self.rows.scheduler, self.waiting()
        wide = {name for name, size in sizes.items() if size > 2 * scheduler.wide_rows}
        if len(wide) < len(sizes):
            self.company_at = scheduler.steps
        has_company = scheduler.steps - self.company_at <= scheduler.calm_steps
        shares = self.rows.shares
        num_bulk = sum(shares[n] for n, p in self.priorities.items() if p is Priority.BULK)
        num_wide, most_wide = sum(shares[n] for n in wide), max(scheduler.wide_rows, len(wide))
        if sizes:
            assert num_bulk <= scheduler.bulk_rows
        if len(wide) < len(sizes):
            assert num_wide <= most_wide
        if len(self.rows.rows) < scheduler.max_num_seqs:
            for name in {u.request_id for u in waiting}:
                if self.priorities[name] is Priority.BULK:
                    assert sizes or has_company
                    assert num_bulk == scheduler.bulk_rows
                else:
                    assert name in wide
                    assert has_company
                    assert num_wide == most_wide

    @invariant()
    def rows_are_where_the_scheduler_says(self) -> None:
        if not hasattr(self, "rows"):
            return
        scheduler = self.rows.scheduler
        assert self.rows.rows == scheduler.running
        assert len(scheduler.running) <= scheduler.max_num_seqs
        assert len(set(map(id, scheduler.running))) == len(scheduler.running)
        assert scheduler.num_waiting == len(self.waiting())
        assert scheduler.has_work == bool(scheduler.running or self.waiting())

    def teardown(self) -> None:
        """Whatever is left comes to its end: nothing was lost."""
        if not hasattr(self, "rows"):
            return
        for name in self.held:
            self.rows.scheduler.resume(name)
        for _ in range(10 * len(self.pushed) + 1):
            if not self.rows.scheduler.has_work:
                break
            self.rows.step()
        unfinished = [sequence for sequence in self.pushed if sequence not in self.rows.finished]
        assert not unfinished
        assert len(set(map(id, self.rows.finished))) == len(self.rows.finished)


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
