"""The client of event streams, on made-up bytes and on a real socket."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sse_client import post, read_stream, receive

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def text(words: str) -> dict[str, object]:
    return {"choices": [{"text": words}], "usage": None}


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


USAGE = {"choices": [], "usage": {"completion_tokens": 5}}
EVENTS = [event(text("one\r\n0\r\n\r\n")), event(text("zwölf ☃")), event(USAGE), event(b"[DONE]")]
BEATS = b": still working\n\n"


@given(st.lists(st.integers(1, 300), max_size=6), st.lists(st.integers(1, 500), max_size=6))
def test_any_chunks_in_any_packets(chunk_cuts: list[int], packet_cuts: list[int]) -> None:
    events = BEATS + b"".join(EVENTS)
    chunks = [part for part in split(events, chunk_cuts) if part]
    raw = HEAD + b"".join(map(chunk, chunks)) + b"0\r\n\r\n"
    packets = [(float(k), part) for k, part in enumerate(split(raw, packet_cuts), 1) if part]
    stream = read_stream(0.0, packets)
    assert stream.tokens == 5
    assert stream.end == packets[-1][0]
    assert len(stream.event_times) == 2
    assert stream.event_times == sorted(stream.event_times)


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[a:b] for a, b in pairwise(places)]


def test_an_event_has_the_time_of_its_last_byte() -> None:
    first, second = chunk(EVENTS[0]), chunk(EVENTS[1])
    rest = chunk(EVENTS[2] + EVENTS[3]) + b"0\r\n\r\n"
    packets = [(1.0, HEAD + first[:9]), (2.0, first[9:] + second), (3.0, rest)]
    stream = read_stream(0.5, packets)
    assert (stream.begin, stream.end, stream.event_times) == (0.5, 3.0, [2.0, 2.0])


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"HTTP/1.1 429 Too Many Requests\r\n\r\n{}", "refused"),
        (b"", "refused"),
        (HEAD + chunk(EVENTS[0]), "broke off"),
        (HEAD + chunk(EVENTS[0] + EVENTS[3]) + b"0\r\n\r\n", "has no usage"),
        (HEAD + chunk(event({"error": {}})) + b"0\r\n\r\n", "has no usage"),
    ],
)
def test_what_is_no_whole_stream_is_refused(raw: bytes, fault: str) -> None:
    with pytest.raises(RuntimeError, match=fault):
        read_stream(0.0, [(1.0, raw)])


async def test_a_request_is_sent_and_all_of_its_answer_kept() -> None:
    body = {"prompt": "ö", "stream": True}
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        asked.extend((head, await reader.readexactly(length)))
        writer.write(HEAD + b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        received = await receive("127.0.0.1", port, post("/v1/completions", "127.0.0.1", body))
    assert asked[0].startswith(b"POST /v1/completions HTTP/1.1\r\n")
    assert json.loads(asked[1]) == body
    stream = read_stream(*received)
    assert stream.tokens == 5
    assert stream.begin < stream.event_times[0] <= stream.end
