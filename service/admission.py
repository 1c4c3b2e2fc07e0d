"""Who is let in: by the work that waits already, measured in tokens and in time; and by quotas.

A refusal comes before any work, and tells when to come back by how fast work has been done lately.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.engine.hosts.async_engine import QueueFullError
from service.engine.request import EngineRequest, Priority

_WINDOW_S = 10.0
_FIRST_LENGTH = 32.0  # tokens of a continuation, before any was seen
_LONGEST_RETRY_S = 120.0
_TURN = 256.0  # tokens: the least of a request that others of its kind wait for


class QuotaError(RuntimeError):
    """A key's, or everybody's, share is used up; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(kw_only=True)
class Ticket:
    """One request's part of the work.

    num_left: tokens still to do, as far as can be told; num_generated: tokens that came back.
    """

    priority: Priority
    num_left: float
    num_generated: int = 0


class Admission:
    """One model's work: how much is left of it, and how fast it is being done."""

    def __init__(
        self, *, max_wait_s: float, max_tokens: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`max_wait_s`: what a new request may have to wait for; `max_tokens`: work in all."""
        self._max_wait_s, self._max_tokens, self._clock = max_wait_s, max_tokens, clock
        self._tickets: dict[int, Ticket] = {}
        self.num_left: Counter[Priority] = Counter()
        self._done: deque[tuple[float, float]] = deque()  # (when, tokens), the last _WINDOW_S
        self._fed: deque[tuple[float, float]] = deque()  # (when, tokens since the engine began)
        self._busy_since = clock()
        self._length = _FIRST_LENGTH

    def cost(self, request: EngineRequest) -> float:
        """Tokens that a request reads, and those that it may be expected to generate."""
        read = tokens_to_read(request.prompts)
        params = request.sampling
        if params is None:
            return read
        width = params.n if params.beam_width is None else params.beam_width
        length = min(params.max_tokens, self._length)
        return read + len(request.prompts) * width * length

    @property
    def tokens_per_s(self) -> float | None:
        """Measured while there was work; None before anything can be said."""
        self._forget()
        span = min(self._clock() - self._busy_since, _WINDOW_S)
        done = sum(tokens for _, tokens in self._done)
        rates = [done / span] if done and span >= 1 else []
        if self._fed:
            (since, first), (until, last) = self._fed[0], self._fed[-1]
            if last > first and until - since >= 1:
                rates.append((last - first) / (until - since))
        return max(rates, default=None)

    def note_fed(self, num_tokens: float) -> None:
        """Take note of how many tokens an engine has fed to its network in all.

        A beam search tells nothing before its end: by what came back alone, an engine that computes
        one would be taken for a very slow one.
        """
        if self._fed and num_tokens < self._fed[-1][1]:
            self._fed.clear()  # a new engine process counts anew
        self._fed.append((self._clock(), num_tokens))
        self._forget()

    def wait_s(self, priority: Priority, cost: float = math.inf) -> float | None:
        """How long what goes first of a request will take; None where nothing was measured."""
        rate = self.tokens_per_s
        return None if rate is None else self._ahead(priority, cost) / rate

    def retry_after(self, priority: Priority) -> float:
        """When a refused request may find room, in seconds."""
        wait_s = self.wait_s(priority)
        return min(max(1.0, (wait_s or 1.0) / 2), _LONGEST_RETRY_S)

    @contextmanager
    def admit(self, request: EngineRequest, *, waits: bool) -> Iterator[Ticket]:
        """A place for the request's work; QueueFullError where too much is waiting.

        waits: it goes on with work that is done already, and is let in whatever there is.
        """
        cost, priority = self.cost(request), request.priority
        if not waits:
            self._check(cost, priority)
        if not sum(self.num_left.values()):
            self._done.clear()
            while len(self._fed) > 1:
                self._fed.popleft()
            self._busy_since = self._clock()
        ticket = Ticket(priority=priority, num_left=cost)
        self.num_left[priority] += cost  # type: ignore[assignment]
        self._tickets[id(ticket)] = ticket
        try:
            yield ticket
        finally:
            self._take(ticket, ticket.num_left)
            del self._tickets[id(ticket)]

    def done(self, ticket: Ticket, num_tokens: float) -> None:
        """Some of a request's work is done."""
        self._done.append((self._clock(), num_tokens))
        self._take(ticket, min(num_tokens, ticket.num_left))

    def ended(self, num_tokens: int, num_continuations: int) -> None:
        """Learn how long continuations are."""
        if num_continuations:
            self._length += 0.05 * (num_tokens / num_continuations - self._length)

    def _take(self, ticket: Ticket, num_tokens: float) -> None:
        ticket.num_left -= num_tokens
        left = self.num_left[ticket.priority] - num_tokens
        self.num_left[ticket.priority] = left if left > 1e-6 else 0  # type: ignore[assignment]

    def _ahead(self, priority: Priority, cost: float) -> float:
        """Tokens that are computed before a request of that cost has ended.

        Requests of one priority share the engine fairly: of a larger one, no more than as much as
        this one takes itself.
        """
        share = max(cost, _TURN)
        return sum(
            ticket.num_left if ticket.priority < priority else min(ticket.num_left, share)
            for ticket in self._tickets.values()
            if ticket.priority <= priority
        )

    def _check(self, cost: float, priority: Priority) -> None:
        total = sum(self.num_left.values())
        if total and total + cost > self._max_tokens:
            raise QueueFullError(
                f"{math.ceil(total)} tokens of work are waiting, the limit is {self._max_tokens}",
                self.retry_after(priority),
            )
        wait_s = self.wait_s(priority, cost)
        if wait_s is not None and wait_s > self._max_wait_s:
            raise QueueFullError(
                f"what goes first takes about {wait_s:.0f} s, the limit is {self._max_wait_s:g} s",
                self.retry_after(priority),
            )

    def _forget(self) -> None:
        oldest = self._clock() - _WINDOW_S
        while self._done and self._done[0][0] < oldest:
            self._done.popleft()
        while len(self._fed) > 2 and self._fed[1][0] < oldest:
            self._fed.popleft()


def tokens_to_read(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens of prompts, those that all of them begin with counted once, as they are computed.

    The states after a request's many continuations are asked for so: its prompt, again and again.
    """
    shared, size = 0, 1024
    if len(prompts) > 1:
        first, last = min(prompts), max(prompts)  # what these two share, all do
        while size:
            part = first[shared : shared + size]
            if part and part == last[shared : shared + size]:
                shared += len(part)
            else:
                size //= 2
    return sum(map(len, prompts)) - shared * max(0, len(prompts) - 1)


class Quotas:
    """Requests in flight of all and of each key, and each key's requests a minute."""

    def __init__(
        self,
        *,
        max_requests: int,
        per_key: int | None,
        per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_requests, self._per_key, self._per_minute = max_requests, per_key, per_minute
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._tokens: dict[str, tuple[float, float]] = {}  # a bucket: (tokens, when)

    @contextmanager
    def request(self, key: str) -> Iterator[None]:
        """A request of that key's; QuotaError where it may not begin now."""
        if self._in_flight.total() >= self._max_requests:
            raise QuotaError(
                f"{self._max_requests} requests are in flight, which is the limit", retry_after=1
            )
        if self._per_key is not None and self._in_flight[key] >= self._per_key:
            raise QuotaError(
                f"this key has {self._per_key} requests in flight, which is its limit",
                retry_after=1,
            )
        self._spend(key)
        self._in_flight[key] += 1
        try:
            yield
        finally:
            self._in_flight[key] -= 1
            if not self._in_flight[key]:
                del self._in_flight[key]

    def _spend(self, key: str) -> None:
        """A token bucket: `per_minute` at once at most, refilled evenly."""
        if self._per_minute is None:
            return
        now, rate = self._clock(), self._per_minute / 60
        tokens, when = self._tokens.get(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - when) * rate)
        if tokens < 1:
            raise QuotaError(
                f"this key may send {self._per_minute} requests a minute", (1 - tokens) / rate
            )
        self._tokens[key] = (tokens - 1, now)
