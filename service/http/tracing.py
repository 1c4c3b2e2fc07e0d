"""OpenTelemetry: one span a request, from its arrival through the queue and the engine to its end.

Names are those of the conventions for generative models (`gen_ai.*`), and vLLM's for the times
(`gen_ai.latency.*`). A `traceparent` (W3C Trace Context) makes the span a part of the caller's
trace. Nothing of a client's text is in it.

The span is made when the request is over, from what its log line is made of too, so that nothing is
done for it meanwhile. This module is imported where tracing is set, and the extra `otel` with it.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import Scope

from service.engine.request import SamplingParams
from service.http.call import Call

_EXPORT_S = 10
_CLOSE_S = 3.0
# Route -> what the conventions call it; other routes have no name there, and go by their own.
_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}


class RequestTracer:
    """Hands a span of each request to a provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider, self._tracer = provider, provider.get_tracer("lstm-serve")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def to_collector(cls, endpoint: str, version: str) -> RequestTracer:
        """Spans in batches to an OTLP/HTTP collector, from a thread of their own.

        endpoint: the whole address, `http://collector:4318/v1/traces`. What OpenTelemetry reads
        from the environment itself (`OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, ...) holds, too.
        """
        ours = Resource.create({"service.name": "lstm-serve", "service.version": version})
        resource = ours.merge(OTELResourceDetector().detect())  # the environment goes before
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_S)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return cls(provider)

    def record(self, call: Call, scope: Scope, route: str, status: int) -> None:
        """The span of a request that ends now. Only what asks for work has one: every POST."""
        if scope["method"] != "POST":
            return
        ended, now = time.time_ns(), time.perf_counter()
        started = ended - _ns(now - call.started)
        operation = _OPERATIONS.get(route) or re.sub(r"\W+", "_", route.removeprefix("/v1/"))
        span = self._tracer.start_span(
            f"{operation} {call.model}" if call.model else operation,
            context=self._propagator.extract(dict(Headers(scope=scope))),
            kind=SpanKind.SERVER,
            attributes={
                "http.request.method": "POST",
                "http.route": route,
                "http.response.status_code": status,
                "gen_ai.operation.name": operation,
                "gen_ai.request.id": call.request_id,
                **_known(_facts(call, now)),
            },
            start_time=started,
        )
        for name, seconds in (("first step", _first_step(call)), ("first output", call.first_s)):
            if seconds is not None:
                span.add_event(name, timestamp=started + _ns(seconds))
        if status >= 500 or call.error is not None:
            span.set_attribute("error.type", call.error or str(status))
        if status >= 500 or (status == 200 and call.error is not None):
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=ended)

    def close(self) -> None:
        """Send what is left, for a few seconds at most: a collector may be gone."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)


def _facts(call: Call, now: float) -> dict[str, Any]:
    """What the conventions have attributes for; None where a request has no such thing."""
    sampling = call.sampling
    asked = {} if sampling is None else _of_sampling(sampling)
    return {
        "gen_ai.provider.name": "lstm-serve",
        "gen_ai.request.model": call.model,
        "gen_ai.response.model": call.model,
        **asked,
        "gen_ai.response.finish_reasons": sorted(call.finish_reasons) or None,
        "gen_ai.usage.input_tokens": call.prompt_tokens if call.model else None,
        "gen_ai.usage.output_tokens": call.new_tokens if call.model else None,
        "gen_ai.usage.cache_read.input_tokens": call.cached_tokens if call.model else None,
        "gen_ai.latency.time_in_queue": call.queued_s,
        "gen_ai.latency.time_to_first_token": call.first_s,
        "gen_ai.latency.e2e": now - call.started,
        "enduser.id": call.key_name or None,
    }


def _of_sampling(sampling: SamplingParams) -> dict[str, Any]:
    return {
        "gen_ai.request.choice.count": sampling.n,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k or None,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        "gen_ai.request.presence_penalty": sampling.presence_penalty,
    }


def _first_step(call: Call) -> float | None:
    """Seconds from a request's arrival to its first step, as far as both waits are known."""
    if call.queued_s is None or call.submitted is None:
        return None
    return call.submitted - call.started + call.queued_s


def _known(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
