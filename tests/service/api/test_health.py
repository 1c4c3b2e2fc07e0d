from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app, version_of_service
from service.served_model import ServedModel
from service.settings import Settings
from tests.service.conftest import running
from tests.service.plain_engine import PlainEngine


async def samples(
    client: httpx.AsyncClient,
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    page = await client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


async def test_metrics_count_requests_and_tokens(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await client.post("/v1/score", json={"texts": ["the cat"]})
    answer = await client.post("/v1/score", json={"texts": ["the cat"]})
    await client.post("/v1/score", json={"texts": 5})
    await client.get("/nowhere/at/all")
    values = await samples(client)
    route = ("route", "/v1/score")
    requests = "lstm_serve_requests_total"
    assert values[requests, (("method", "POST"), route, ("status", "200"))] == 4
    assert values[requests, (("method", "POST"), route, ("status", "400"))] == 1
    unmatched = (("method", "GET"), ("route", "unmatched"), ("status", "404"))
    assert values[requests, unmatched] == 1
    assert values["lstm_serve_request_duration_seconds_count", (route,)] == 5
    num_tokens = 4 * answer.json()["usage"]["prompt_tokens"]
    assert values["lstm_serve_tokens_total", (("kind", "prompt"), ("model", "tiny"))] == num_tokens
    assert values["lstm_serve_engine_running", (("model", "tiny"),)] == 0
    assert values["lstm_serve_requests_in_flight", ()] == 1  # this very page


async def test_a_client_cannot_make_counters_at_will(client: httpx.AsyncClient) -> None:
    before = len(await samples(client))
    for k in range(50):
        await client.request(f"VERB{k}", f"/path/{k}")
        await client.get(f"/v1/models/{k}")
    # Series for three (route, method, status) and for two routes' histograms.
    assert len(await samples(client)) < before + 80


async def test_two_applications_do_not_share_counters(served: ServedModel) -> None:
    async with running(create_app(Settings(), [served])) as one:
        await one.get("/health/live")
        async with running(create_app(Settings(), [served])) as two:
            assert not any("live" in str(key) for key in await samples(two))


async def test_readiness_follows_the_model(served: ServedModel) -> None:
    app = create_app(Settings(), [served])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503
        early = await client.post("/v1/score", json={"texts": ["a"]})
        assert early.status_code == 503
        async with app.router.lifespan_context(app):
            await app.state.context.lifecycle.wait_started()
            assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/health/ready")).status_code == 503


async def test_a_model_that_cannot_start_is_told(
    served: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(served.engine, "start", fail)
    app: FastAPI = create_app(Settings(), [served])
    async with app.router.lifespan_context(app):
        with pytest.raises(RuntimeError, match="no memory"):
            await app.state.context.lifecycle.wait_started()


async def test_a_fault_of_the_engine_is_told_by_readiness(
    client: httpx.AsyncClient, engine: PlainEngine
) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}
    engine.is_ready, engine.fault = False, RuntimeError("it died, with a secret")
    for path in ("/health", "/health/ready"):
        answer = await client.get(path)
        assert answer.status_code == 503
        assert "failed and is being restarted" in answer.json()["error"]["message"]
        assert "secret" not in answer.text
        assert "retry-after" in answer.headers
    assert (await client.get("/health/live")).status_code == 200


async def test_the_version_is_told(client: httpx.AsyncClient) -> None:
    assert (await client.get("/version")).json() == {"version": version_of_service()}
