"""What an engine does with a scheduler, without any numbers: sequences count their tokens down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.engine.request import Priority
from service.engine.scheduler import Scheduler

ENDLESS = 1 << 30


@dataclass(eq=False)
class Work:
    """A sequence that needs its row for `tokens` more steps."""

    request_id: str
    tokens: int = ENDLESS
    since: int = 0


@dataclass
class SimulatedRows:
    """A batch whose rows hold sequences, moved about as the scheduler says.

    If the scheduler's word on moves is right, `rows` is always `scheduler.running`.
    """

    scheduler: Scheduler[Work]
    rows: list[Work] = field(default_factory=list)
    finished: list[Work] = field(default_factory=list)

    def add(
        self, request_id: str, sequences: Iterable[int], priority: Priority = Priority.INTERACTIVE
    ) -> list[Work]:
        """Open a request with one sequence for each number of tokens."""
        self.scheduler.add_request(request_id, priority)
        works = [Work(request_id, tokens) for tokens in sequences]
        self.scheduler.push(works)
        return works

    def release(self, *sequences: Work) -> None:
        moves = self.scheduler.release(sequences)
        left = len(self.rows) - len(sequences)
        assert not set(moves) & set(moves.values())
        for target, source in moves.items():
            assert target < left <= source
            assert self.rows[target] in sequences
            self.rows[target] = self.rows[source]
        del self.rows[left:]

    def put_aside(self, running: list[Work]) -> None:
        self.release(*running)
        for sequence in running:
            self.scheduler.push([sequence])

    def hold(self, request_id: str) -> None:
        self.put_aside(self.scheduler.hold(request_id))

    def schedule(self) -> None:
        self.put_aside(self.scheduler.to_preempt())
        admitted = self.scheduler.admit()
        self.rows += admitted
        self.scheduler.steps += 1

    def step(self) -> None:
        self.schedule()
        self.advance()

    def advance(self) -> None:
        for sequence in self.rows:
            sequence.tokens -= 1
        done = [sequence for sequence in self.rows if not sequence.tokens]
        self.finished += done
        self.release(*done)

    def remove(self, request_id: str) -> None:
        self.release(*self.scheduler.remove_request(request_id))

    @property
    def shares(self) -> Counter[str]:
        """Rows by request."""
        return Counter(sequence.request_id for sequence in self.rows)


def simulate(
    max_num_seqs: int,
    quantum: int = 256,
    bulk_rows: int | None = None,
    wide_rows: int | None = None,
    calm_steps: int = 16,
) -> SimulatedRows:
    """An empty batch of so many rows; nothing is wide unless `wide_rows` are given."""
    wide_rows = max_num_seqs if wide_rows is None else wide_rows
    scheduler: Scheduler[Work] = Scheduler(
        max_num_seqs,
        bulk_rows=bulk_rows,
        wide_rows=wide_rows,
        quantum=quantum,
        calm_steps=calm_steps,
    )
    return SimulatedRows(scheduler)
