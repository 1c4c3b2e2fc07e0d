"""A real server on a real port: its announcement, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.served_model import ServedModel
from service.server import Server, describe, run
from service.settings import Settings
from tests.service.plain_engine import PlainEngine

HANDLED = (signal.SIGTERM, signal.SIGINT)
STREAM = {"prompt": "the", "stream": True, "ignore_eos": True, "seed": 1}


@asynccontextmanager
async def serving(
    model: ServedModel, **settings: Any
) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """A server in this very process, and a client; the signals are ours for as long."""
    before = [signal.getsignal(number) for number in HANDLED]
    app = create_app(Settings(port=0, **settings), [model])
    server = Server(app, app.state.context)
    task = asyncio.create_task(server.serve())
    await asyncio.wait_for(app.state.context.lifecycle.wait_started(), 10)
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        yield server, client
    server.should_exit = True
    await asyncio.wait_for(task, 20)
    assert [signal.getsignal(number) for number in HANDLED] == before


async def events(response: httpx.Response) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")


async def test_announces_what_it_serves(
    served: ServedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(served) as (_, client):
        assert (await client.get("/health/ready")).status_code == 200
        await asyncio.sleep(0.01)
    told = capsys.readouterr().out
    assert "serving tiny: 0.0M parameters, 360 tokens, fp32 on cpu" in told
    assert "valid: 1.500 bits per byte" in told
    where = f"listening on http://127.0.0.1:{client.base_url.port} "
    assert f"{where}(playground: /, API reference: /docs)" in told


def test_describe_tells_figures_and_how_each_text_is_predicted(served: ServedModel) -> None:
    novels = {"bits_per_byte": 1.23456, "word_perplexity": 123.456, "xz_bits_per_byte": 2.3}
    metrics = {
        "loss": 3.45678,
        "text": "no",
        "ok": True,
        "test_sets": {"novels": novels, "news": {"bits_per_byte": None}},
        "baselines": {"elman": {"parameters": 5, "test_sets": {"novels": novels}}},
        "recognition": {"utterances": 45, "wer_by_mix": {"0.5": 34.1}},
    }
    assert list(describe(replace(served, metrics=metrics)))[1:] == [
        "  novels: 1.235 bits per byte, word perplexity 123.5",
    ]
    del metrics["test_sets"]
    assert list(describe(replace(served, metrics=metrics)))[1:] == ["  loss: 3.457"]


async def test_sigterm_lets_a_stream_end_and_refuses_new_work(
    served: ServedModel, engine: PlainEngine
) -> None:
    engine.step_s = 0.02
    async with serving(served) as (server, client):
        request = {**STREAM, "max_tokens": 40}
        async with client.stream("POST", "/v1/completions", json=request) as response:
            received = events(response)
            await anext(received)
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert (await client.get("/health/live")).status_code == 200
            assert (await client.get("/health/ready")).status_code == 503
            refused = await client.post("/v1/score", json={"texts": ["a"]})
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "unavailable"
            rest = [event async for event in received]
        assert rest[-1] == "[DONE]"
        assert json.loads(rest[-2])["choices"][0]["finish_reason"] == "length"
        await wait_until_closed(server)
        with pytest.raises(httpx.TransportError):
            await client.get("/health/live")


async def test_grace_ends_and_the_stream_is_told(served: ServedModel, engine: PlainEngine) -> None:
    engine.step_s = 0.02
    async with serving(served, grace_s=0.1) as (server, client):
        request = {**STREAM, "max_tokens": 10_000}
        async with client.stream("POST", "/v1/completions", json=request) as response:
            received = events(response)
            await anext(received)
            os.kill(os.getpid(), signal.SIGTERM)
            rest = [event async for event in received]
        (failure,) = (event for event in rest if "error" in event)
        assert json.loads(failure)["error"]["code"] == "unavailable"
        await wait_until_closed(server)
    assert engine.active == set()


async def test_sighup_reloads_and_cuts_no_stream(
    served: ServedModel, engine: PlainEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.step_s = 0.02
    looked = asyncio.Event()

    async def look() -> None:
        looked.set()

    async with serving(served) as (server, client):
        monkeypatch.setattr(server.context.registry, "reload_changed", look)
        request = {**STREAM, "max_tokens": 20}
        async with client.stream("POST", "/v1/completions", json=request) as response:
            received = events(response)
            await anext(received)
            os.kill(os.getpid(), signal.SIGHUP)
            rest = [event async for event in received]
        assert rest[-1] == "[DONE]"
        await asyncio.wait_for(looked.wait(), 5)


async def test_an_idle_server_ends_at_once(served: ServedModel) -> None:
    async with serving(served) as (server, client):
        await client.get("/health/live")
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(wait_until_closed(server), 2)


async def wait_until_closed(server: Server) -> None:
    while server.servers[0].is_serving():
        await asyncio.sleep(0.01)


async def test_a_client_that_leaves_ends_its_stream(
    served: ServedModel, engine: PlainEngine
) -> None:
    engine.step_s = 0.01
    async with serving(served) as (server, client):
        for stream in (True, False):
            request = {**STREAM, "stream": stream, "max_tokens": 10_000}
            call = asyncio.create_task(client.post("/v1/completions", json=request))
            while not engine.active:
                await asyncio.sleep(0.005)
            call.cancel()
            async with asyncio.timeout(2):
                while engine.active or server.context.lifecycle.in_flight:
                    await asyncio.sleep(0.005)


async def test_a_client_that_sends_garbage(served: ServedModel) -> None:
    async with serving(served) as (_, client):
        for garbage in (b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n", b"\0" * 100):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            writer.write(garbage)
            assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 400")
            writer.close()
            await writer.wait_closed()
        assert (await client.get("/health/ready")).status_code == 200


def test_warns_where_anyone_may_come(caplog: pytest.LogCaptureFixture) -> None:
    """Told before a port is opened; here the port is taken."""
    for host, is_warned in (("0.0.0.0", True), ("127.0.0.1", False), ("localhost", False)):
        with socket.socket() as taken:
            taken.bind((host, 0))
            taken.listen()
            caplog.clear()
            with pytest.raises(SystemExit):
                run(Settings(host=host, port=taken.getsockname()[1], model="/nope"))
        assert ("without an API key" in caplog.text) is is_warned
