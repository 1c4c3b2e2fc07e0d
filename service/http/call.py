"""One request on its way: what is known of it so far, for its log line, its figures, its trace."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.types import Scope

from service.engine.request import EngineRequest, RequestOutput, SamplingParams
from service.keys import ApiKey

CALL = "lstm_serve.call"  # its place in an ASGI scope


@dataclass(kw_only=True, slots=True)
class Call:
    """started, submitted (its first work, to the engine), first_output: on the clock of
        `time.perf_counter`.

    queued_s: seconds that its first work waited for a step of the engine; None while unknown.
    cached_tokens: those of the prompts that the state cache knew.
    sampling: how continuations were drawn, where any were asked for.
    finish_reasons: why they ended, each once.
    error: the code of the refusal or failure that the client was told.
    num_ignored: fields of the request that nobody knows.
    """

    request_id: str
    started: float
    key: ApiKey | None = None
    model: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    new_tokens: int = 0
    first_output: float | None = None
    submitted: float | None = None
    queued_s: float | None = None
    sampling: SamplingParams | None = None
    finish_reasons: set[str] = field(default_factory=set)
    error: str | None = None
    num_ignored: int = 0

    @property
    def key_name(self) -> str:
        """Of the key's owner; empty where no key was needed."""
        return "" if self.key is None else self.key.name

    @property
    def cache_scope(self) -> str:
        """What the state cache may be shared with: whoever has the same key."""
        return self.key_name

    @property
    def first_s(self) -> float | None:
        """Seconds from its arrival to the engine's first output for it."""
        return None if self.first_output is None else self.first_output - self.started

    def begin(self, request: EngineRequest, now: float) -> None:
        """Work of it is handed to the engine; `now` on the clock of `started`."""
        if self.submitted is None:
            self.submitted = now
        if request.sampling is not None:
            self.sampling = request.sampling

    def note(self, output: RequestOutput, now: float) -> None:
        """Take up news of its work; `now` on the clock of `started`."""
        if self.first_output is None and (output.tokens or output.prompts):
            self.first_output = now
        if self.queued_s is None:
            self.queued_s = output.queued_s
        for token in output.tokens:
            if token.finish_reason is not None:
                self.finish_reasons.add(token.finish_reason)


def call_of(scope: Scope) -> Call:
    """What is noted of the request of this scope."""
    call = scope[CALL]
    assert isinstance(call, Call)
    return call
