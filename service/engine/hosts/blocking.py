"""An engine in a thread of this process, asked from any thread, which waits for its answer."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from service.engine.engine import Engine
from service.engine.hosts.commands import Abort, Add, Command, Quit, StopSample
from service.engine.hosts.worker import work
from service.engine.request import EngineRequest, PromptOutput, RequestOutput
from service.engine.stats import EngineStats


@dataclass(kw_only=True, slots=True)
class Computed:
    """All that came back for a request without continuations: outputs in the prompts' order."""

    prompts: list[PromptOutput]
    cached_tokens: int = 0


@dataclass(kw_only=True, slots=True)
class _Channel:
    """The thread's side of `BlockingEngine`: one queue for commands, one for each request."""

    inbox: queue.SimpleQueue[Command] = field(default_factory=queue.SimpleQueue)
    outboxes: dict[str, queue.SimpleQueue[RequestOutput | Exception]] = field(default_factory=dict)

    def receive(self, *, wait: bool) -> Command | None:
        try:
            return self.inbox.get(block=wait)
        except queue.Empty:
            return None

    def has_command(self) -> bool:
        return not self.inbox.empty()

    def send(self, outputs: list[RequestOutput], stats: EngineStats) -> None:  # noqa: ARG002
        for output in outputs:
            if (outbox := self.outboxes.get(output.request_id)) is not None:
                outbox.put(output)


class BlockingEngine:
    """Requests of several threads advance together, as those of several clients do.

    A request that cannot be computed raises ValueError with the engine's reason.
    """

    def __init__(self, engine: Engine) -> None:
        """`engine`: belongs to the thread from now on."""
        self._engine, self._channel = engine, _Channel()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._is_closed = False
        self._thread.start()

    def _run(self) -> None:
        try:
            work(self._engine, self._channel)
        except Exception as error:
            self._is_closed = True
            for outbox in list(self._channel.outboxes.values()):
                outbox.put(error)
            raise

    def submit(self, request: EngineRequest) -> Iterator[RequestOutput]:
        """Outputs of `request` until one is the last; closing the iterator early aborts it.

        The request is queued at once, so that several can be submitted and then read. Its
        `request_id` is replaced, for two threads must not choose the same one.
        """
        if self._is_closed:
            raise RuntimeError("the model is closed")
        request = replace(request, request_id=secrets.token_hex(8))
        outbox = self._channel.outboxes[request.request_id] = queue.SimpleQueue()
        self._channel.inbox.put(Add((request,)))
        return self._read(request.request_id, outbox)

    def _read(
        self, request_id: str, outbox: queue.SimpleQueue[RequestOutput | Exception]
    ) -> Iterator[RequestOutput]:
        is_finished = False
        try:
            while not is_finished:
                output = outbox.get()
                if isinstance(output, Exception):
                    is_finished = True
                    raise RuntimeError("the engine failed") from output
                is_finished = output.finished
                if output.error is not None:
                    raise ValueError(output.error)
                yield output
        finally:
            self._channel.outboxes.pop(request_id, None)
            if not is_finished:
                self._channel.inbox.put(Abort((request_id,)))

    def stop_sample(self, request_id: str, prompt: int, sample: int) -> None:
        """End one continuation; `request_id` as told by the request's outputs."""
        self._channel.inbox.put(StopSample((request_id, prompt, sample)))

    def compute(self, requests: Sequence[EngineRequest]) -> list[Computed]:
        """Run requests that generate nothing, side by side; answers in their order."""
        streams = [self.submit(request) for request in requests]
        computed = []
        for request, stream in zip(requests, streams, strict=True):
            prompts: dict[int, PromptOutput] = {}
            cached_tokens = 0
            with closing(stream):  # type: ignore[type-var]
                for output in stream:
                    prompts.update((prompt.index, prompt) for prompt in output.prompts)
                    cached_tokens = max(cached_tokens, output.cached_tokens)
            ordered = [prompts[index] for index in range(len(request.prompts))]
            computed.append(Computed(prompts=ordered, cached_tokens=cached_tokens))
        return computed

    def close(self) -> None:
        """End the thread; what is in work is given up."""
        if not self._is_closed:
            self._is_closed = True
            self._channel.inbox.put(Quit())
            self._thread.join()
