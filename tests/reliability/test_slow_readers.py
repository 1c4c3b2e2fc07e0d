"""A client that does not read: its request rests, keeps its numbers, and holds nobody up."""

from __future__ import annotations

import asyncio
import json
import socket

from benchmarks.sse_client import post
from tests.reliability.target import STREAM, Target, metric, running_rows

GENERATED = "lstm_serve_engine_generated_tokens_total"
# Each event lists alternatives, so that few tokens fill what lies between engine and client.
TOKENS = 8000
ASKED = {**STREAM, "max_tokens": TOKENS, "logprobs": 20, "temperature": 1.0}


async def test_a_client_that_does_not_read_has_its_request_rest(target: Target) -> None:
    await target.ready()
    async with target.client() as client:
        answer = await client.post("/v1/completions", json={**ASKED, "stream": False})
        expected = answer.json()["choices"][0]
        memory, generated = target.memory_mb(), await metric(client, GENERATED)
        slow = _connected(target.address)
        slow.sendall(post("/v1/completions", "127.0.0.1", ASKED))
        async with asyncio.timeout(60):
            while await metric(client, GENERATED) == generated or await running_rows(client):
                await asyncio.sleep(0.05)
        ahead = await metric(client, GENERATED) - generated
        grown = target.memory_mb() - memory
        quick = await client.post("/v1/completions", json={**STREAM, "max_tokens": 200})
        assert quick.text.endswith("data: [DONE]\n\n")
    raw = await asyncio.to_thread(_rest_of, slow)
    events = [
        json.loads(line.removeprefix(b"data: "))["choices"][0]
        for line in _unchunked(raw).split(b"\n\n")
        if line.startswith(b"data: {")
    ]
    assert "".join(event["text"] for event in events) == expected["text"]
    logprobs = [value for e in events if e["logprobs"] for value in e["logprobs"]["token_logprobs"]]
    assert logprobs == expected["logprobs"]["token_logprobs"]
    assert ahead < TOKENS, "what the sockets hold, and a bounded rest"
    assert grown < 64, "MiB while nobody read"
    print(
        f"\nslow reader: {ahead:.0f} of {TOKENS} tokens made before it read, memory "
        f"grew by {grown:.0f} MiB, an answer of {len(raw) >> 20} MiB with the same bits"
    )


def _connected(address: str) -> socket.socket:
    """A connection that takes little before it is read."""
    host, port = address.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.settimeout(60)
    return client


def _rest_of(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    client.close()
    return b"".join(parts)


def _unchunked(raw: bytes) -> bytes:
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(parts)
