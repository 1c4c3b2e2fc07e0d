"""Who runs next: rows of the batch go to sequences, fairly and by priority.

A sequence is what holds a row for some steps: a node of a prefix tree, or a continuation.
Sequences of one request wait on the request's stack (so that a tree is walked depth first and few
states are kept); requests take turns. Plain Python; knows neither kernel nor numbers.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from service.engine.request import Priority


class Schedulable(Protocol):
    """What the scheduler sees: the request's id, and the step that gave the sequence its row."""

    @property
    def request_id(self) -> str: ...

    since: int


S = TypeVar("S", bound=Schedulable)


@dataclass
class _Queue(Generic[S]):
    """One request's sequences: those that wait (last in, first out) and how many run.

    most_rows: as many may run at once. is_held: none of them may run for now.
    """

    priority: Priority
    most_rows: int
    waiting: list[S] = field(default_factory=list)
    num_running: int = 0
    is_held: bool = False

    @property
    def num_ready(self) -> int:
        """How many want a row."""
        return 0 if self.is_held else len(self.waiting)

    @property
    def num_wanting(self) -> int:
        """How many want a row and may have one, as far as the request itself goes."""
        return min(self.num_ready, self.most_rows - self.num_running)

    @property
    def num_sequences(self) -> int:
        """How many run or want to."""
        return self.num_running + self.num_ready


class Scheduler(Generic[S]):
    """Fills `max_num_seqs` rows. The caller counts `steps` up, one a step of the engine.

    Interactive sequences go first. While any of them runs or waits, and for `calm_steps` more (a
    client who asks one short question after the other is back by then), bulk sequences hold at most
    `bulk_rows` rows, for a step costs the more the more rows it has, and streams wait for it.
    Among equals requests take turns, and a sequence that has held a row for `quantum` steps gives
    it up if others wait. A request of many sequences does not keep others from their first row, nor
    hold more than `request_rows` while others wait.

    An interactive request of more than twice `wide_rows` sequences is wide. For the same reason,
    beside others and as long after them, all wide ones together hold `wide_rows` rows, or one each
    if that is more.
    """

    def __init__(
        self,
        max_num_seqs: int,
        *,
        bulk_rows: int | None = None,
        request_rows: int | None = None,
        wide_rows: int | None = None,
        quantum: int = 256,
        calm_steps: int = 16,
    ) -> None:
        self.max_num_seqs, self.quantum, self.calm_steps = max_num_seqs, quantum, calm_steps
        self.bulk_rows = max(1, max_num_seqs // 4) if bulk_rows is None else bulk_rows
        self.request_rows = max(1, max_num_seqs // 4) if request_rows is None else request_rows
        self.wide_rows = max(4, max_num_seqs // 32) if wide_rows is None else wide_rows
        self.running: list[S] = []
        self.steps = 0
        self._calm_at = self._num_bulk = 0
        self._bulk_is_limited = False
        self._wide: dict[str, _Queue[S]] = {}  # those that make room for others in this step
        self._queues: OrderedDict[str, _Queue[S]] = OrderedDict()
        self._waiting = dict.fromkeys(Priority, 0)

    def add_request(
        self, request_id: str, priority: Priority, most_rows: int | None = None
    ) -> None:
        """Open a request's queue; its sequences may then be pushed.

        most_rows: that it holds at once, where each of its rows costs much beside the step itself.
        """
        self._queues[request_id] = _Queue(priority, most_rows or self.max_num_seqs)
        self._num_bulk += priority is Priority.BULK

    def push(self, sequences: Iterable[S]) -> None:
        """Let sequences of a known request wait; the first given runs first."""
        for sequence in reversed(list(sequences)):
            queue = self._queues[sequence.request_id]
            queue.waiting.append(sequence)
            self._waiting[queue.priority] += not queue.is_held

    def remove_request(self, request_id: str) -> list[S]:
        """Close a request and forget what waits; returns its running sequences, to be taken out."""
        if (queue := self._queues.pop(request_id, None)) is None:
            return []
        self._waiting[queue.priority] -= queue.num_ready
        self._num_bulk -= queue.priority is Priority.BULK
        return self._running_of(request_id)

    def hold(self, request_id: str) -> list[S]:
        """Keep a request from running until `resume`; returns its running sequences, for the caller
        to take out and push."""
        queue = self._queues.get(request_id)
        if queue is None or queue.is_held:
            return []
        self._waiting[queue.priority] -= queue.num_ready
        queue.is_held = True
        return self._running_of(request_id)

    def resume(self, request_id: str) -> None:
        """Let a request that is held run again."""
        queue = self._queues.get(request_id)
        if queue is not None and queue.is_held:
            queue.is_held = False
            self._waiting[queue.priority] += queue.num_ready

    def _running_of(self, request_id: str) -> list[S]:
        return [sequence for sequence in self.running if sequence.request_id == request_id]

    def withdraw(self, sequence: S) -> None:
        """Forget one waiting sequence."""
        queue = self._queues[sequence.request_id]
        queue.waiting.remove(sequence)
        self._waiting[queue.priority] -= not queue.is_held

    def release(self, sequences: Iterable[S]) -> dict[int, int]:
        """Take sequences out of the running; the last rows move into their places.

        Returns target -> source of the rows that have to be copied: none is both.
        """
        running, came_from = self.running, dict[int, int]()
        for sequence in sequences:
            row = running.index(sequence)
            last = running.pop()
            if (queue := self._queues.get(sequence.request_id)) is not None:
                queue.num_running -= 1
            source = came_from.pop(len(running), len(running))
            if last is not sequence:
                running[row] = last
                came_from[row] = source
        return came_from

    def to_preempt(self) -> list[S]:
        """Running sequences that must give up their rows now; the caller saves and pushes them."""
        self._look_for_company()
        waiting = self._waiting
        if not any(waiting.values()) and not self._wide:
            return []
        bulk = [s for s in self.running if self._priority(s) is Priority.BULK]
        victims: list[S] = []
        limit = self.max_num_seqs
        if self._bulk_is_limited:
            limit = self.bulk_rows
            # Newest first: the longest served is nearest to its end.
            excess = max(0, len(bulk) - limit)
            victims = sorted(bulk, key=lambda s: -s.since)[:excess]
        bulk_limit = limit - len(bulk) + len(victims)  # rows that bulk work may still take
        victims += self._to_narrow()
        free = self.max_num_seqs - len(self.running) + len(victims)
        wanting = self._num_wanting()
        spent = [s for s in self.running if self.steps - s.since >= self.quantum]
        for sequence in sorted(spent, key=lambda s: s.since):
            is_bulk = self._priority(sequence) is Priority.BULK
            left = min(bulk_limit, free - wanting)
            is_wanted = free < wanting
            is_wanted |= is_bulk and left < waiting[Priority.BULK]
            if sequence not in victims and is_wanted:
                victims.append(sequence)
                free += 1
                bulk_limit += is_bulk
        return victims + self._to_share(free, set(victims))

    def _look_for_company(self) -> None:
        """Find out who has to make room in this step."""
        self._wide, self._bulk_is_limited = {}, False
        most = 2 * self.wide_rows
        is_any_wide = any(q.num_running + len(q.waiting) > most for q in self._queues.values())
        if not self._num_bulk and not is_any_wide:
            return
        active = {
            request_id: queue
            for request_id, queue in self._queues.items()
            if queue.priority is Priority.INTERACTIVE and queue.num_sequences
        }
        wide = {
            request_id: queue for request_id, queue in active.items() if queue.num_sequences > most
        }
        if len(wide) < len(active):
            self._calm_at = self.steps + self.calm_steps + 1
        is_calm = self.steps >= self._calm_at
        self._wide = {} if is_calm else wide
        self._bulk_is_limited = bool(active) or not is_calm

    def _wide_left(self) -> int:
        """Rows that wide requests may still take; if negative, those that they hold too many."""
        running = sum(queue.num_running for queue in self._wide.values())
        return max(self.wide_rows, len(self._wide)) - running

    def _to_narrow(self) -> list[S]:
        """Sequences that wide requests must give up, for others and for those that have no row."""
        without = sum(bool(q.num_ready) and not q.num_running for q in self._wide.values())
        excess = without - self._wide_left()
        if not self._wide or excess <= 0:
            return []
        rows: dict[str, list[S]] = {}
        for sequence in sorted(self.running, key=lambda s: s.since):
            if sequence.request_id in self._wide:
                rows.setdefault(sequence.request_id, []).append(sequence)
        return _taken_from_the_widest(rows, excess, least=1)

    def _num_wanting(self) -> int:
        """Interactive sequences that want a row and may have one."""
        wanting = {
            request_id: queue.num_wanting
            for request_id, queue in self._queues.items()
            if queue.priority is Priority.INTERACTIVE
        }
        wide = sum(wanting.pop(request_id) for request_id in self._wide)
        return sum(wanting.values()) + max(0, min(wide, self._wide_left()))

    def _to_share(self, free: int, victims: set[S]) -> list[S]:
        """Interactive sequences, longest served first, that requests with many rows must give up.

        One for each request that has no row and finds none free, and what exceeds `request_rows`.
        """
        fewer = [
            (queue, 1 if request_id in self._wide else self.request_rows)
            for request_id, queue in self._queues.items()
            if queue.priority is Priority.INTERACTIVE and queue.num_running < self.request_rows
        ]
        without = sum(bool(q.num_ready) and not q.num_running for q, _ in fewer) - free
        wanted = sum(max(0, min(q.num_wanting, most - q.num_running)) for q, most in fewer) - free
        if wanted <= 0:
            return []
        rows: dict[str, list[S]] = {}
        for sequence in sorted(self.running, key=lambda s: -s.since):
            if sequence not in victims and self._priority(sequence) is Priority.INTERACTIVE:
                rows.setdefault(sequence.request_id, []).append(sequence)
        first = _taken_from_the_widest(rows, without, least=1)
        return first + _taken_from_the_widest(rows, wanted - len(first), least=self.request_rows)

    def admit(self) -> list[S]:
        """Move waiting sequences into free rows; returns them, their rows being the last ones."""
        admitted: list[S] = []
        if not any(self._waiting.values()):
            return admitted
        for priority in Priority:
            limit = self.max_num_seqs
            if priority is Priority.BULK and self._bulk_is_limited:
                bulk = sum(self._priority(s) is Priority.BULK for s in self.running)
                limit = min(limit, len(self.running) - bulk + self.bulk_rows)
            admitted += self._admit(priority, limit)
        return admitted

    def _admit(self, priority: Priority, limit: int) -> list[S]:
        admitted: list[S] = []
        if not self._waiting[priority] or len(self.running) >= limit:
            return admitted
        # Fewest rows first; among equals the one whose turn is longest ago.
        ready = [
            (queue.num_running, turn, request_id)
            for turn, (request_id, queue) in enumerate(self._queues.items())
            if queue.priority is priority and queue.num_ready
        ]
        heapq.heapify(ready)
        turn, wide_left = len(self._queues), self._wide_left()
        while ready and len(self.running) < limit:
            request_id = ready[0][2]
            queue = self._queues[request_id]
            is_wide = request_id in self._wide
            if queue.num_running >= queue.most_rows or (is_wide and wide_left <= 0):
                heapq.heappop(ready)
                continue
            sequence = queue.waiting.pop()
            self._waiting[priority] -= 1
            sequence.since = self.steps
            queue.num_running += 1
            wide_left -= is_wide
            self.running.append(sequence)
            admitted.append(sequence)
            self._queues.move_to_end(request_id)
            if queue.waiting:
                heapq.heapreplace(ready, (queue.num_running, turn, request_id))
                turn += 1
            else:
                heapq.heappop(ready)
        return admitted

    @property
    def has_work(self) -> bool:
        return bool(self.running) or any(self._waiting.values())

    @property
    def num_waiting(self) -> int:
        """Sequences that want a row and have none."""
        return sum(self._waiting.values())

    def _priority(self, sequence: S) -> Priority:
        queue = self._queues.get(sequence.request_id)
        return queue.priority if queue else Priority.BULK


def _taken_from_the_widest(rows: dict[str, list[S]], count: int, least: int) -> list[S]:
    """Sequences from the ends of the longest lists, which keep `least`; taken out of them."""
    taken: list[S] = []
    while rows and len(taken) < count:
        widest = max(rows.values(), key=len)
        if len(widest) <= least:
            break
        taken.append(widest.pop())
    return taken
