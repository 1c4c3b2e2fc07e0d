"""Spans: one a request, in the caller's trace, in the conventions' names, and none for nothing."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.app import create_app
from service.http.tracing import RequestTracer
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.conftest import running
from tests.service.plain_engine import PlainEngine

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
COMPLETION: dict[str, Any] = {
    "prompt": "a secret",
    "max_tokens": 3,
    "ignore_eos": True,
    "temperature": 0.5,
    "seed": 1,
}
CHAT = {"messages": [{"role": "user", "content": "a secret"}]}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def client(served: ServedModel, exporter: InMemorySpanExporter) -> Any:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = create_app(Settings(api_keys="k"), [served], tracer=RequestTracer(provider))
    async with running(app, headers={"authorization": "Bearer k"}) as client:
        yield client


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("stream", [True, False])
async def test_one_span_goes_through_queue_engine_and_answer(
    client: httpx.AsyncClient, exporter: InMemorySpanExporter, served: ServedModel, stream: bool
) -> None:
    response = await client.post("/v1/completions", json={**COMPLETION, "stream": stream})
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("text_completion tiny", SpanKind.SERVER)
    told = attributes(span)
    latency = {told.pop(name) for name in list(told) if name.startswith("gen_ai.latency.")}
    assert all(0 <= seconds < 60 for seconds in latency)
    assert told.pop("enduser.id").startswith("key-")
    assert told == {
        "http.request.method": "POST",
        "http.route": "/v1/completions",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "lstm-serve",
        "gen_ai.request.id": response.headers["x-request-id"],
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.request.choice.count": 1,
        "gen_ai.request.max_tokens": 3,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.response.finish_reasons": ("length",),
        "gen_ai.usage.input_tokens": len(served.tokenizer.encode(COMPLETION["prompt"])),
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 0,
    }
    assert span.start_time is not None
    assert span.end_time is not None
    times = [event.timestamp for event in span.events]
    assert [event.name for event in span.events] == ["first step", "first output"]
    assert times == sorted(times)
    assert span.start_time <= times[0] <= times[-1] <= span.end_time
    assert "secret" not in span.to_json()


async def test_a_callers_trace_is_gone_on_with(
    client: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    await client.post("/v1/score", json={"texts": ["a"]}, headers=headers)
    for wrong in (f"00-{TRACE}-{PARENT}-00", "00-nonsense-01"):
        await client.post("/v1/score", json={"texts": ["a"]}, headers={"traceparent": wrong})
    first, *others = exporter.get_finished_spans()
    assert first.name == "score tiny"
    assert f"{first.context.trace_id:032x}" == TRACE
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == PARENT
    (anew,) = others  # what the caller does not sample is not sampled here
    assert anew.parent is None


async def test_refusals_and_failures_say_so(
    client: httpx.AsyncClient,
    exporter: InMemorySpanExporter,
    engine: PlainEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await client.post("/v1/completions", json=COMPLETION, headers={"authorization": "Bearer no"})
    await client.post("/v1/completions", json={**COMPLETION, "n": "many"})
    monkeypatch.setattr(engine, "submit", lambda _: 1 / 0)
    assert (await client.post("/v1/score", json={"texts": ["a"]})).status_code == 500
    wrong_key, bad, failed = exporter.get_finished_spans()
    assert attributes(wrong_key)["error.type"] == "invalid_api_key"
    assert attributes(bad)["error.type"] == "invalid_value"
    assert attributes(failed)["error.type"] == "internal_error"
    assert [span.status.status_code for span in (wrong_key, bad)] == [StatusCode.UNSET] * 2
    assert failed.status.status_code is StatusCode.ERROR


async def test_only_what_asks_for_work_has_a_span(
    client: httpx.AsyncClient, exporter: InMemorySpanExporter
) -> None:
    for path in ("/health/live", "/metrics", "/v1/models", "/"):
        await client.get(path)
    assert exporter.get_finished_spans() == ()


@pytest.fixture
def collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """The address of an OTLP/HTTP collector, and what it was sent."""
    received: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join()


async def test_a_collector_gets_them_at_the_end_at_the_latest(
    served: ServedModel,
    collector: tuple[str, list[ExportTraceServiceRequest]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, received = collector
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with running(create_app(Settings(otlp_traces_endpoint=address), [served])) as client:
        await client.post("/v1/chat/completions", json={**CHAT, "max_tokens": 1})
        await client.post("/v1/completions", json=COMPLETION)
    spans = [
        (span, group.resource)
        for request in received
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span, _ in spans] == ["chat tiny", "text_completion tiny"]
    told = {pair.key: pair.value.string_value for pair in spans[0][1].attributes}
    assert told["service.name"] == "lstm-serve"
    assert told["deployment.environment.name"] == "test"


async def test_a_collector_that_is_gone_holds_nobody_up(served: ServedModel) -> None:
    settings = Settings(otlp_traces_endpoint="http://127.0.0.1:9/v1/traces")
    async with running(create_app(settings, [served])) as client:
        assert (await client.post("/v1/score", json={"texts": ["a"]})).status_code == 200


def test_nothing_of_it_is_imported_where_it_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything computed for it: the tracer is not there at all.

    FastAPI imports OpenTelemetry's interface, and would set up exporters of its own if told to.
    """
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    script = (
        "import sys, asyncio; from service.app import create_app; import service.server; "
        "from service.settings import Settings; app = create_app(Settings(engine='thread')); "
        "assert app.state.context.tracer is None; assert not app._native_telemetry.enabled(); "
        "names = ('opentelemetry.sdk', 'opentelemetry.exporter', 'service.http.tracing'); "
        "print([name for name in sys.modules if name.startswith(names)])"
    )
    told = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert told.strip() == "[]"


async def test_fastapis_own_telemetry_is_off(
    served: ServedModel,
    collector: tuple[str, list[ExportTraceServiceRequest]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It sends what is wrong with a request, in words that hold the client's."""
    address, received = collector
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address.removesuffix("/v1/traces"))
    async with running(create_app(Settings(), [served])) as client:
        await client.post("/v1/completions", json={"prompt": 5})
    assert received == []
