"""deploy/haproxy.cfg in front of two real services: one that ends takes no conversation with it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live_server import announced_address
from tests.reliability.target import STREAM, save_small_model, stream

_ROOT = Path(__file__).parents[2]
_STATE_KEY = "the-key-of-all-replicas"
_SCORE = {"texts": ["the cat sat on"], "eos": False, "return_state": True}


@dataclass(kw_only=True)
class Replicas:
    """Services behind a balancer, by their addresses."""

    balancer: str
    processes: dict[str, subprocess.Popen[str]]

    def client(self, address: str | None = None) -> httpx.AsyncClient:
        """Of the balancer, or of one service."""
        return httpx.AsyncClient(base_url=address or self.balancer, timeout=60)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    haproxy = shutil.which("haproxy")
    if haproxy is None:
        pytest.skip("haproxy is not installed (Debian: apt-get install haproxy)")
    folder = save_small_model(tmp_path / "models" / "small")
    with ExitStack() as stack:
        started = [stack.enter_context(_ended(_service(folder))) for _ in range(2)]
        processes = {announced_address(process): process for process in started}
        port = _free_port()
        config = tmp_path / "haproxy.cfg"
        config.write_text(_config(port, list(processes)), "utf-8")
        command = [haproxy, "-db", "-f", str(config)]
        stack.enter_context(_ended(subprocess.Popen(command, stderr=subprocess.PIPE, text=True)))
        balancer = f"http://127.0.0.1:{port}"
        _wait_until_both_are_in(balancer)
        yield Replicas(balancer=balancer, processes=processes)


def _config(port: int, services: list[str]) -> str:
    """The file as it stands; only names of containers become addresses of this machine."""
    text = (_ROOT / "deploy" / "haproxy.cfg").read_text("utf-8")
    servers = "\n    ".join(
        f"server replica{k} {address.removeprefix('http://')}"
        for k, address in enumerate(services, 1)
    )
    template = "server-template replica 8 replica:8000 resolvers docker init-addr none"
    for old, new in {template: servers, "bind :8000": f"bind 127.0.0.1:{port}"}.items():
        assert text.count(old) == 1, f"{old} is no longer in the file"
        text = text.replace(old, new)
    return text


def _service(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--log-level", "error"]
    command += ["--model", str(folder), "--models", str(folder.parent)]
    environment = {**os.environ, "LSTM_SERVE_STATE_KEY": _STATE_KEY}
    return subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, text=True)


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_both_are_in(balancer: str) -> None:
    """The balancer begins with both in; its first checks come within a second."""
    for _ in range(200):
        try:
            if httpx.get(f"{balancer}/health/ready").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    pytest.fail("the balancer does not answer")


async def test_two_services_are_one(replicas: Replicas) -> None:
    """The contract through the balancer, a conversation between two, a death and a drain."""
    first, second = replicas.processes
    async with (
        replicas.client() as client,
        replicas.client(first) as at_first,
        replicas.client(second) as at_second,
    ):
        await _answers_are_the_same(client, at_first)
        (made,) = (await at_first.post("/v1/score", json=_SCORE)).json()["data"]
        go_on = {"state": made["state"], "texts": [" the mat"]}
        expected = (await at_first.post("/v1/score", json=go_on)).json()["data"]
        assert (await at_second.post("/v1/score", json=go_on)).json()["data"] == expected

        # A drain: readiness takes the replica out, its stream goes on to its end.
        going_on = asyncio.create_task(stream(at_second, 3_000))
        await asyncio.sleep(0.2)
        replicas.processes[second].send_signal(signal.SIGTERM)
        drained = await _asked(client, go_on, expected, for_s=2.5)
        lines = await going_on
        assert lines[-1] == "[DONE]"
        assert '"finish_reason":"length"' in lines[-2]
        assert replicas.processes[second].wait(30) == 0
    print(f"\ndrain behind the balancer: {drained} requests, none failed; the stream ended well")


async def test_a_conversation_outlives_the_service_that_began_it(replicas: Replicas) -> None:
    first, _ = replicas.processes
    async with replicas.client() as client, replicas.client(first) as at_first:
        (made,) = (await at_first.post("/v1/score", json=_SCORE)).json()["data"]
        go_on = {"state": made["state"], "texts": [" the mat"]}
        expected = (await at_first.post("/v1/score", json=go_on)).json()["data"]
        replicas.processes[first].kill()
        asked = await _asked(client, go_on, expected, for_s=2.5)
    print(f"\nkilled behind the balancer: {asked} requests with its state, none failed")


async def _answers_are_the_same(client: httpx.AsyncClient, direct: httpx.AsyncClient) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "/v1/score": _SCORE,
        "/v1/next-token": {"context": "the cat", "top_k": 3},
        "/v1/rescore": {"utterances": [{"hypotheses": [{"text": "the cat"}, {"text": "a cat"}]}]},
        "/v1/completions": {"prompt": "the cat", "max_tokens": 8, "seed": 3},
        "/tokenize": {"prompt": "the cat"},
    }
    for path, body in bodies.items():
        here, there = [await c.post(path, json=body) for c in (client, direct)]
        assert here.status_code == 200, here.text
        moment = {"id", "created", "usage"}
        assert [v for k, v in here.json().items() if k not in moment] == [
            v for k, v in there.json().items() if k not in moment
        ]
    names = [(await c.get("/v1/models")).json()["data"][0]["id"] for c in (client, direct)]
    assert names[0] == names[1]
    body = {**STREAM, "max_tokens": 40}
    async with client.stream("POST", "/v1/completions", json=body) as response:
        lines = [line async for line in response.aiter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert response.headers["content-type"].startswith("text/event-stream")


async def _asked(
    client: httpx.AsyncClient, body: dict[str, Any], expected: object, *, for_s: float
) -> int:
    """Ask the same again and again, longer than a check takes; how many were answered: all."""
    end, number = time.perf_counter() + for_s, 0
    while time.perf_counter() < end:
        response = await client.post("/v1/score", json=body)
        assert response.status_code == 200, f"request {number}: {response.text}"
        assert response.json()["data"] == expected
        number += 1
    return number
